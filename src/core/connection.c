/* connection.c - _core.Connection: life of a connection, and what Python may ask of it.
 * Layer: core.
 * Owns: the connection's fields.  Threads: with the GIL; the keeper touches only the link.
 * Errors: NULL or -1 with an exception. */
#include "engine.h"

#include <stddef.h>
#include <structmember.h>

#include "wire/condition.h"

enum { FRAME_MIN_SIZE = 4096, DEFAULT_FRAME_MAX = 131072 };

#define KEEP_IDLE_NS (60 * CPIKA_NS_PER_S)

/* ---- channels ---- */

CpikaChannel *
engine_channel(CpikaConnection *conn, int number)
{
    return (size_t)number < conn->channels_cap ? conn->channels[number] : NULL;
}

int
engine_add_channel(CpikaConnection *conn, CpikaChannel *ch)
{
    if (ch->number < 1 || ch->number > UINT16_MAX || engine_channel(conn, ch->number) != NULL) {
        PyErr_Format(PyExc_ValueError, "channel number %d is out of range or in use", ch->number);
        return -1;
    }
    if ((size_t)ch->number >= conn->channels_cap) {
        size_t cap = conn->channels_cap > 0 ? conn->channels_cap : 16;
        while (cap <= (size_t)ch->number) {
            cap *= 2;
        }
        CpikaChannel **grown = PyMem_Realloc(conn->channels, cap * sizeof *grown);
        if (grown == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        memset(grown + conn->channels_cap, 0, (cap - conn->channels_cap) * sizeof *grown);
        conn->channels = grown;
        conn->channels_cap = cap;
    }
    conn->channels[ch->number] = (CpikaChannel *)Py_NewRef((PyObject *)ch);
    conn->channel_seen = ch->number > conn->channel_seen ? ch->number : conn->channel_seen;
    return 0;
}

void
engine_drop_channel(CpikaConnection *conn, CpikaChannel *ch)
{
    if (engine_channel(conn, ch->number) == ch) {
        conn->channels[ch->number] = NULL;
        Py_DECREF(ch);
    }
}

/* ---- methods ---- */

int
engine_deadline(PyObject *seconds, uint64_t *deadline_ns)
{
    *deadline_ns = ENGINE_FOREVER;
    if (seconds == Py_None) {
        return 0;
    }
    double s = PyFloat_AsDouble(seconds);
    if (s == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (s < 1e9) {  // some thirty years: further than a process lives
        *deadline_ns = cpika_now_ns() + (s > 0 ? (uint64_t)(s * 1e9) : 0);
    }
    return 0;
}

PyDoc_STRVAR(write_doc, "_write($self, data, /)\n--\n\nSend bytes as they are: the protocol header.");

static PyObject *
connection_write(PyObject *op, PyObject *data)
{
    CpikaConnection *conn = (CpikaConnection *)op;
    Py_buffer view;
    if (engine_check(conn) < 0 || PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    int rc = engine_send(conn, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    if (rc < 0 || engine_wait_output(conn) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(send_method_doc, "_send_method($self, channel_number, method, /)\n--\n\nSend a method that has no answer.");

static PyObject *
connection_send_method(PyObject *op, PyObject *args)
{
    CpikaConnection *conn = (CpikaConnection *)op;
    int number;
    PyObject *method;
    if (!PyArg_ParseTuple(args, "iO:_send_method", &number, &method) || engine_check(conn) < 0
        || engine_send_method(conn, number, method) < 0 || engine_wait_output(conn) < 0) {
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
    CpikaConnection *conn = (CpikaConnection *)op;
    PyObject *method;
    PyObject *timeout = Py_None;
    unsigned int reply;
    uint64_t deadline;
    if (!PyArg_ParseTuple(args, "OI|O:_rpc", &method, &reply, &timeout) || engine_check(conn) < 0
        || engine_deadline(timeout, &deadline) < 0) {
        return NULL;
    }
    return engine_rpc(conn, NULL, method, reply, deadline);
}

PyDoc_STRVAR(process_doc, "_process($self, timeout, dispatch, /)\n--\n\n"
                          "Do input and output for at most `timeout` seconds (None: no limit).  With `dispatch`, dispatch\n"
                          "what is queued and what one read brings, and return as soon as something was.\n"
                          "Returns 1 then, 2 when something else asked for the return, 0 when the time was over.");

static PyObject *
connection_process(PyObject *op, PyObject *args)
{
    CpikaConnection *conn = (CpikaConnection *)op;
    PyObject *timeout;
    int dispatch;
    uint64_t deadline;
    if (!PyArg_ParseTuple(args, "Op:_process", &timeout, &dispatch) || engine_check(conn) < 0
        || engine_deadline(timeout, &deadline) < 0) {
        return NULL;
    }
    int rc = engine_process(conn, deadline, dispatch != 0);
    return rc < 0 ? NULL : PyLong_FromLong(rc);
}

PyDoc_STRVAR(free_number_doc, "_free_channel_number($self, limit, /)\n--\n\n"
                              "The lowest channel number that is not in use, or None when `limit` channels are.");

static PyObject *
connection_free_number(PyObject *op, PyObject *limit)
{
    CpikaConnection *conn = (CpikaConnection *)op;
    long most = PyLong_AsLong(limit);
    if (most == -1 && PyErr_Occurred()) {
        return NULL;
    }
    for (int number = 1; number <= most && number <= UINT16_MAX; number++) {
        if (engine_channel(conn, number) == NULL) {
            return PyLong_FromLong(number);
        }
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(ask_return_doc, "_ask_return($self, /)\n--\n\n"
                             "Have the dispatching call return soon: from any thread or signal handler.");

static PyObject *
connection_ask_return(PyObject *op, PyObject *ignored)
{
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    conn->return_asked = true;
    if (conn->link != NULL && !cpika_link_forked(conn->link)) {
        engine_wake_others(conn);
        cpika_link_wake(conn->link);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(tune_doc, "_tune($self, frame_max, heartbeat, blocked_timeout, /)\n--\n\n"
                       "What was negotiated: frame_max in bytes, heartbeat in seconds (0: none); and the\n"
                       "blocked_connection_timeout in seconds (None: none).");

static PyObject *
connection_tune(PyObject *op, PyObject *args)
{
    CpikaConnection *conn = (CpikaConnection *)op;
    unsigned int frame_max;
    int heartbeat;
    PyObject *blocked;
    if (!PyArg_ParseTuple(args, "IiO:_tune", &frame_max, &heartbeat, &blocked) || engine_check(conn) < 0) {
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
    bool unlimited = blocked == Py_None || !(timeout < 1e9);  // some thirty years, inf and nan: never
    conn->frame_max = frame_max;
    // A timeout of 0 is over at once, not never.
    conn->blocked_timeout_ns = unlimited ? 0 : (timeout > 0 ? (uint64_t)(timeout * 1e9) : 0) + 1;
    cpika_heartbeat_start(&conn->heartbeat, (uint16_t)heartbeat, cpika_now_ns());
    engine_lock(conn);
    conn->link->heartbeat_ns = cpika_heartbeat_send_interval_ns(&conn->heartbeat);
    engine_unlock(conn);
    if (conn->sock == NULL) {
        if (cpika_keeper_add(conn->link) < 0) {
            return PyErr_NoMemory();
        }
        cpika_keeper_notify_heartbeat();
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(terminate_doc, "_terminate($self, error, /)\n--\n\n"
                            "End the connection for this reason, an exception; an orderly end raises nothing.");

static PyObject *
connection_terminate(PyObject *op, PyObject *error)
{
    CpikaConnection *conn = (CpikaConnection *)op;
    if (!PyExceptionInstance_Check(error)) {
        return PyErr_Format(PyExc_TypeError, "error must be an exception, not %R", error);
    }
    if (conn->state != CONNECTION_CLOSED) {
        int orderly = PyObject_IsInstance(error, conn->st->exceptions[CPIKA_EXC_ConnectionClosedByClient]);
        if (orderly < 0) {
            return NULL;
        }
        conn->closed_by_client = orderly != 0;
        engine_terminate(conn, Py_NewRef(error));
    }
    Py_RETURN_NONE;
}

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

static PyObject *
connection_keep(PyObject *op, PyObject *ignored)
{
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    if (conn->state == CONNECTION_CLOSED || conn->link == NULL || cpika_link_forked(conn->link)) {
        Py_RETURN_NONE;
    }
    engine_lock(conn);
    cpika_link *link = conn->link;
    uint64_t now = cpika_now_ns();
    uint64_t due = keep_due(link);
    bool send = now >= due;
    int rc = 0;
    // What is queued counts as the sign of life that is due.
    if (send && link->out.bytes == 0) {
        rc = cpika_outq_push(&link->out, cpika_heartbeat_frame, sizeof cpika_heartbeat_frame);
        link->heartbeats_sent++;
    }
    engine_unlock(conn);
    if (rc < 0) {
        return PyErr_NoMemory();
    }
    if (send && engine_flush_some(conn) < 0) {
        PyErr_Clear();  // the next call of the user tells
        Py_RETURN_NONE;
    }
    // Behind a full socket it is tried again soon.
    uint64_t pause = send ? CPIKA_NS_PER_MS * 50 : due - now;
    if (send && !engine_has_output(conn)) {
        pause = link->heartbeat_ns > 0 ? link->heartbeat_ns : KEEP_IDLE_NS;
    }
    return PyFloat_FromDouble((double)(pause < KEEP_IDLE_NS ? pause : KEEP_IDLE_NS) / 1e9);
}

static PyMethodDef connection_methods[] = {
    {"_write", connection_write, METH_O, write_doc},
    {"_send_method", connection_send_method, METH_VARARGS, send_method_doc},
    {"_rpc", connection_rpc, METH_VARARGS, rpc_doc},
    {"_process", connection_process, METH_VARARGS, process_doc},
    {"_free_channel_number", connection_free_number, METH_O, free_number_doc},
    {"_ask_return", connection_ask_return, METH_NOARGS, ask_return_doc},
    {"_tune", connection_tune, METH_VARARGS, tune_doc},
    {"_terminate", connection_terminate, METH_O, terminate_doc},
    {"_keep", connection_keep, METH_NOARGS, keep_doc},
    {NULL, NULL, 0, NULL},
};

/* ---- attributes ---- */

static PyObject *
get_state(PyObject *op, void *closure)
{
    (void)closure;
    CpikaConnection *conn = (CpikaConnection *)op;
    bool forked = conn->link != NULL && cpika_link_forked(conn->link);
    return PyLong_FromLong(forked ? CONNECTION_CLOSED : conn->state);
}

static int
set_state(PyObject *op, PyObject *value, void *closure)
{
    (void)closure;
    long state = value == NULL ? -1 : PyLong_AsLong(value);
    if (state <= CONNECTION_CLOSED || state > CONNECTION_CLOSING) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "connection_state cannot be set to %ld", state);
        }
        return -1;
    }
    // Closed meanwhile, perhaps by another thread: that is for good.
    if (engine_check((CpikaConnection *)op) < 0) {
        return -1;
    }
    ((CpikaConnection *)op)->state = (uint8_t)state;
    return 0;
}

static PyObject *
get_channels(PyObject *op, void *closure)
{
    (void)closure;
    CpikaConnection *conn = (CpikaConnection *)op;
    PyObject *channels = PyDict_New();
    for (size_t i = 0; i < conn->channels_cap && channels != NULL; i++) {
        if (conn->channels[i] == NULL) {
            continue;
        }
        PyObject *number = PyLong_FromSize_t(i);
        if (number == NULL || PyDict_SetItem(channels, number, (PyObject *)conn->channels[i]) < 0) {
            Py_CLEAR(channels);
        }
        Py_XDECREF(number);
    }
    return channels;
}

static PyObject *
get_bytes_sent_heartbeats(PyObject *op, void *closure)
{
    (void)closure;
    CpikaConnection *conn = (CpikaConnection *)op;
    if (conn->link == NULL || cpika_link_forked(conn->link)) {
        return PyLong_FromLong(0);
    }
    engine_lock(conn);
    uint64_t n = conn->link->heartbeats_sent;
    engine_unlock(conn);
    return PyLong_FromUnsignedLongLong(n);
}

static PyMemberDef connection_members[] = {
    {"_error", T_OBJECT, offsetof(CpikaConnection, error), READONLY, "Why the connection ended, or None."},
    {"bytes_received", T_ULONGLONG, offsetof(CpikaConnection, bytes_received), READONLY,
     "Bytes read from the peer."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(CpikaConnection, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef connection_getset[] = {
    {"connection_state", get_state, set_state, "One of pika's CONNECTION_... numbers.", NULL},
    {"_open_channels", get_channels, NULL, "Channels by number: a new dict.", NULL},
    {"_heartbeats_sent", get_bytes_sent_heartbeats, NULL, "Heartbeat frames sent.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* ---- life ---- */

static PyObject *
connection_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    cpika_state *st = cpika_state_of_type(type);
    CpikaConnection *conn = st == NULL ? NULL : (CpikaConnection *)type->tp_alloc(type, 0);
    if (conn == NULL) {
        return NULL;
    }
    conn->st = st;
    conn->waiters_end = &conn->waiters;
    conn->frame_max = DEFAULT_FRAME_MAX;
    if (pthread_mutex_init(&conn->role_lock, NULL) != 0) {
        Py_DECREF(conn);
        return PyErr_NoMemory();
    }
    if (cpika_condition_init(&conn->role_cond) < 0) {
        pthread_mutex_destroy(&conn->role_lock);
        Py_DECREF(conn);
        return PyErr_NoMemory();
    }
    conn->role_ready = true;
    return (PyObject *)conn;
}

static int
connection_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"sock", NULL};
    CpikaConnection *conn = (CpikaConnection *)op;
    PyObject *sock;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:Connection", names, &sock)) {
        return -1;
    }
    if (conn->link != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "a connection is initialised once");
        return -1;
    }
    if (engine_attach(conn, sock) < 0) {
        return -1;
    }
    conn->state = CONNECTION_PROTOCOL;
    return 0;
}

static int
connection_traverse(PyObject *op, visitproc visit, void *arg)
{
    CpikaConnection *conn = (CpikaConnection *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(conn->sock);
    Py_VISIT(conn->error);
    for (size_t i = 0; i < conn->channels_cap; i++) {
        Py_VISIT(conn->channels[i]);
    }
    for (size_t i = 0; i < conn->events.count; i++) {
        cpika_event *event = &conn->events.items[(conn->events.head + i) & (conn->events.cap - 1)];
        Py_VISIT(event->channel);
        Py_VISIT(event->method);
        Py_VISIT(event->properties);
    }
    return 0;
}

static int
connection_clear(PyObject *op)
{
    CpikaConnection *conn = (CpikaConnection *)op;
    for (size_t i = 0; i < conn->channels_cap; i++) {
        CpikaChannel *ch = conn->channels[i];
        conn->channels[i] = NULL;
        if (ch != NULL) {
            ch->state = CHANNEL_CLOSED;
            engine_discard_events(conn, ch);
            Py_DECREF(ch);
        }
    }
    engine_discard_all_events(conn);
    PyErr_Clear();
    Py_CLEAR(conn->error);
    return 0;
}

static void
connection_dealloc(PyObject *op)
{
    CpikaConnection *conn = (CpikaConnection *)op;
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    if (conn->weakrefs != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    PyObject *pending_type, *value, *traceback;
    PyErr_Fetch(&pending_type, &value, &traceback);
    connection_clear(op);
    PyErr_Restore(pending_type, value, traceback);
    while (conn->waiters != NULL) {
        engine_forget_waiter(conn, NULL, conn->waiters);
    }
    PyMem_Free(conn->channels);
    PyMem_Free(conn->events.items);
    if (conn->link != NULL) {
        cpika_keeper_remove(conn->link);
        cpika_link_decref(conn->link);
    }
    Py_CLEAR(conn->sock);
    Py_CLEAR(conn->sock_chunk);
    cpika_buf_free(&conn->in);
    cpika_buf_free(&conn->late);
    cpika_buf_free(&conn->scratch);
    cpika_strcache_clear(&conn->strings);
    if (conn->role_ready) {
        pthread_cond_destroy(&conn->role_cond);
        pthread_mutex_destroy(&conn->role_lock);
    }
    type->tp_free(op);
    Py_DECREF(type);
}

PyDoc_STRVAR(connection_doc, "Connection(sock)\n--\n\n"
                             "The engine of one connection over a connected, non-blocking socket, which it takes over.");

static PyType_Slot connection_slots[] = {
    {Py_tp_doc, (void *)connection_doc}, {Py_tp_new, connection_new},
    {Py_tp_init, connection_init},       {Py_tp_traverse, connection_traverse},
    {Py_tp_clear, connection_clear},     {Py_tp_dealloc, connection_dealloc},
    {Py_tp_methods, connection_methods}, {Py_tp_members, connection_members},
    {Py_tp_getset, connection_getset},   {0, NULL},
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
    return st->connection_type == NULL ? -1 : PyModule_AddType(module, st->connection_type);
}
