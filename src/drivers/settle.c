/* settle.c - see settle.h.
 * Layer: drivers.  Owns: nothing.  Threads: with the GIL.  Errors: see settle.h. */
#include "settle.h"

#include "ended.h"
#include "made.h"
#include "values/gate.h"

/* ---- notices ---- */

static PyObject *
call_hook(PyObject *self, PyObject *name, PyObject *const *args, size_t nargs)
{
    PyObject *method = PyObject_GetAttr(self, name);
    cpika_gate_section *gate = cpika_gate_leave();
    PyObject *done = method == NULL ? NULL : PyObject_Vectorcall(method, args, nargs, NULL);
    cpika_gate_return(gate);
    Py_XDECREF(method);
    return done;
}

static PyObject *
notice_method(CpikaConnection *conn, const cpika_event *event)
{
    PyObject *method = cpika_make_method(conn, event->message);
    PyObject *args[] = {event->owner == NULL ? Py_None : event->owner, method};
    PyObject *done = method == NULL ? NULL : call_hook((PyObject *)conn, conn->st->names._on_method, args, 2);
    Py_XDECREF(method);
    return done;
}

static PyObject *
notice_message(CpikaConnection *conn, const cpika_event *event)
{
    cpika_made made = {0};
    if (cpika_make_message(conn, event->message, &made) < 0) {
        return NULL;
    }
    PyObject *args[] = {made.method, made.properties, made.body};
    PyObject *done = event->kind == CPIKA_NOTICE_RETURNED
                         ? call_hook(event->owner, conn->st->names._on_returned, args, 3)
                         : call_hook(event->owner, conn->st->names._on_unexpected, args, 1);
    cpika_made_clear(&made);
    return done;
}

static PyObject *
run_notice(CpikaConnection *conn, const cpika_event *event)
{
    PyObject *done = NULL;
    PyObject *reason = NULL;
    PyObject *before = NULL;
    switch (event->kind) {
    case CPIKA_NOTICE_METHOD:
        return notice_method(conn, event);
    case CPIKA_NOTICE_RETURNED:
    case CPIKA_NOTICE_UNEXPECTED:
        return notice_message(conn, event);
    case CPIKA_NOTICE_CHANNEL_CLOSED:
        reason = cpika_broker_reason(cpika_channel_object(event->channel));
        before = PyLong_FromLong(event->number);
        if (reason != NULL && before != NULL) {
            PyObject *args[] = {reason, before};
            done = call_hook(event->owner, conn->st->names._on_closed_by_broker, args, 2);
        }
        break;
    case CPIKA_NOTICE_ENDED:
        reason = cpika_ending_error(conn);
        if (reason != NULL) {
            PyObject *args[] = {reason};
            done = call_hook((PyObject *)conn, conn->st->names._on_ended, args, 1);
        }
        break;
    default:
        return Py_NewRef(Py_None);
    }
    Py_XDECREF(reason);
    Py_XDECREF(before);
    return done;
}

/* One at a time, in order; a call further up in the stack, or in another thread, leaves them to the one that runs them. */
static int
run_notices(CpikaConnection *conn)
{
    cpika_roles *r = &conn->roles;
    if (r->noticing) {
        return 0;
    }
    int rc = 0;
    r->noticing = true;
    cpika_event *event;
    while (rc == 0 && (event = cpika_events_take_first(&conn->engine.notices)) != NULL) {
        cpika_roles_hand_over(r, conn->io.link);
        PyObject *done = run_notice(conn, event);
        rc = done == NULL ? -1 : 0;
        Py_XDECREF(done);
        cpika_event_free(event);
    }
    r->noticing = false;
    return rc;
}

/* ---- all of it ---- */

/* Sends what is owed.  What the peer does not take now stays queued; what it says when it cannot be sent is handled. */
static int
pay(CpikaConnection *conn)
{
    while (conn->engine.owed.len > 0 && !conn->io.closed) {
        int rc = cpika_transport_flush(&conn->io);
        if (rc == CPIKA_IO_RAISED) {
            return -1;
        }
        if (rc == CPIKA_IO_ENDED) {
            break;
        }
        if (rc == CPIKA_AGAIN) {
            cpika_roles_want_write(&conn->roles, conn->io.link);
        }
    }
    return 0;
}

int
cpika_settle_quietly(CpikaConnection *conn)
{
    int rc = pay(conn);
    if (cpika_engine_ended(&conn->engine) && !conn->io.closed) {
        rc = cpika_transport_close_behind(&conn->io) < 0 ? -1 : rc;
    }
    cpika_roles_notify(&conn->roles, &conn->engine, conn->io.link);
    return rc;
}

int
cpika_settle_slow(CpikaConnection *conn)
{
    if (cpika_settle_quietly(conn) < 0) {
        return -1;
    }
    cpika_engine_bury(&conn->engine);
    return run_notices(conn);
}

int
cpika_raise_io(CpikaConnection *conn, int rc)
{
    if (rc >= 0) {
        return rc;
    }
    return rc == CPIKA_IO_RAISED || cpika_settle(conn) < 0 ? -1 : cpika_raise_ended(conn);
}

int
cpika_terminate(CpikaConnection *conn, PyObject *error, bool by_client)
{
    const cpika_ending why = {.kind = CPIKA_ENDING_GIVEN, .error = error, .by_client = by_client};
    cpika_engine_end(&conn->engine, &why);
    return cpika_settle(conn);
}
