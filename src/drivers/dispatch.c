/* dispatch.c - see dispatch.h.
 * Layer: drivers.  Owns: nothing.  Threads: with the GIL.  Errors: see dispatch.h. */
#include "dispatch.h"

#include "deliver.h"
#include "ended.h"
#include "engine/frames.h"
#include "fair.h"
#include "made.h"
#include "pending.h"
#include "settle.h"
#include "values/errors.h"
#include "values/gate.h"
#include "wait.h"
#include "wire/hot.h"

enum {
    OFFER_EVERY = 16,                         // callbacks between two looks at the clock
    SLOW_CALLBACK_NS = 50 * CPIKA_NS_PER_US,  // held acks leave after a callback that took longer (rule 4)
};

/* ---- the other events ---- */

static int
run_return(CpikaConnection *conn, const cpika_event *event)
{
    cpika_made made = {0};
    PyObject *number = PyLong_FromLong(event->number);
    if (number == NULL || cpika_make_message(conn, event->message, &made) < 0) {
        Py_XDECREF(number);
        return cpika_not_handed();
    }
    PyObject *args[] = {event->owner, number, made.method, made.properties, made.body};
    cpika_gate_section *gate = cpika_gate_leave();
    PyObject *done = PyObject_VectorcallMethod(conn->st->names._dispatch_return, args,
                                               5 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    cpika_gate_return(gate);
    cpika_made_clear(&made);
    Py_DECREF(number);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
run_cancel(CpikaConnection *conn, const cpika_event *event)
{
    PyObject *method = cpika_make_method(conn, event->message);
    if (method == NULL) {
        return cpika_not_handed();
    }
    cpika_gate_section *gate = cpika_gate_leave();
    PyObject *done = PyObject_CallMethodOneArg(event->owner, conn->st->names._dispatch_cancel, method);
    cpika_gate_return(gate);
    Py_DECREF(method);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
run_object(CpikaConnection *conn, const cpika_event *event)
{
    cpika_gate_section *gate = cpika_gate_leave();
    PyObject *done = PyObject_CallMethodNoArgs(event->object, conn->st->names.dispatch);
    cpika_gate_return(gate);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
run_delivery(CpikaConnection *conn, cpika_call *call, CpikaChannel *ch, const cpika_message *message)
{
    cpika_made made = {0};
    cpika_take_in_hand(ch, call);
    int rc = cpika_make_message(conn, message, &made);
    if (rc == 0) {
        rc = cpika_deliver(conn, call, ch, &made);
        cpika_made_clear(&made);
    } else {
        rc = cpika_drop_from_hand(conn, call, ch);
    }
    return rc;
}

/* 0, -1, or CPIKA_NOT_HANDED. */
static int
run_event(CpikaConnection *conn, cpika_call *call, const cpika_event *event)
{
    switch (event->kind) {
    case CPIKA_EVENT_DELIVERY:
        return run_delivery(conn, call, cpika_channel_object(event->channel), event->message);
    case CPIKA_EVENT_RETURN:
        return run_return(conn, event);
    case CPIKA_EVENT_CANCEL:
        return run_cancel(conn, event);
    default:
        return run_object(conn, event);
    }
}

/* ---- around a callback ---- */

CPIKA_HOT void
before_callback(CpikaConnection *conn, cpika_call *call, cpika_channel_roles *channel)
{
    cpika_roles *r = &conn->roles;
    cpika_roles_begin_callback(call, channel);
    call->may_hold = conn->engine.events.count > 0 || cpika_engine_frame_ready(&conn->engine);
    r->holder = call->may_hold ? call : r->holder;
    if (r->asleep > 0) {
        cpika_roles_notify(r, &conn->engine, conn->io.link);
        cpika_roles_hand_over(r, conn->io.link);
    }
}

CPIKA_HOT void
after_callback(CpikaConnection *conn, cpika_call *call, cpika_channel_roles *channel)
{
    cpika_roles *r = &conn->roles;
    call->may_hold = false;
    r->holder = r->holder == call ? NULL : r->holder;
    cpika_roles_end_callback(r, call, channel);
}

/* Held acks wait while callbacks are quick, and no longer than one that was not. */
static int
release_held(CpikaConnection *conn)
{
    cpika_transport *io = &conn->io;
    if (!io->holding) {
        return 0;
    }
    uint64_t now = cpika_now_ns();
    bool slow = now - io->clock_ns > SLOW_CALLBACK_NS;
    io->clock_ns = now;
    if (!slow) {
        return 0;
    }
    return cpika_transport_flush(io) == CPIKA_IO_RAISED || cpika_look_between(conn) < 0 ? -1 : 0;
}

/* Sends what is still held; an exception on its way stays, behind what is raised meanwhile. */
static int
flush_held(CpikaConnection *conn, int rc)
{
    if (!conn->io.holding || cpika_engine_ended(&conn->engine) || cpika_transport_forked(&conn->io)) {
        return rc;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    int flushed = cpika_transport_flush(&conn->io);
    cpika_restore_behind(type, value, traceback);
    return flushed == CPIKA_IO_RAISED ? -1 : rc;
}

/* ---- dispatch ---- */

/* Runs an event that was taken out.  What nobody has seen, for want of memory, stays the next one, and so do pending events
 * that what they raised has left. */
static int
run_taken(CpikaConnection *conn, cpika_call *call, cpika_event *event)
{
    int rc = run_event(conn, call, event);
    bool left = rc == CPIKA_NOT_HANDED
                || (rc < 0 && event->kind == CPIKA_EVENT_OBJECT && cpika_pending_are_left(event));
    if (left && cpika_pending_may_run(event->channel)) {
        cpika_events_put_back(&conn->engine.events, &event->channel->events, event);
    } else {
        cpika_event_free(event);
    }
    return rc < 0 ? -1 : 0;
}

static int
dispatch_event(CpikaConnection *conn, cpika_call *call, cpika_event *event)
{
    cpika_channel_roles *channel = cpika_roles_of_channel(event->channel);
    before_callback(conn, call, channel);
    int rc = run_taken(conn, call, event);
    after_callback(conn, call, channel);
    return rc;
}

/* A delivery could not be made.  For want of memory: it is queued, and if that finds none either, the connection ends
 * and its messages go back. */
static void
keep_raw(CpikaConnection *conn, cpika_call *call, const cpika_raw_delivery *raw, int rc)
{
    CpikaChannel *ch = cpika_channel_object(raw->channel);
    bool violates = rc > 0;
    rc = cpika_drop_from_hand(conn, call, ch);
    if (violates || rc != CPIKA_NOT_HANDED || !cpika_pending_may_run(raw->channel)) {
        cpika_input_unpin(raw->chunk);
        return;
    }
    cpika_channel_events *own = &raw->channel->events;
    cpika_event *last = own->last;  // what finalizers have read meanwhile stands behind this message
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    cpika_engine_queue_delivery(&conn->engine, raw);
    PyErr_Restore(type, value, traceback);
    cpika_event *event = own->last;
    if (last != NULL && event != last) {
        cpika_events_take(&conn->engine.events, own, last, event);
        cpika_events_put_back(&conn->engine.events, own, event);
    }
}

static int
dispatch_raw(CpikaConnection *conn, cpika_call *call, const cpika_raw_delivery *raw)
{
    CpikaChannel *ch = cpika_channel_object(raw->channel);
    cpika_made made = {0};
    Py_INCREF(ch);
    before_callback(conn, call, &ch->roles);
    cpika_take_in_hand(ch, call);
    int rc = cpika_make_raw(conn, raw, &made);
    if (rc == 0) {
        cpika_input_unpin(raw->chunk);
        rc = cpika_deliver(conn, call, ch, &made);
        cpika_made_clear(&made);
    } else {
        keep_raw(conn, call, raw, rc);
    }
    after_callback(conn, call, &ch->roles);
    Py_DECREF(ch);
    return rc < 0 ? -1 : 0;
}

/* The next one: 1, 0 when there is none, or -1. */
static int
dispatch_next(CpikaConnection *conn, cpika_call *call)
{
    cpika_engine *e = &conn->engine;
    for (;;) {
        cpika_event *event = e->events.first == NULL ? NULL : cpika_roles_take_event(e, call);
        if (event != NULL) {
            return dispatch_event(conn, call, event) < 0 ? -1 : 1;
        }
        cpika_raw_delivery raw;
        cpika_step step = cpika_engine_step(e, &raw);
        if (step == CPIKA_STEP_DELIVERY) {
            if (cpika_roles_may_run(call, cpika_roles_of_channel(raw.channel))) {
                return dispatch_raw(conn, call, &raw) < 0 ? -1 : 1;
            }
            cpika_engine_queue_delivery(e, &raw);
        }
        if (cpika_settle(conn) < 0) {
            return -1;
        }
        if (step == CPIKA_STEP_MORE
            && (e->events.first == NULL || !cpika_roles_has_work(&conn->roles, e, call))) {
            return 0;
        }
        if (step == CPIKA_STEP_MORE) {  // settling has brought something, or it is for somebody else
            event = cpika_roles_take_event(e, call);
            return event == NULL ? 0 : dispatch_event(conn, call, event) < 0 ? -1 : 1;
        }
    }
}

/* The next one that is queued for a consumer of the claimed channel. */
static int
dispatch_next_of(CpikaConnection *conn, cpika_call *call, const cpika_consumer_tag *tag,
                 cpika_events_place *place)
{
    if (!cpika_roles_may_run(call, call->claims)) {
        return 0;
    }
    cpika_channel *ch = cpika_channel_of_roles(call->claims);
    cpika_event *event = cpika_events_take_of_consumer(&conn->engine.events, &ch->events, tag, place);
    return event == NULL ? 0 : dispatch_event(conn, call, event) < 0 ? -1 : 1;
}

Py_ssize_t
cpika_dispatch(CpikaConnection *conn, cpika_call *call, const cpika_consumer_tag *only)
{
    cpika_events_place place = {0};
    Py_ssize_t n = 0;
    int rc;
    while ((rc = only == NULL ? dispatch_next(conn, call) : dispatch_next_of(conn, call, only, &place)) > 0) {
        n++;
        if (cpika_check_fork(conn) < 0) {  // the callback has forked, and this is the child
            return -1;
        }
        rc = release_held(conn);
        if (rc == 0 && cpika_is_unsettled(conn)) {
            rc = cpika_settle_slow(conn);
        }
        if (rc == 0 && n % OFFER_EVERY == 0) {
            rc = cpika_offer_gil(&conn->offer);  // a C callable as callback runs no bytecode
        }
        if (rc == 0) {
            rc = cpika_be_fair(conn);
        }
        if (rc < 0) {
            break;
        }
    }
    if (rc == 0 && conn->roles.asleep > 0) {
        cpika_roles_notify(&conn->roles, &conn->engine, conn->io.link);
    }
    rc = flush_held(conn, rc);
    return rc < 0 ? -1 : n;
}

/* ---- of one consumer ---- */

/* Puts (method, properties, body) of a delivery into the list. */
static int
append_message(CpikaConnection *conn, const cpika_event *event, PyObject *list)
{
    cpika_made made = {0};
    if (cpika_make_message(conn, event->message, &made) < 0) {
        return -1;
    }
    PyObject *message = PyTuple_Pack(3, made.method, made.properties, made.body);
    int rc = message == NULL ? -1 : PyList_Append(list, message);
    Py_XDECREF(message);
    cpika_made_clear(&made);
    return rc;
}

PyObject *
cpika_take_pending(CpikaChannel *ch, PyObject *tag)
{
    CpikaConnection *conn = ch->conn;
    cpika_consumer_tag wanted;
    PyObject *list = cpika_tag_of(tag, &wanted) < 0 ? NULL : PyList_New(0);
    cpika_events_place place = {0};
    cpika_event *event;
    while (
        list != NULL
        && (event = cpika_events_take_of_consumer(&conn->engine.events, &ch->engine.events, &wanted, &place))
               != NULL) {
        // A cancellation by the broker that stood behind the messages says nothing new.
        if (event->kind == CPIKA_EVENT_DELIVERY && append_message(conn, event, list) < 0) {
            Py_CLEAR(list);
        }
        cpika_event_free(event);
    }
    return list;
}

int
cpika_reject_pending(CpikaChannel *ch, const cpika_consumer_tag *tag)
{
    cpika_engine *e = &ch->conn->engine;
    cpika_events_place place = {0};
    cpika_event *event;
    while ((event = cpika_events_take_of_consumer(&e->events, &ch->engine.events, tag, &place)) != NULL) {
        int rc = event->kind == CPIKA_EVENT_DELIVERY
                     ? cpika_engine_owe_reject(e, &ch->engine, cpika_message_delivery_tag(event->message))
                     : CPIKA_OK;
        cpika_events_append(&e->grave, NULL, event);
        if (rc < 0) {
            PyErr_NoMemory();
            return -1;
        }
    }
    return 0;
}

Py_ssize_t
cpika_dispatch_own_sink(CpikaConnection *conn, cpika_call *call)
{
    cpika_engine *e = &conn->engine;
    cpika_events_place place = {0};
    Py_ssize_t n = 0;
    int rc = 0;
    while (cpika_engine_step(e, NULL) == CPIKA_STEP_DONE) {
    }
    if (cpika_settle(conn) < 0) {
        return -1;
    }
    while (rc == 0 && cpika_roles_has_sink(call) && !cpika_roles_is_behind(call, call->claims)) {
        cpika_channel *ch = cpika_channel_of_roles(call->claims);
        cpika_event *event = cpika_events_take_of_consumer(&e->events, &ch->events, &call->sink, &place);
        if (event == NULL) {
            break;
        }
        rc = run_taken(conn, call, event);
        n++;
        if (rc == 0 && n % OFFER_EVERY == 0) {
            rc = cpika_offer_gil(&conn->offer);
        }
    }
    return rc < 0 ? -1 : n;
}
