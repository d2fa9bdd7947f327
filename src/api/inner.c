/* inner.c - see inner.h.
 * Layer: api.  Owns: nothing.  Threads: see inner.h.  Errors: see inner.h. */
#include "inner.h"

#include "buffered.h"
#include "drivers/dispatch.h"
#include "drivers/ended.h"
#include "drivers/rpc.h"
#include "drivers/settle.h"
#include "drivers/wait.h"
#include "engine/frames.h"
#include "values/gate.h"

/* ---- of a connection ---- */

/* On the heap, as a call is: other greenlets look at it. */
typedef struct {
    const cpika_engine *engine;
    uint64_t frames_seen;
} frame_wish;

static bool
has_frame(void *arg)
{
    const frame_wish *wish = arg;
    return wish->engine->frames_received != wish->frames_seen;
}

PyDoc_STRVAR(await_frame_doc, "_await_frame($self, timeout, /)\n--\n\n"
                              "Do input and output until a frame has come, for at most `timeout` seconds (None: no limit).\n"
                              "Messages are queued.");

static PyObject *
connection_await_frame(PyObject *op, PyObject *timeout)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    uint64_t deadline;
    if (cpika_check_connection(conn) < 0 || cpika_deadline(timeout, &deadline) < 0) {
        return NULL;
    }
    frame_wish *wish = PyMem_Malloc(sizeof *wish);
    if (wish == NULL) {
        return PyErr_NoMemory();
    }
    *wish = (frame_wish){&conn->engine, conn->engine.frames_received};
    int rc = cpika_wait(conn, has_frame, wish, deadline, true);
    PyMem_Free(wish);
    if (rc < 0) {
        return NULL;
    }
    return cpika_check_connection(conn) < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(descriptor_doc, "_descriptor($self, /)\n--\n\n"
                             "The socket's descriptor, which stays the connection's; -1: closed, or a Python socket.");

static PyObject *
connection_descriptor(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    if (conn->io.link == NULL || cpika_transport_forked(&conn->io)) {
        return PyLong_FromLong(-1);
    }
    cpika_link_never_wait_in_recv(conn->io.link);  // copies share its flags, and expect it to be non-blocking
    return PyLong_FromLong(atomic_load(&conn->io.link->fd));
}

PyMethodDef cpika_inner_connection_methods[] = {
    {"_await_frame", connection_await_frame, METH_O, await_frame_doc},
    {"_descriptor", connection_descriptor, METH_NOARGS, descriptor_doc},
    {NULL, NULL, 0, NULL},
};

/* ---- of a channel ---- */

PyDoc_STRVAR(send_method_doc,
             "_send_method($self, method, /)\n--\n\nSend a method whose answer nobody awaits.");

static PyObject *
channel_send_method(PyObject *op, PyObject *method)
{
    CPIKA_GATE;
    CpikaChannel *ch = (CpikaChannel *)op;
    if (cpika_check_channel(ch) < 0 || cpika_send_method(ch->conn, ch, method) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(waiting_events_doc, "_waiting_events($self, /)\n--\n\n"
                                 "How many messages and cancellations have been received for the channel and wait to be\n"
                                 "dispatched.");

static PyObject *
channel_waiting_events(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaChannel *ch = (CpikaChannel *)op;
    if (ch->conn == NULL) {
        return PyLong_FromLong(0);
    }
    // What stands in the input is not counted by anybody yet.
    while (!cpika_transport_forked(&ch->conn->io)
           && cpika_engine_step(&ch->conn->engine, NULL) == CPIKA_STEP_DONE) {
    }
    if (cpika_settle(ch->conn) < 0) {
        return NULL;
    }
    Py_ssize_t n = 0;
    for (const cpika_event *e = ch->engine.events.first; e != NULL; e = e->next_of_channel) {
        n++;
    }
    return PyLong_FromSsize_t(n);
}

PyDoc_STRVAR(take_event_doc, "_take_event($self, /)\n--\n\n"
                             "Takes the first of what _waiting_events counts: a delivery; (number of the callback, method,\n"
                             "properties, body) of a message that came back; Basic.Cancel; or what _queue_event got. None:\n"
                             "there is none.");

static PyObject *
channel_take_event(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaChannel *ch = (CpikaChannel *)op;
    if (ch->conn == NULL) {
        Py_RETURN_NONE;
    }
    return cpika_take_event(ch);
}

PyDoc_STRVAR(is_buffered_doc, "_is_buffered($self, /)\n--\n\nWhether the caller is inside `with channel.buffered()`.");

static PyObject *
channel_is_buffered(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    return PyBool_FromLong(buffered_block((CpikaChannel *)op) != NULL);
}

PyMethodDef cpika_inner_channel_methods[] = {
    {"_is_buffered", channel_is_buffered, METH_NOARGS, is_buffered_doc},
    {"_send_method", channel_send_method, METH_O, send_method_doc},
    {"_take_event", channel_take_event, METH_NOARGS, take_event_doc},
    {"_waiting_events", channel_waiting_events, METH_NOARGS, waiting_events_doc},
    {NULL, NULL, 0, NULL},
};
