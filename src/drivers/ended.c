/* ended.c - see ended.h.
 * Layer: drivers.  Owns: nothing.  Threads: with the GIL.  Errors: see ended.h. */
#include "ended.h"

#include "values/errors.h"

/* ---- the connection ---- */

static PyObject *
reason_error(cpika_state *st, cpika_exc which, const cpika_reason *reason)
{
    PyObject *text = cpika_text_decode((const uint8_t *)reason->text, reason->len);
    PyObject *error = text == NULL ? NULL : cpika_exc_reply(st, which, reason->code, text);
    Py_XDECREF(text);
    return error;
}

/* What pika makes of a violation, and programs that reconnect catch: the stream is lost; why stands in the text and in
 * __cause__. */
static PyObject *
violation_error(cpika_state *st, const cpika_ending *e)
{
    PyObject *cause;
    if (e->exception == CPIKA_EXC_BodyTooLongError) {
        cause = PyObject_CallFunction(st->exceptions[e->exception], "KK", (unsigned long long)e->numbers[0],
                                      (unsigned long long)e->numbers[1]);
    } else {
        PyObject *text = cpika_text_decode((const uint8_t *)e->reason.text, e->reason.len);
        cause = text == NULL ? NULL : cpika_exc_new(st, e->exception, "%S", text);
        Py_XDECREF(text);
    }
    if (cause == NULL || e->reason.code == 0) {
        return cause;
    }
    PyObject *lost = cpika_exc_new(st, CPIKA_EXC_StreamLostError, "Stream connection lost: %R", cause);
    if (lost == NULL) {
        Py_DECREF(cause);
        return NULL;
    }
    PyException_SetCause(lost, cause);
    return lost;
}

/* The peer has ended the stream; one of TLS in good order, which pika has an error of its own for. */
static PyObject *
eof_error(cpika_state *st, bool secure)
{
    return cpika_exc_new(st, CPIKA_EXC_StreamLostError, "%s",
                         secure ? "Stream connection lost: RxEndOfFile(-1, 'End of input stream (EOF)')"
                                : "Transport indicated EOF");
}

static PyObject *
make_error(cpika_state *st, const cpika_ending *e, bool secure)
{
    switch (e->kind) {
    case CPIKA_ENDING_BY_BROKER:
        return reason_error(st, CPIKA_EXC_ConnectionClosedByBroker, &e->reason);
    case CPIKA_ENDING_BY_CLIENT:
        return reason_error(st, CPIKA_EXC_ConnectionClosedByClient, &e->reason);
    case CPIKA_ENDING_EOF:
        return eof_error(st, secure);
    case CPIKA_ENDING_ERRNO:
        return cpika_exc_stream_lost(st, e->reason.code);
    case CPIKA_ENDING_VIOLATION:
        return violation_error(st, e);
    case CPIKA_ENDING_SILENCE:
        return cpika_exc_new(st, CPIKA_EXC_AMQPHeartbeatTimeout,
                             "No activity or too many missed heartbeats in the last %d seconds",
                             e->reason.code);
    case CPIKA_ENDING_BLOCKED:
        return cpika_exc_new(st, CPIKA_EXC_ConnectionBlockedTimeout, "Blocked connection timeout expired.");
    case CPIKA_ENDING_NO_MEMORY:
        return PyObject_CallNoArgs(PyExc_MemoryError);
    case CPIKA_ENDING_NONE:
    case CPIKA_ENDING_GIVEN:
        break;
    }
    Py_RETURN_NONE;
}

/* Has the exception that ended the connection name the peer, unless it names one. */
static int
name_peer(const CpikaConnection *conn, PyObject *error)
{
    PyObject *address = conn->address;
    if (address == NULL || !PyTuple_CheckExact(address) || PyTuple_GET_SIZE(address) != 2
        || !PyObject_TypeCheck(error, (PyTypeObject *)conn->st->exceptions[CPIKA_EXC_AMQPConnectionError])) {
        return 0;
    }
    PyObject *named = PyObject_GetAttrString(error, "host");
    int rc = named == NULL ? -1 : 0;
    if (named == Py_None) {
        rc = PyObject_SetAttrString(error, "host", PyTuple_GET_ITEM(address, 0));
        rc = rc < 0 ? rc : PyObject_SetAttrString(error, "port", PyTuple_GET_ITEM(address, 1));
    }
    Py_XDECREF(named);
    return rc;
}

PyObject *
cpika_ending_error(CpikaConnection *conn)
{
    cpika_ending *e = &conn->engine.ending;
    if (e->error == NULL) {
        PyObject *error = make_error(conn->st, e, conn->io.secure);
        if (error == NULL) {
            return NULL;
        }
        if (e->error != NULL || error == Py_None) {  // made by another thread meanwhile, or there is none
            Py_DECREF(error);
            return Py_NewRef(e->error != NULL ? e->error : Py_None);
        }
        e->error = error;
    }
    return name_peer(conn, e->error) < 0 ? NULL : Py_NewRef(e->error);
}

int
cpika_raise_ended(CpikaConnection *conn)
{
    PyObject *error = conn->engine.ending.by_client ? Py_NewRef(Py_None) : cpika_ending_error(conn);
    if (error == NULL) {
        return -1;
    }
    if (error == Py_None) {
        PyErr_SetNone(conn->st->exceptions[CPIKA_EXC_ConnectionWrongStateError]);
    } else {
        conn->engine.ending.told = true;
        cpika_roles_note_told(&conn->roles, conn->st);
        cpika_raise_again(error);
    }
    Py_DECREF(error);
    return -1;
}

bool
cpika_drop_second(CpikaConnection *conn, bool told)
{
    if (!PyErr_ExceptionMatches(conn->st->exceptions[CPIKA_EXC_AMQPError])
        && !PyErr_ExceptionMatches(conn->st->exceptions[CPIKA_EXC_ReentrancyError])) {
        return false;
    }
    PyErr_Clear();
    conn->engine.ending.told = told;
    return true;
}

int
cpika_check_fork(CpikaConnection *conn)
{
    if (conn->io.link == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the connection's __init__ was not called");
        return -1;
    }
    if (cpika_transport_forked(&conn->io)) {
        cpika_raise(
            conn->st, CPIKA_EXC_ConnectionWrongStateError,
            "the connection belongs to the process that made it; this is a child of that one: make a new "
            "connection after fork");
        return -1;
    }
    return 0;
}

/* Whether somebody has still to be told why it ended. */
static bool
owes_reason(const cpika_engine *e)
{
    return cpika_engine_ended(e) && !e->ending.told && !e->ending.by_client;
}

int
cpika_tell(CpikaConnection *conn)
{
    if (cpika_check_fork(conn) < 0) {
        return -1;
    }
    return owes_reason(&conn->engine) ? cpika_raise_ended(conn) : 0;
}

int
cpika_check_connection(CpikaConnection *conn)
{
    if (cpika_tell(conn) < 0) {
        return -1;
    }
    if (!cpika_engine_ended(&conn->engine)) {
        return 0;
    }
    PyErr_SetNone(conn->st->exceptions[CPIKA_EXC_ConnectionWrongStateError]);
    return -1;
}

/* ---- a channel ---- */

PyObject *
cpika_broker_reason(CpikaChannel *ch)
{
    return reason_error(ch->st, CPIKA_EXC_ChannelClosedByBroker, ch->engine.reason);
}

PyObject *
cpika_closing_reason(CpikaChannel *ch)
{
    if (ch->closing_reason == NULL && ch->engine.closed_by == CPIKA_CLOSED_BY_BROKER) {
        PyObject *reason = cpika_broker_reason(ch);
        if (reason == NULL) {
            return NULL;
        }
        if (ch->closing_reason == NULL) {
            ch->closing_reason = reason;
        } else {
            Py_DECREF(reason);
        }
    }
    if (ch->closing_reason == NULL && ch->engine.closed_by == CPIKA_CLOSED_WITH_CONNECTION
        && ch->conn != NULL) {
        return cpika_ending_error(ch->conn);
    }
    return Py_NewRef(ch->closing_reason != NULL ? ch->closing_reason : Py_None);
}

int
cpika_check_channel(CpikaChannel *ch)
{
    if (ch->conn == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the channel's __init__ was not called");
        return -1;
    }
    if (cpika_check_fork(ch->conn) < 0) {
        return -1;
    }
    if (ch->engine.state == CHANNEL_OPEN) {
        return 0;
    }
    if (ch->engine.closed_by == CPIKA_CLOSED_WITH_CONNECTION && owes_reason(&ch->conn->engine)) {
        return cpika_raise_ended(ch->conn);
    }
    const char *text = ch->engine.state == CHANNEL_OPENING   ? "Channel is opening, but is not usable yet."
                       : ch->engine.state == CHANNEL_CLOSING ? "Channel is closing."
                                                             : "Channel is closed.";
    cpika_raise(ch->st, CPIKA_EXC_ChannelWrongStateError, "%s", text);
    return -1;
}

int
cpika_raise_not_open(CpikaChannel *ch)
{
    if (ch->engine.state == CHANNEL_CLOSED && ch->engine.closed_by == CPIKA_CLOSED_BY_BROKER) {
        PyObject *reason = cpika_closing_reason(ch);
        if (reason != NULL) {
            cpika_raise_again(reason);
            Py_DECREF(reason);
        }
        return -1;
    }
    if (cpika_check_channel(ch) == 0) {  // it is open, but the connection is being closed
        PyErr_SetNone(ch->st->exceptions[CPIKA_EXC_ConnectionWrongStateError]);
    }
    return -1;
}
