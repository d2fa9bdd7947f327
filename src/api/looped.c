/* looped.c - see looped.h.
 * Layer: api.  Owns: nothing.  Threads: see drivers/loop.h.  Errors: see looped.h. */
#include "looped.h"

#include "drivers/ended.h"
#include "drivers/loop.h"
#include "drivers/rpc.h"
#include "values/gate.h"

static PyObject *
bits_or_null(int bits)
{
    return bits < 0 ? NULL : PyLong_FromLong(bits);
}

PyDoc_STRVAR(begin_doc, "_loop_begin($self, handler, soon, flush, outcome=None, /)\n--\n\n"
                        "An event loop drives this connection from now on, and `handler` is told what happens.\n"
                        "soon(callback), from any thread, has the loop call the callback in its next turn, and that calls\n"
                        "flush(), which sends: _loop_writable(), for example.\n"
                        "outcome(bits, exception) is told of what _loop_on_readable() and _loop_on_writable() leave to be\n"
                        "done.");

static PyObject *
looped_begin(PyObject *op, PyObject *args)
{
    CPIKA_GATE;
    PyObject *handler, *soon, *flush, *outcome = Py_None;
    if (!PyArg_ParseTuple(args, "OOO|O:_loop_begin", &handler, &soon, &flush, &outcome)
        || cpika_check_fork((CpikaConnection *)op) < 0) {
        return NULL;
    }
    cpika_loop_begin((CpikaConnection *)op, handler, soon, flush, outcome == Py_None ? NULL : outcome);
    Py_RETURN_NONE;
}

/* Whether this side may read: not where there are channels and no loop has begun, since they are another driver's; nor what
 * was never initialised, or is a child's copy.  False with an exception. */
static bool
may_read(CpikaConnection *conn)
{
    const cpika_engine *e = &conn->engine;
    bool begun = conn->loop.handler != NULL;
    bool alone = conn->io.link != NULL;
    for (size_t i = 0; !begun && i < e->channels_cap; i++) {
        alone = alone && e->channels[i] == NULL;
    }
    if (!begun && !alone) {
        PyErr_SetString(PyExc_RuntimeError, "the connection is on no event loop");
        return false;
    }
    return cpika_check_fork(conn) == 0;
}

PyDoc_STRVAR(readable_doc, "_loop_readable($self, /)\n--\n\n"
                           "Read what is there, run its callbacks, send what they left.  Returns bits: 1 wants to write, 2 has\n"
                           "ended, 4 wants to be called again soon.  Raises what a callback raises.");

static PyObject *
looped_readable(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    return may_read(conn) ? bits_or_null(cpika_loop_readable(conn)) : NULL;
}

PyDoc_STRVAR(writable_doc, "_loop_writable($self, /)\n--\n\nSend what is queued; bits as _loop_readable().");

static PyObject *
looped_writable(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    return cpika_check_fork(conn) < 0 ? NULL : bits_or_null(cpika_loop_writable(conn));
}

static PyObject *
none_or_null(int rc)
{
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(on_readable_doc, "_loop_on_readable($self, /)\n--\n\n"
                              "What a loop calls when it may read: _loop_readable(), with what comes of it for outcome().");

static PyObject *
looped_on_readable(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    return none_or_null(cpika_loop_called((CpikaConnection *)op, cpika_loop_readable));
}

PyDoc_STRVAR(on_writable_doc, "_loop_on_writable($self, /)\n--\n\n"
                              "What a loop calls when it may write, or was asked to: as _loop_on_readable().");

static PyObject *
looped_on_writable(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    return none_or_null(cpika_loop_called((CpikaConnection *)op, cpika_loop_writable));
}

PyDoc_STRVAR(feed_doc, "_loop_feed($self, data, /)\n--\n\n"
                       "Handle bytes that somebody else has read, and run their callbacks; sends nothing.");

static PyObject *
looped_feed(PyObject *op, PyObject *data)
{
    CPIKA_GATE;
    Py_buffer view;
    if (!may_read((CpikaConnection *)op) || PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    int rc = cpika_loop_feed((CpikaConnection *)op, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(taken_doc, "_loop_taken($self, /)\n--\n\nThe output has been taken: more of it has to be asked for again.");

static PyObject *
looped_taken(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    if (cpika_check_fork(conn) < 0 || cpika_loop_taken(conn) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(send_doc, "_loop_send($self, channel_number, method, /)\n--\n\n"
                       "Queue a method's frame; it leaves at the end of the loop's turn.");

static PyObject *
looped_send(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    if (nargs != 2) {
        return PyErr_Format(PyExc_TypeError, "_loop_send() takes channel_number and method");
    }
    long number = PyLong_AsLong(args[0]);
    if ((number == -1 && PyErr_Occurred()) || cpika_check_fork(conn) < 0) {
        return NULL;
    }
    if (number < 0 || number > UINT16_MAX) {
        return PyErr_Format(PyExc_ValueError, "channel number %ld is out of range", number);
    }
    cpika_buf frame = CPIKA_BUF_INIT;
    int rc = cpika_encode_method(conn, (uint16_t)number, args[1], &frame);
    if (rc == 0) {
        rc = cpika_loop_append(conn, frame.data, frame.len, 1);
    }
    cpika_buf_free(&frame);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Whether a request of another thread may be sent at once: the loop waits and has nothing to do before, the channel is open and
 * awaits no answer.  -1 with an exception.  Without the GIL never: a third thread may come between the look and what
 * follows it, and answers are told apart by the order of the two. */
static int
is_idle(CpikaChannel *ch, PyObject *loop, PyObject *callbacks)
{
    if (CPIKA_FREE_THREADED) {
        return 0;
    }
    PyObject *waiting = PyObject_GetAttr(loop, ch->st->names._waiting);
    PyObject *blocking = waiting == NULL ? NULL : PyObject_GetAttr((PyObject *)ch, ch->st->names._blocking);
    Py_ssize_t queued = blocking == NULL ? -1 : PyObject_Size(callbacks);
    int idle = queued < 0 ? -1
                          : waiting == Py_True && blocking == Py_None && queued == 0
                                && ch->engine.state == CHANNEL_OPEN;
    Py_XDECREF(blocking);
    Py_XDECREF(waiting);
    return idle;
}

/* The other way round the loop could read the answer before it expects it.  0 or -1. */
static int
expect_and_append(CpikaChannel *ch, PyObject *callbacks, PyObject *expect, const cpika_buf *frame)
{
    PyObject *done = PyObject_CallMethodOneArg(callbacks, ch->st->names.append, expect);
    if (done == NULL) {
        return -1;
    }
    Py_DECREF(done);
    uint64_t sent = ch->conn->io.frames_sent;
    int rc = cpika_loop_append_of(ch, frame->data, frame->len, 1, NULL);
    if (rc < 0 && ch->conn->io.frames_sent == sent) {  // nothing was queued, for want of memory
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        Py_XDECREF(PyObject_CallMethod(callbacks, "remove", "O", expect));
        PyErr_Clear();
        PyErr_Restore(type, value, traceback);
    }
    return rc;
}

PyDoc_STRVAR(request_doc, "_loop_request($self, loop, callbacks, channel, method, expect, /)\n--\n\n"
                          "From another thread: send a method now, and have the loop call `expect` before it reads the answer.\n"
                          "False: nothing was done, since the loop or the channel is busy.\n\n"
                          "No exception of a signal or of another thread comes in between: all of it is done, or nothing.");

static PyObject *
looped_request(PyObject *op, PyObject *args)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    PyObject *loop, *callbacks, *channel, *method, *expect;
    if (!PyArg_ParseTuple(args, "OOO!OO:_loop_request", &loop, &callbacks, conn->st->loop_channel_type,
                          &channel, &method, &expect)
        || cpika_check_fork(conn) < 0) {
        return NULL;
    }
    CpikaChannel *ch = (CpikaChannel *)channel;
    if (ch->conn != conn) {
        Py_RETURN_FALSE;
    }
    cpika_buf frame = CPIKA_BUF_INIT;
    int rc = cpika_encode_method(conn, ch->engine.number, method, &frame);
    int idle = rc < 0 ? -1 : is_idle(ch, loop, callbacks);
    if (idle > 0) {
        rc = expect_and_append(ch, callbacks, expect, &frame);
    }
    cpika_buf_free(&frame);
    return rc < 0 || idle < 0 ? NULL : PyBool_FromLong(idle);
}

PyDoc_STRVAR(write_doc, "_loop_write($self, data, /)\n--\n\nQueue bytes that are whole frames, or the protocol header.");

static PyObject *
looped_write(PyObject *op, PyObject *data)
{
    CPIKA_GATE;
    Py_buffer view;
    if (cpika_check_fork((CpikaConnection *)op) < 0 || PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    int rc = cpika_loop_append((CpikaConnection *)op, view.buf, (size_t)view.len, 1);
    PyBuffer_Release(&view);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(close_doc, "_loop_close($self, /)\n--\n\nClose the socket; what is queued is dropped.  A child made by fork closes\n"
                        "its own copy.");

static PyObject *
looped_close(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    if (!cpika_engine_ended(&conn->engine)) {
        const cpika_ending why = {.kind = CPIKA_ENDING_GIVEN, .by_client = true};
        cpika_engine_end(&conn->engine, &why);
    }
    cpika_engine_bury(&conn->engine);
    if (cpika_transport_close(&conn->io) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stop_doc, "_loop_stop($self, /)\n--\n\nHandle nothing any more; the socket stays open.");

static PyObject *
looped_stop(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    const cpika_ending why = {.kind = CPIKA_ENDING_GIVEN, .by_client = true};
    cpika_engine_end(&conn->engine, &why);
    cpika_loop_uncalled(conn);
    cpika_events *events = &conn->engine.events;
    while (events->first != NULL) {
        cpika_events_append(&conn->engine.grave, NULL, cpika_events_take_first(events));
    }
    cpika_engine_bury(&conn->engine);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(limits_doc, "_loop_limits($self, high, low, /)\n--\n\n"
                         "Tell the handler when more than `high` bytes of output are queued, and when no more than `low`\n"
                         "are left; high None: never.");

static PyObject *
looped_limits(PyObject *op, PyObject *args)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    PyObject *high;
    Py_ssize_t low;
    if (!PyArg_ParseTuple(args, "On:_loop_limits", &high, &low)) {
        return NULL;
    }
    Py_ssize_t most = high == Py_None ? PY_SSIZE_T_MAX : PyLong_AsSsize_t(high);
    if (most == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (low < 0 || most < low) {
        return PyErr_Format(PyExc_ValueError, "high (%zd) must be >= low (%zd) must be >= 0", most, low);
    }
    conn->loop.high = (size_t)most;
    conn->loop.low = (size_t)low;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(queued_doc, "_loop_queued($self, /)\n--\n\nBytes of output that have not been sent.");

static PyObject *
looped_queued(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    return PyLong_FromSize_t(conn->io.link == NULL || conn->io.closed ? 0 : conn->io.link->out.bytes);
}

PyDoc_STRVAR(fileno_doc, "_loop_fileno($self, /)\n--\n\nThe descriptor to watch, -1 when it is closed.");

static PyObject *
looped_fileno(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    if (conn->io.sock != NULL) {
        return PyObject_CallMethod(conn->io.sock, "fileno", NULL);
    }
    return PyLong_FromLong(conn->io.link == NULL ? -1 : atomic_load(&conn->io.link->fd));
}

PyDoc_STRVAR(leave_doc, "_leave_to_parent($self, /)\n--\n\n"
                        "In a child made by fork: put a stream that has ended in the place of the socket.  The descriptor's\n"
                        "number stays taken, since a loop watches it; what the loop does to it is not done to the parent's.");

static PyObject *
looped_leave_to_parent(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    if (cpika_transport_leave_to_parent(&((CpikaConnection *)op)->io) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef cpika_looped_methods[] = {
    {"_leave_to_parent", looped_leave_to_parent, METH_NOARGS, leave_doc},
    {"_loop_begin", looped_begin, METH_VARARGS, begin_doc},
    {"_loop_close", looped_close, METH_NOARGS, close_doc},
    {"_loop_feed", looped_feed, METH_O, feed_doc},
    {"_loop_fileno", looped_fileno, METH_NOARGS, fileno_doc},
    {"_loop_limits", looped_limits, METH_VARARGS, limits_doc},
    {"_loop_on_readable", looped_on_readable, METH_NOARGS, on_readable_doc},
    {"_loop_on_writable", looped_on_writable, METH_NOARGS, on_writable_doc},
    {"_loop_queued", looped_queued, METH_NOARGS, queued_doc},
    {"_loop_readable", looped_readable, METH_NOARGS, readable_doc},
    {"_loop_request", looped_request, METH_VARARGS, request_doc},
    {"_loop_send", (PyCFunction)(void (*)(void))looped_send, METH_FASTCALL, send_doc},
    {"_loop_stop", looped_stop, METH_NOARGS, stop_doc},
    {"_loop_taken", looped_taken, METH_NOARGS, taken_doc},
    {"_loop_writable", looped_writable, METH_NOARGS, writable_doc},
    {"_loop_write", looped_write, METH_O, write_doc},
    {NULL, NULL, 0, NULL},
};
