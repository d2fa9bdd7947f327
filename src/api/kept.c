/* kept.c - see kept.h.
 * Layer: api.  Owns: nothing.  Threads: see kept.h.  Errors: see kept.h. */
#include "kept.h"

#include "drivers/fair.h"
#include "drivers/settle.h"
#include "drivers/wait.h"
#include "values/gate.h"
#include "wire/frame.h"

#define KEEP_IDLE_NS (60 * CPIKA_NS_PER_S)

/* When a link over a Python socket wants something sent. */
static uint64_t
keep_due(const cpika_link *link)
{
    uint64_t due = link->heartbeat_ns > 0 ? link->last_send_ns + link->heartbeat_ns : UINT64_MAX;
    return link->held && link->held_until_ns < due ? link->held_until_ns : due;
}

PyDoc_STRVAR(keep_doc, "_keep($self, /)\n--\n\n"
                       "Send over a Python socket what is due, a heartbeat or what is held, without waiting.  Returns\n"
                       "the seconds until more is, or None when there is nothing to keep any more.");

PyDoc_STRVAR(hold_no_more_doc, "_hold_no_more($self, /)\n--\n\n"
                               "What is held over a Python socket is due now.");

static PyObject *
connection_hold_no_more(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    cpika_link *link = ((CpikaConnection *)op)->io.link;
    if (link != NULL && link->held) {
        link->held_until_ns = 0;
    }
    Py_RETURN_NONE;
}

/* 0, or -1 with an exception of the socket. */
static int
send_due(CpikaConnection *conn)
{
    cpika_link *link = conn->io.link;
    // Before it learns the hard way that nobody is there: what the peer said last is the reason.
    if (!link->held && conn->loop.handler == NULL && cpika_look_quietly(conn) < 0) {
        return -1;
    }
    // What is queued counts as the sign of life that is due.
    if (link->out.bytes == 0 && conn->engine.owed.len == 0 && !cpika_engine_ended(&conn->engine)) {
        if (cpika_outq_push(&link->out, cpika_heartbeat_frame, sizeof cpika_heartbeat_frame) < 0) {
            PyErr_NoMemory();
            return -1;
        }
        link->heartbeats_sent++;
    }
    if (!cpika_engine_ended(&conn->engine) && cpika_transport_flush(&conn->io) == CPIKA_IO_RAISED) {
        return -1;
    }
    if (conn->loop.handler != NULL) {
        return 0;  // the loop does that, in its next turn
    }
    if (conn->io.cooperative && cpika_engine_ended(&conn->engine)) {
        // Closing would go to the event loop of the socket's own thread: whoever waits there does it, or comes next.
        cpika_roles_notify(&conn->roles, &conn->engine, link);
        return 0;
    }
    return cpika_settle_quietly(conn);
}

static PyObject *
connection_keep(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    cpika_transport *io = &conn->io;
    if (io->link == NULL || cpika_transport_forked(io) || cpika_engine_ended(&conn->engine)) {
        Py_RETURN_NONE;
    }
    cpika_link *link = io->link;
    uint64_t now = cpika_now_ns();
    uint64_t due = keep_due(link);
    bool send = now >= due;
    if (send && send_due(conn) < 0) {
        PyErr_Clear();  // this thread is nobody's: the next call of the user is told
        conn->engine.ending.told = false;
    }
    if (cpika_engine_ended(&conn->engine)) {
        Py_RETURN_NONE;
    }
    // Behind a full socket it is tried again soon.
    uint64_t pause = send ? CPIKA_NS_PER_MS * 50 : due - now;
    if (send && !cpika_transport_has_output(io)) {
        pause = link->heartbeat_ns > 0 ? link->heartbeat_ns : KEEP_IDLE_NS;
    }
    return PyFloat_FromDouble((double)(pause < KEEP_IDLE_NS ? pause : KEEP_IDLE_NS) / 1e9);
}

PyDoc_STRVAR(be_fair_doc, "_be_fair($self, /)\n--\n\n"
                          "Let the other greenlets of this thread run, if none could for 10 ms.  Does nothing where\n"
                          "waits are not a library's of green threads.");

static PyObject *
connection_be_fair(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    if (cpika_be_fair((CpikaConnection *)op) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef cpika_kept_methods[] = {
    {"_hold_no_more", connection_hold_no_more, METH_NOARGS, hold_no_more_doc},
    {"_be_fair", connection_be_fair, METH_NOARGS, be_fair_doc},
    {"_keep", connection_keep, METH_NOARGS, keep_doc},
    {NULL, NULL, 0, NULL},
};
