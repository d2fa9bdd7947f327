/* by_hand.c - see by_hand.h.
 * Layer: api.  Owns: nothing.  Threads: with the GIL.  Errors: see by_hand.h. */
#include "by_hand.h"

#include <string.h>
#include <sys/uio.h>

#include "drivers/ended.h"
#include "drivers/made.h"
#include "drivers/settle.h"
#include "engine/frames.h"
#include "values/gate.h"
#include "wire/method.h"

PyDoc_STRVAR(feed_doc, "_feed($self, data, /)\n--\n\n"
                       "Handle bytes of the peer: changes the state and queues events, sends nothing and calls nobody.");

static PyObject *
by_hand_feed(PyObject *op, PyObject *data)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    cpika_engine *e = &conn->engine;
    Py_buffer view;
    if (cpika_check_fork(conn) < 0 || PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    int rc = CPIKA_OK;
    if (!cpika_engine_ended(e)) {
        rc = cpika_input_append(&e->in, view.buf, (size_t)view.len);
        e->bytes_received += (uint64_t)view.len;
        cpika_heartbeat_received(&e->heartbeat, cpika_now_ns());
    }
    PyBuffer_Release(&view);
    if (rc < 0) {
        return PyErr_NoMemory();
    }
    while (cpika_engine_step(e, NULL) == CPIKA_STEP_DONE) {
    }
    cpika_engine_bury(e);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(feed_eof_doc, "_feed_eof($self, /)\n--\n\nThe peer has hung up: no more bytes come.");

static PyObject *
by_hand_feed_eof(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    cpika_engine_input_over(&conn->engine, CPIKA_ENDING_EOF, 0);
    while (cpika_engine_step(&conn->engine, NULL) == CPIKA_STEP_DONE) {
    }
    cpika_engine_bury(&conn->engine);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(take_output_doc, "_take_output($self, /)\n--\n\nTake the bytes that are to go to the peer.");

static PyObject *
by_hand_take_output(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    if (cpika_check_fork(conn) < 0) {
        return NULL;
    }
    int rc = cpika_transport_lock_output(&conn->io);
    if (rc != CPIKA_OK) {
        cpika_raise_io(conn, rc);
        return NULL;
    }
    cpika_outq *q = &conn->io.link->out;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)q->bytes);
    for (size_t at = 0; bytes != NULL && q->bytes > 0;) {
        struct iovec place;
        cpika_outq_iov(q, &place, 1);
        memcpy(PyBytes_AS_STRING(bytes) + at, place.iov_base, place.iov_len);
        at += place.iov_len;
        cpika_outq_consume(q, place.iov_len);
    }
    cpika_transport_unlock(&conn->io);
    return bytes;
}

static const char *
kind_name(cpika_event_kind kind)
{
    switch (kind) {
    case CPIKA_EVENT_DELIVERY:
        return "delivery";
    case CPIKA_EVENT_RETURN:
        return "return";
    case CPIKA_EVENT_CANCEL:
        return "cancel";
    case CPIKA_EVENT_OBJECT:
        return "object";
    case CPIKA_EVENT_CONTENT:
        return "content";
    case CPIKA_EVENT_METHOD:
    case CPIKA_NOTICE_METHOD:
        return "method";
    case CPIKA_NOTICE_RETURNED:
        return "returned";
    case CPIKA_NOTICE_UNEXPECTED:
        return "unexpected";
    case CPIKA_NOTICE_CHANNEL_CLOSED:
        return "channel closed";
    case CPIKA_NOTICE_ENDED:
        return "ended";
    }
    return "";
}

/* New (kind, channel or None, method or None, properties or None, body or None). */
static PyObject *
event_tuple(CpikaConnection *conn, const cpika_event *event)
{
    cpika_made made = {0};
    int rc = 0;
    if (event->message != NULL && event->message->body != NULL) {
        rc = cpika_make_message(conn, event->message, &made);
    } else if (event->message != NULL) {
        made.method = cpika_make_method(conn, event->message);
        rc = made.method == NULL ? -1 : 0;
    }
    PyObject *tuple = NULL;
    if (rc == 0) {
        tuple = Py_BuildValue(
            "(sOOOO)", kind_name(event->kind), event->owner == NULL ? Py_None : event->owner,
            made.method == NULL ? Py_None : made.method, made.properties == NULL ? Py_None : made.properties,
            made.body == NULL ? Py_None : made.body);
    }
    cpika_made_clear(&made);
    return tuple;
}

PyDoc_STRVAR(take_events_doc, "_take_events($self, /)\n--\n\n"
                              "Take what has happened: list of (kind, channel, method, properties, body), first what is\n"
                              "for callbacks, then what is for the log, each in the stream's order.");

static PyObject *
by_hand_take_events(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    PyObject *list = PyList_New(0);
    while (list != NULL) {
        cpika_event *event = conn->engine.events.first;
        event = event == NULL ? cpika_events_take_first(&conn->engine.notices)
                : event->channel != NULL
                    ? cpika_events_take_first_of(&conn->engine.events, &event->channel->events)
                    : cpika_events_take_first(&conn->engine.events);
        if (event == NULL) {
            break;
        }
        PyObject *tuple = event_tuple(conn, event);
        cpika_event_free(event);
        if (tuple == NULL || PyList_Append(list, tuple) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(tuple);
    }
    return list;
}

PyMethodDef cpika_by_hand_methods[] = {
    {"_feed", by_hand_feed, METH_O, feed_doc},
    {"_feed_eof", by_hand_feed_eof, METH_NOARGS, feed_eof_doc},
    {"_take_output", by_hand_take_output, METH_NOARGS, take_output_doc},
    {"_take_events", by_hand_take_events, METH_NOARGS, take_events_doc},
    {NULL, NULL, 0, NULL},
};
