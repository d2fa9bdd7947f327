/* connection.c - _core.Connection: life of a connection, and what Python may ask of it.
 * Layer: api.
 * Owns: the connection's fields.  Threads: with the GIL; the keeper touches only the link.
 * Errors: NULL or -1 with an exception. */
#include "connection.h"

#include <stddef.h>
#include <structmember.h>

#include "by_hand.h"
#include "claim.h"
#include "drivers/deliver.h"
#include "drivers/dispatch.h"
#include "drivers/ended.h"
#include "drivers/loop.h"
#include "drivers/process.h"
#include "drivers/rpc.h"
#include "drivers/settle.h"
#include "drivers/wait.h"
#include "inner.h"
#include "kept.h"
#include "looped.h"
#include "numbers.h"
#include "turns.h"
#include "type.h"
#include "values/compat.h"
#include "values/errors.h"
#include "values/gate.h"
#include "values/gil.h"

enum {
    FRAME_MIN_SIZE = 4096,  // of AMQP
    CHANNEL_BITS = 65536,
};

/* ---- methods ---- */

PyDoc_STRVAR(write_doc, "_write($self, data, /)\n--\n\nSend bytes as they are: the protocol header.");

static PyObject *
connection_write(PyObject *op, PyObject *data)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    Py_buffer view;
    if (cpika_check_connection(conn) < 0 || PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    int rc = cpika_send_bytes(conn, NULL, view.buf, (size_t)view.len, 0);
    PyBuffer_Release(&view);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(send_method_doc, "_send_method($self, method, /)\n--\n\nSend a method of channel 0 that has no answer.");

static PyObject *
connection_send_method(PyObject *op, PyObject *method)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    if (cpika_check_connection(conn) < 0 || cpika_send_method(conn, NULL, method) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(rpc_doc, "_rpc($self, method, reply_id, timeout=None, /)\n--\n\n"
                      "Send a method on channel 0 (None: only wait) and return its answer, a method object.\n"
                      "reply_id is the INDEX of the answer; timeout in seconds (TimeoutError), None: none.");

static PyObject *
connection_rpc(PyObject *op, PyObject *args)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    PyObject *method;
    PyObject *timeout = Py_None;
    unsigned int reply;
    uint64_t deadline;
    if (!PyArg_ParseTuple(args, "OI|O:_rpc", &method, &reply, &timeout) || cpika_check_connection(conn) < 0
        || cpika_deadline(timeout, &deadline) < 0) {
        return NULL;
    }
    return cpika_call_method(conn, NULL, method, reply, deadline, NULL);
}

PyDoc_STRVAR(process_doc, "_process($self, owner, timeout, channel, sink, asks, /)\n--\n\n"
                          "One dispatching call: until something was dispatched, for at most `timeout` seconds (None: no\n"
                          "limit), or until somebody asks for the return.  owner: whose _run_due() runs timers.  channel:\n"
                          "the one that this call dispatches before others, or None.  sink: tag of a consumer whose\n"
                          "messages it takes even inside a callback, or None.  asks: _asks, when the caller last looked\n"
                          "at what it waits for.");

static PyObject *
connection_process(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    cpika_consumer_tag tag;
    if (nargs != 5) {
        PyErr_SetString(PyExc_TypeError, "_process() takes owner, timeout, channel, sink and asks");
        return NULL;
    }
    cpika_process_args a = {.owner = args[0]};
    if (cpika_check_fork(conn) < 0 || cpika_deadline(args[1], &a.deadline_ns) < 0) {
        return NULL;
    }
    if (args[2] != Py_None) {
        if (!PyObject_TypeCheck(args[2], conn->st->channel_type)) {
            return PyErr_Format(PyExc_TypeError, "channel must be a Channel or None, not %R", args[2]);
        }
        a.channel = (CpikaChannel *)args[2];
    }
    if (args[3] != Py_None) {
        if (cpika_tag_of(args[3], &tag) < 0) {
            return NULL;
        }
        a.sink = &tag;
    }
    a.asks_seen = PyLong_AsUnsignedLongLong(args[4]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    // What was received before the end is still to be dispatched.
    if (conn->engine.events.first == NULL && cpika_check_connection(conn) < 0) {
        return NULL;
    }
    bool claimed = a.channel == NULL && conn->claims != NULL;
    PyObject *claim = claimed ? cpika_claim_take_up(conn, &a, &tag) : NULL;
    int rc = cpika_process(conn, &a);
    cpika_claim_put_down(claim);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(check_doc, "_check($self, /)\n--\n\n"
                        "Raise why the connection cannot be used, if it cannot: for the first who asks the reason.");

static PyObject *
connection_check(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    if (cpika_check_connection((CpikaConnection *)op) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(tell_doc, "_tell($self, /)\n--\n\n"
                       "Raise why the connection has ended, if it has and nobody has been told yet.");

static PyObject *
connection_tell(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    if (cpika_tell((CpikaConnection *)op) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(tune_doc, "_tune($self, frame_max, heartbeat, blocked_timeout, /)\n--\n\n"
                       "What was negotiated: frame_max in bytes, heartbeat in seconds (0: none); and the\n"
                       "blocked_connection_timeout in seconds (None: none).");

static PyObject *
connection_tune(PyObject *op, PyObject *args)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    unsigned int frame_max;
    int heartbeat;
    PyObject *blocked;
    if (!PyArg_ParseTuple(args, "IiO:_tune", &frame_max, &heartbeat, &blocked)
        || cpika_check_connection(conn) < 0) {
        return NULL;
    }
    if (frame_max < FRAME_MIN_SIZE || heartbeat < 0 || heartbeat > UINT16_MAX) {
        return PyErr_Format(PyExc_ValueError, "frame_max %u or heartbeat %d is out of range", frame_max,
                            heartbeat);
    }
    double timeout = blocked == Py_None ? 0 : PyFloat_AsDouble(blocked);
    if (timeout == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    cpika_engine *e = &conn->engine;
    bool unlimited = blocked == Py_None || !(timeout < 1e9);  // some thirty years, inf and nan: never
    e->frame_max = frame_max;
    // A timeout of 0 is over at once, not never.
    e->blocked_timeout_ns = unlimited ? 0 : (timeout > 0 ? (uint64_t)(timeout * 1e9) : 0) + 1;
    cpika_heartbeat_start(&e->heartbeat, (uint16_t)heartbeat, cpika_now_ns());
    cpika_transport_lock(&conn->io);
    conn->io.link->heartbeat_ns = cpika_heartbeat_send_interval_ns(&e->heartbeat);
    cpika_transport_unlock(&conn->io);
    if (conn->io.sock == NULL && e->in_place_allowed && cpika_transport_keep(&conn->io) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(terminate_doc, "_terminate($self, error, /)\n--\n\n"
                            "End the connection for this reason, an exception; an orderly end raises nothing.");

static PyObject *
connection_terminate(PyObject *op, PyObject *error)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    if (!PyExceptionInstance_Check(error)) {
        return PyErr_Format(PyExc_TypeError, "error must be an exception, not %R", error);
    }
    int orderly = PyObject_IsInstance(error, conn->st->exceptions[CPIKA_EXC_ConnectionClosedByClient]);
    if (orderly < 0 || cpika_terminate(conn, Py_NewRef(error), orderly != 0) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(forget_events_doc, "_forget_events($self, /)\n--\n\n"
                                "Drop what was received and is not dispatched: the user has closed the connection.");

static PyObject *
connection_forget_events(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    cpika_event *event;
    while ((event = conn->engine.events.first) != NULL) {
        if (event->channel == NULL) {
            cpika_events_append(&conn->engine.grave, NULL, cpika_events_take_first(&conn->engine.events));
        } else {
            cpika_events_move(&conn->engine.events, &event->channel->events, &conn->engine.grave);
        }
    }
    conn->roles.next_timer_ns = UINT64_MAX;
    conn->roles.due = false;
    cpika_engine_bury(&conn->engine);
    Py_RETURN_NONE;
}

static PyMethodDef connection_methods[] = {
    {"_write", connection_write, METH_O, write_doc},
    {"_send_method", connection_send_method, METH_O, send_method_doc},
    {"_rpc", connection_rpc, METH_VARARGS, rpc_doc},
    {"_process", (PyCFunction)(void (*)(void))connection_process, METH_FASTCALL, process_doc},
    {"_check", connection_check, METH_NOARGS, check_doc},
    {"_tell", connection_tell, METH_NOARGS, tell_doc},
    {"_tune", connection_tune, METH_VARARGS, tune_doc},
    {"_terminate", connection_terminate, METH_O, terminate_doc},
    {"_forget_events", connection_forget_events, METH_NOARGS, forget_events_doc},
    {NULL, NULL, 0, NULL},
};

/* ---- attributes ---- */

static PyObject *
get_state(PyObject *op, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    CpikaConnection *conn = (CpikaConnection *)op;
    return PyLong_FromLong(cpika_transport_forked(&conn->io) ? CONNECTION_CLOSED : conn->engine.state);
}

static int
set_state(PyObject *op, PyObject *value, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    CpikaConnection *conn = (CpikaConnection *)op;
    long state = value == NULL ? -1 : PyLong_AsLong(value);
    if (state <= CONNECTION_CLOSED || state > CONNECTION_CLOSING) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "connection_state cannot be set to %ld", state);
        }
        return -1;
    }
    // Closed meanwhile, perhaps by another thread: that is for good.
    if (cpika_check_connection(conn) < 0) {
        return -1;
    }
    conn->engine.state = (uint8_t)state;
    return 0;
}

static PyObject *
get_channels(PyObject *op, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    CpikaConnection *conn = (CpikaConnection *)op;
    PyObject *channels = PyDict_New();
    for (size_t i = 0; i < conn->engine.channels_cap && channels != NULL; i++) {
        if (conn->engine.channels[i] == NULL) {
            continue;
        }
        PyObject *owner = Py_NewRef(conn->engine.channels[i]->owner);
        PyObject *number = PyLong_FromSize_t(i);
        if (number == NULL || PyDict_SetItem(channels, number, owner) < 0) {
            Py_CLEAR(channels);
        }
        Py_XDECREF(number);
        Py_DECREF(owner);
    }
    return channels;
}

static PyObject *
get_error(PyObject *op, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    return cpika_ending_error((CpikaConnection *)op);
}

static PyObject *
get_asks(PyObject *op, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    CpikaConnection *conn = (CpikaConnection *)op;
    return cpika_check_fork(conn) < 0 ? NULL : PyLong_FromUnsignedLongLong(conn->roles.asks);
}

static PyObject *
get_link_number(PyObject *op, void *which)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    if (conn->io.link == NULL || cpika_transport_forked(&conn->io)) {
        return PyLong_FromLong(0);
    }
    cpika_transport_lock(&conn->io);
    uint64_t bytes = conn->io.link->bytes_sent;
    uint64_t heartbeats = conn->io.link->heartbeats_sent;
    cpika_transport_unlock(&conn->io);
    return PyLong_FromUnsignedLongLong(which == NULL ? bytes : heartbeats);
}

static PyObject *
get_frames_sent(PyObject *op, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    PyObject *heartbeats = get_link_number(op, (void *)op);
    unsigned long long n = heartbeats == NULL ? 0 : PyLong_AsUnsignedLongLong(heartbeats);
    Py_XDECREF(heartbeats);
    return heartbeats == NULL ? NULL
                              : PyLong_FromUnsignedLongLong(((CpikaConnection *)op)->io.frames_sent + n);
}

static PyMemberDef connection_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(CpikaConnection, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef connection_getset[] = {
    {"bytes_received", cpika_field_get, NULL, "Bytes read from the peer.",
     CPIKA_FIELD("bytes_received", T_ULONGLONG, offsetof(CpikaConnection, engine.bytes_received))},
    {"frames_received", cpika_field_get, NULL, "Frames read from the peer.",
     CPIKA_FIELD("frames_received", T_ULONGLONG, offsetof(CpikaConnection, engine.frames_received))},
    {"_cooperative", cpika_field_get, NULL, "Whether waits let other greenlets of the thread run.",
     CPIKA_FIELD("_cooperative", T_BOOL, offsetof(CpikaConnection, io.cooperative))},
    {"_address", cpika_field_get, cpika_field_set,
     "(host, port), as the exceptions of a connection that ends name it; None: they name none.",
     CPIKA_FIELD("_address", T_OBJECT, offsetof(CpikaConnection, address))},
    {"connection_state", get_state, set_state, "One of pika's CONNECTION_... numbers.", NULL},
    {"bytes_sent", get_link_number, NULL, "Bytes sent to the peer.", NULL},
    {"frames_sent", get_frames_sent, NULL, "Frames sent to the peer.", NULL},
    {"_asks", get_asks, NULL, "How often dispatching calls were asked to return; not after a fork.", NULL},
    {"_error", get_error, NULL, "Why the connection ended, or None.", NULL},
    {"_open_channels", get_channels, NULL, "Channels by number: a new dict.", NULL},
    {"_heartbeats_sent", get_link_number, NULL, "Heartbeat frames sent.", (void *)1},
    {NULL, NULL, NULL, NULL, NULL},
};

/* ---- life ---- */

static PyObject *
connection_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    CPIKA_GATE;
    (void)args;
    (void)kwargs;
    cpika_state *st = cpika_state_of_type(type);
    CpikaConnection *conn = st == NULL ? NULL : (CpikaConnection *)type->tp_alloc(type, 0);
    if (conn == NULL) {
        return NULL;
    }
    conn->st = st;
    bool made = cpika_engine_init(&conn->engine) == CPIKA_OK;
    cpika_roles_init(&conn->roles);
    conn->io.st = st;
    conn->io.engine = &conn->engine;
    conn->io.owner = (PyObject *)conn;
    conn->reserved = made ? PyByteArray_FromStringAndSize(NULL, CHANNEL_BITS / 8) : PyErr_NoMemory();
    if (conn->reserved == NULL) {
        Py_DECREF(conn);
        return NULL;
    }
    memset(PyByteArray_AS_STRING(conn->reserved), 0, CHANNEL_BITS / 8);
    return (PyObject *)conn;
}

static int
connection_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    CPIKA_GATE;
    static char *names[] = {"sock", NULL};
    CpikaConnection *conn = (CpikaConnection *)op;
    PyObject *sock;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:Connection", names, &sock)) {
        return -1;
    }
    if (conn->io.link != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "a connection is initialised once");
        return -1;
    }
    if (cpika_transport_attach(&conn->io, sock) < 0) {
        return -1;
    }
    conn->engine.state = CONNECTION_PROTOCOL;
    return 0;
}

static int
visit_events(const cpika_events *events, visitproc visit, void *arg)
{
    for (const cpika_event *event = events->first; event != NULL; event = event->next) {
        Py_VISIT(event->owner);
        Py_VISIT(event->object);
    }
    return 0;
}

static int
connection_traverse(PyObject *op, visitproc visit, void *arg)
{
    CpikaConnection *conn = (CpikaConnection *)op;
    const cpika_engine *e = &conn->engine;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(conn->io.sock);
    Py_VISIT(conn->address);
    Py_VISIT(e->ending.error);
    Py_VISIT(e->over.error);
    for (size_t i = 0; i < e->channels_cap; i++) {
        if (e->channels[i] != NULL) {
            Py_VISIT(e->channels[i]->owner);
        }
    }
    int rc = cpika_loop_traverse(&conn->loop, visit, arg);
    rc = rc != 0 ? rc : visit_events(&e->events, visit, arg);
    rc = rc != 0 ? rc : visit_events(&e->notices, visit, arg);
    return rc != 0 ? rc : visit_events(&e->grave, visit, arg);
}

static int
connection_clear(PyObject *op)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    conn->engine.state = CONNECTION_CLOSED;  // methods that still run find it so
    cpika_loop_clear(&conn->loop);
    Py_CLEAR(conn->address);
    cpika_engine_free(&conn->engine);
    return 0;
}

/* A connection that is forgotten open: pika's sockets warn.  To write a warning is to give the GIL away. */
static void
connection_finalize(PyObject *op)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    const cpika_engine *e = &conn->engine;
    if (conn->io.link == NULL || cpika_transport_forked(&conn->io) || cpika_engine_ended(e)
        || !e->in_place_allowed || cpika_is_left_behind()) {
        return;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (PyErr_ResourceWarning(op, 1, "unclosed connection %R", op) < 0
        && PyErr_ExceptionMatches(PyExc_Warning)) {  // an error by the warnings' filter
        PyErr_WriteUnraisable(op);
    }
    PyErr_Restore(type, value, traceback);
}

static void
connection_dealloc(PyObject *op)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    PyTypeObject *type = Py_TYPE(op);
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        return;
    }
    PyObject_GC_UnTrack(op);
    cpika_clear_weakrefs(op, &conn->weakrefs);
    PyObject *pending_type, *value, *traceback;
    PyErr_Fetch(&pending_type, &value, &traceback);
    connection_clear(op);
    bool forked = cpika_transport_forked(&conn->io);
    cpika_transport_free(&conn->io);
    PyErr_Restore(pending_type, value, traceback);
    cpika_roles_free(&conn->roles, forked);
    cpika_buf_free(&conn->scratch);
    cpika_strcache_clear(&conn->strings);
    Py_XDECREF(conn->reserved);
    Py_XDECREF(conn->address);
    type->tp_free(op);
    Py_DECREF(type);
}

PyDoc_STRVAR(connection_doc, "Connection(sock)\n--\n\n"
                             "The engine of one connection over a connected, non-blocking socket, which it takes over;\n"
                             "over None, bytes are fed and taken by hand.");

static PyType_Slot connection_slots[] = {
    {Py_tp_doc, (void *)connection_doc},
    {Py_tp_new, connection_new},
    {Py_tp_init, connection_init},
    {Py_tp_traverse, connection_traverse},
    {Py_tp_clear, connection_clear},
    {Py_tp_finalize, connection_finalize},
    {Py_tp_dealloc, connection_dealloc},
    {Py_tp_methods, connection_methods},
    {Py_tp_members, connection_members},
    {Py_tp_getset, connection_getset},
    {0, NULL},
};

static PyType_Spec connection_spec = {
    .name = "cpika._core.Connection",
    .basicsize = sizeof(CpikaConnection),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = connection_slots,
};

int
cpika_connection_exec(PyObject *module, cpika_state *st)
{
    st->connection_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &connection_spec, NULL);
    if (st->connection_type == NULL) {
        return -1;
    }
    return cpika_add_methods(st->connection_type, cpika_by_hand_methods) < 0
                   || cpika_add_methods(st->connection_type, cpika_kept_methods) < 0
                   || cpika_add_methods(st->connection_type, cpika_numbers_methods) < 0
                   || cpika_add_methods(st->connection_type, cpika_turns_methods) < 0
                   || cpika_add_methods(st->connection_type, cpika_looped_methods) < 0
                   || cpika_add_methods(st->connection_type, cpika_inner_connection_methods) < 0
               ? -1
               : PyModule_AddType(module, st->connection_type);
}
