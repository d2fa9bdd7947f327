/* inner.c - see inner.h.
 * Layer: api.  Owns: nothing.  Threads: see inner.h.  Errors: see inner.h. */
#include "inner.h"

#include "buffered.h"
#include "drivers/ended.h"
#include "drivers/pending.h"
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
    return PyLong_FromSsize_t(cpika_pending_count(ch));
}

PyDoc_STRVAR(show_events_doc,
             "_show_events($self, /)\n--\n\n"
             "What _waiting_events counts, as objects: deliveries; (number of the callback, method, properties, body)\n"
             "of messages that came back; Basic.Cancel. Returns the list, and what _take_shown wants to know.");

static PyObject *
channel_show_events(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaChannel *ch = (CpikaChannel *)op;
    return ch->conn == NULL ? Py_BuildValue("[]n", (Py_ssize_t)0) : cpika_pending_show(ch);
}

PyDoc_STRVAR(take_shown_doc, "_take_shown($self, kept, events, seen, /)\n--\n\n"
                             "Moves what _show_events has shown into a deque, as the objects of the list `kept`; a None there:\n"
                             "the event stays. The deque is dispatched in their place. False: there are others now.");

static PyObject *
channel_take_shown(PyObject *op, PyObject *args)
{
    CPIKA_GATE;
    CpikaChannel *ch = (CpikaChannel *)op;
    PyObject *kept;
    PyObject *events;
    Py_ssize_t seen;
    if (!PyArg_ParseTuple(args, "O!O!n", &PyList_Type, &kept, (PyTypeObject *)ch->st->deque_type, &events,
                          &seen)) {
        return NULL;
    }
    int rc = ch->conn == NULL ? 1 : cpika_pending_take(ch, kept, events, (size_t)seen);
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}

PyDoc_STRVAR(queue_events_doc, "_queue_events($self, events, /)\n--\n\n"
                               "Have the dispatch() of a deque called before anything else is dispatched, if it holds something.");

static PyObject *
channel_queue_events(PyObject *op, PyObject *events)
{
    CPIKA_GATE;
    CpikaChannel *ch = (CpikaChannel *)op;
    if (!PyObject_TypeCheck(events, (PyTypeObject *)ch->st->deque_type)) {
        return PyErr_Format(PyExc_TypeError, "a deque is wanted, not %R", events);
    }
    if (ch->conn != NULL && cpika_pending_queue(ch, events) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
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
    {"_queue_events", channel_queue_events, METH_O, queue_events_doc},
    {"_send_method", channel_send_method, METH_O, send_method_doc},
    {"_show_events", channel_show_events, METH_NOARGS, show_events_doc},
    {"_take_shown", channel_take_shown, METH_VARARGS, take_shown_doc},
    {"_waiting_events", channel_waiting_events, METH_NOARGS, waiting_events_doc},
    {NULL, NULL, 0, NULL},
};
