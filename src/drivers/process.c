/* process.c - see process.h.
 * Layer: drivers.  Owns: nothing.  Threads: with the GIL.  Errors: see process.h. */
#include "process.h"

#include "dispatch.h"
#include "ended.h"
#include "settle.h"
#include "values/errors.h"
#include "values/gate.h"
#include "wait.h"

static bool
timer_is_due(const cpika_roles *r)
{
    return r->due || (r->next_timer_ns != UINT64_MAX && cpika_now_ns() >= r->next_timer_ns);
}

/* Runs timers and thread-safe callbacks, one call at a time.  1: there were some; 0; -1. */
static int
run_due(CpikaConnection *conn, cpika_call *call, PyObject *owner)
{
    cpika_roles *r = &conn->roles;
    if (!call->dispatches || r->timing || !timer_is_due(r)) {
        return 0;
    }
    r->timing = true;
    r->due = false;
    r->next_timer_ns =
        UINT64_MAX;  // told again by who looks at the timers now, and by who adds one from now on
    call->in_callback = true;
    cpika_roles_hand_over(r, conn->io.link);
    cpika_gate_section *gate = cpika_gate_leave();
    PyObject *ran = PyObject_CallMethodNoArgs(owner, conn->st->names._run_due);
    cpika_gate_return(gate);
    call->in_callback = false;
    r->timing = false;
    if (ran == NULL) {
        r->due = true;  // what is left is for the next
        cpika_roles_wake_dispatchers(r, conn->io.link);
        return -1;
    }
    int any = PyObject_IsTrue(ran);
    Py_DECREF(ran);
    if (r->due
        || r->next_timer_ns != UINT64_MAX) {  // others that have looked meanwhile have left it to this call
        cpika_roles_wake_dispatchers(r, conn->io.link);
    }
    return any;
}

/* Whether there are timers that were due already when a call last looked at the input.  In pika, it is such a call that
 * finds what is due. */
static bool
timer_was_found(const CpikaConnection *conn)
{
    return conn->roles.due || conn->roles.next_timer_ns <= conn->io.last_look_ns;
}

/* Whether what has come before this call is dispatched before anything else, as in pika: messages for consume() before
 * those of others and before timers, any before timers that nobody has found.  For consume() not in two calls one behind
 * the other, if something is passed over: that would wait as long as each call finds more. */
static bool
comes_first(CpikaConnection *conn, const cpika_call *call, const cpika_process_args *args)
{
    cpika_roles *r = &conn->roles;
    const cpika_event *first = call->dispatches ? cpika_roles_find_event(&conn->engine, call) : NULL;
    if (first == NULL) {
        return false;
    }
    if (args->sink == NULL) {
        return timer_is_due(r) && !timer_was_found(conn);
    }
    const cpika_channel *own = &args->channel->engine;
    bool passed_over = r->passed_over;
    r->passed_over = false;
    if (passed_over || !cpika_roles_may_run(call, call->claims)
        || !cpika_events_has_of_consumer(&own->events, args->sink)) {
        return false;
    }
    r->passed_over = timer_is_due(r) || first->channel != own || !cpika_event_is_of(first, args->sink);
    return true;
}

/* What the end of the connection means for a dispatching call that has dispatched what was received before. */
static int
at_the_end(CpikaConnection *conn, const cpika_call *call)
{
    // A callback of this call has been told, and has let it pass: as with pika, the next call says that it is closed.
    return conn->engine.ending.by_client || call->told ? 0 : cpika_raise_ended(conn);
}

/* Before the return to a caller who comes again: he is told of an end that is found now, behind what came before it. */
static int
come_back(CpikaConnection *conn)
{
    if (cpika_drain_output(conn) < 0) {
        return -1;
    }
    const cpika_engine *e = &conn->engine;
    bool over = cpika_engine_ended(e) && !e->ending.by_client && e->events.first == NULL;
    return over ? cpika_raise_ended(conn) : 0;
}

static int
run(CpikaConnection *conn, cpika_call *call, const cpika_process_args *args)
{
    cpika_roles *r = &conn->roles;
    cpika_engine *e = &conn->engine;
    bool first = comes_first(conn, call, args);
    int ran = first ? 0 : run_due(conn, call, args->owner);
    uint64_t deadline = ran > 0 ? 0 : args->deadline_ns;
    for (bool late = false; ran >= 0;) {
        if (cpika_check_fork(conn) < 0) {
            return -1;
        }
        bool had_ended = cpika_engine_ended(e);
        Py_ssize_t n = call->dispatches ? cpika_dispatch(conn, call, first ? args->sink : NULL)
                                        : cpika_dispatch_own_sink(conn, call);
        first = false;
        if (n < 0) {
            return -1;
        }
        if (!had_ended && cpika_engine_ended(e) && e->events.first != NULL && call->dispatches) {
            continue;  // the last flush has found it, and more messages before it
        }
        if (cpika_engine_ended(e)) {  // what is left in the queue is for the calls whose callbacks run now
            // consume() gives its loop what it got first, and comes again.
            return n > 0 && args->sink != NULL ? 0 : at_the_end(conn, call);
        }
        bool closed = args->channel != NULL && args->channel->engine.state == CHANNEL_CLOSED;
        if (n > 0 || closed || r->asks != call->asks_seen) {
            return come_back(conn);
        }
        int more = ran > 0 ? 0 : run_due(conn, call, args->owner);
        if (more != 0 || late) {
            return more < 0 ? -1 : come_back(conn);
        }
        cpika_turn turn = cpika_take_turn(conn, call, deadline, true);
        if (turn == CPIKA_TURN_RAISED) {
            return -1;
        }
        late = turn == CPIKA_TURN_LATE;
    }
    return -1;
}

int
cpika_process(CpikaConnection *conn, const cpika_process_args *args)
{
    cpika_call *call = cpika_roles_enter(&conn->roles, conn->st, NULL, NULL);
    if (call == NULL) {
        return -1;
    }
    call->asks_seen = args->asks_seen;
    if (args->sink != NULL && !call->dispatches) {
        cpika_roles_set_sink(&conn->roles, call, *args->sink);
    }
    if (args->channel != NULL) {
        call->claims = &args->channel->roles;
        cpika_roles_claim(call->claims);
    }
    int rc = run(conn, call, args);
    cpika_roles_leave(&conn->roles, call, conn->io.link);
    if (!cpika_transport_forked(&conn->io)) {
        cpika_roles_notify(&conn->roles, &conn->engine, conn->io.link);
    }
    return rc;
}
