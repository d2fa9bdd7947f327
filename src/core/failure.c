/* failure.c - how a connection ends: refused, failed, violated; and who is told.
 * Layer: core.
 * Owns: nothing; writes the connection's state and error.  Threads: with the GIL.
 * Errors: -1 with the exception that ended the connection. */
#include "engine.h"

#include "wire/method.h"

int
engine_check(CpikaConnection *conn)
{
    if (conn->link == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the connection's __init__ was not called");
        return -1;
    }
    if (cpika_link_forked(conn->link)) {
        cpika_raise(
            conn->st, CPIKA_EXC_ConnectionWrongStateError,
            "the connection belongs to the process that made it; this is a child of that one: make a new "
            "connection after fork");
        return -1;
    }
    if (conn->state == CONNECTION_CLOSED) {
        PyErr_SetNone(conn->st->exceptions[CPIKA_EXC_ConnectionWrongStateError]);
        return -1;
    }
    return 0;
}

int
engine_raise_closed(CpikaConnection *conn)
{
    if (conn->error == NULL || conn->closed_by_client) {
        PyErr_SetNone(conn->st->exceptions[CPIKA_EXC_ConnectionWrongStateError]);
    } else {
        cpika_raise_again(conn->error);
    }
    return -1;
}

void
engine_hook(PyObject *self, PyObject *name, PyObject *const *args, size_t nargs)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *method = PyObject_GetAttr(self, name);
    PyObject *done = method == NULL ? NULL : PyObject_Vectorcall(method, args, nargs, NULL);
    if (done == NULL && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        PyErr_Clear();
        PyErr_SetInterrupt();  // Ctrl-C inside a logging handler, say: the wait around this one answers it
    } else if (done == NULL) {
        PyErr_WriteUnraisable(self);
    }
    Py_XDECREF(method);
    Py_XDECREF(done);
    PyErr_Restore(type, value, traceback);
}

void
engine_terminate(CpikaConnection *conn, PyObject *error)
{
    if (error == NULL) {  // it could not be made: what went wrong then is the error
        PyObject *type, *traceback;
        PyErr_Fetch(&type, &error, &traceback);
        PyErr_NormalizeException(&type, &error, &traceback);
        Py_XDECREF(type);
        Py_XDECREF(traceback);
    }
    if (conn->state == CONNECTION_CLOSED) {
        Py_XDECREF(error);
        return;
    }
    Py_INCREF(conn);
    conn->state = CONNECTION_CLOSED;
    conn->decoding = false;
    Py_XSETREF(conn->error, error);
    cpika_keeper_remove(conn->link);
    engine_close_transport(conn);
    engine_fail_waiters(conn, NULL);
    for (size_t i = 0; i < conn->channels_cap; i++) {
        if (conn->channels[i] != NULL) {
            channel_set_closed(conn->channels[i], Py_XNewRef(conn->error));
        }
    }
    conn->return_asked = true;
    engine_wake_others(conn);
    PyObject *reason = conn->error == NULL ? Py_None : conn->error;
    engine_hook((PyObject *)conn, conn->st->names._on_terminated, &reason, 1);
    Py_DECREF(conn);
}

int
engine_fail(CpikaConnection *conn, PyObject *error)
{
    engine_terminate(conn, error);
    return engine_raise_closed(conn);
}

/* Tells the peer, if it can be told without waiting. */
static void
send_close(CpikaConnection *conn, int reply_code, PyObject *error)
{
    PyObject *text = PyObject_Str(error);
    Py_ssize_t n = 0;
    const char *reason = text == NULL ? NULL : PyUnicode_AsUTF8AndSize(text, &n);
    if (reason == NULL) {
        PyErr_Clear();
        n = 0;
    }
    n = n < 255 ? n : 255;
    uint8_t frame[CPIKA_FRAME_OVERHEAD + 4 + 2 + 1 + 255 + 4];
    size_t payload = 4 + 2 + 1 + (size_t)n + 4;
    cpika_frame_put_head(frame, CPIKA_FRAME_METHOD, 0, (uint32_t)payload);
    cpika_put32(frame + 7, CPIKA_ID_connection_close);
    cpika_put16(frame + 11, (uint16_t)reply_code);
    frame[13] = (uint8_t)n;
    memcpy(frame + 14, reason == NULL ? "" : reason, (size_t)n);
    cpika_put32(frame + 14 + n, 0);  // class and method that caused it: not told
    frame[18 + n] = CPIKA_FRAME_END;
    Py_XDECREF(text);

    engine_lock(conn);
    int rc = conn->sock == NULL
                 ? cpika_link_send_locked(conn->link, frame, payload + CPIKA_FRAME_OVERHEAD, cpika_now_ns())
                 : cpika_outq_push(&conn->link->out, frame, payload + CPIKA_FRAME_OVERHEAD);
    engine_unlock(conn);
    if (rc >= 0 && conn->sock != NULL && engine_flush_some(conn) < 0) {
        PyErr_Clear();
    }
}

/* What pika makes of a violation, and programs that reconnect catch: the stream is lost; why stands in the text and in
 * __cause__.  New reference or NULL; `error` is stolen. */
static PyObject *
lost_because(CpikaConnection *conn, PyObject *error)
{
    PyObject *lost = cpika_exc_new(conn->st, CPIKA_EXC_StreamLostError, "Stream connection lost: %R", error);
    if (lost == NULL) {
        Py_DECREF(error);
        return NULL;
    }
    PyException_SetCause(lost, error);
    return lost;
}

int
engine_refuse(CpikaConnection *conn, int reply_code, PyObject *error)
{
    if (error != NULL && reply_code != 0 && conn->state >= CONNECTION_TUNE) {
        send_close(conn, reply_code, error);
    }
    if (error != NULL && reply_code != 0) {
        error = lost_because(conn, error);
    }
    return engine_fail(conn, error);
}

int
engine_violation(CpikaConnection *conn, int status, long detail)
{
    int reply_code;
    PyObject *error = cpika_exc_violation(conn->st, status, detail, &reply_code);
    return engine_refuse(conn, reply_code, error);
}
