/* wait.c - see wait.h.
 * Layer: drivers.  Owns: nothing.  Threads: with the GIL.  Errors: see wait.h. */
#include "wait.h"

#include "ended.h"
#include "engine/frames.h"
#include "fair.h"
#include "pysock.h"
#include "settle.h"
#include "sleep.h"
#include "wire/keeper.h"

enum {
    LOOK_EVERY_NS = CPIKA_NS_PER_MS,
    LEFT_OUT_NS = 10 * CPIKA_NS_PER_MS,  // for so long looks may be left out
    MOST_QUEUED = 1000,                  // messages that stand ready when more are read between two callbacks
    TURNS_A_TICK = 64,  // each of a short sleep, 50 ms, at most: 3.2 s of the 5 that are promised
};

int
cpika_deadline(PyObject *seconds, uint64_t *deadline_ns)
{
    *deadline_ns = CPIKA_FOREVER;
    if (seconds == Py_None) {
        return 0;
    }
    double s = PyFloat_AsDouble(seconds);
    if (s == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (s < 1e9) {  // some thirty years: further than a process lives; and as with pika a nan is never over
        *deadline_ns = cpika_now_ns() + (s > 0 ? (uint64_t)(s * 1e9) : 0);
    }
    return 0;
}

static bool
is_over(uint64_t deadline_ns)
{
    return deadline_ns != CPIKA_FOREVER && cpika_now_ns() >= deadline_ns;
}

static uint64_t
earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Behind a read that has found nothing.  While another call is at it nothing was looked at: what has come in long ago, to a
 * process that was stopped for example, would count as silence. */
static void
look_for_silence(CpikaConnection *conn, uint64_t now_ns)
{
    if (cpika_keeper_is_missing()) {
        cpika_keeper_resume();
    }
    if (!conn->io.receiving && !conn->io.busy) {
        cpika_engine_check_deadlines(&conn->engine, now_ns);
    }
}

cpika_turn
cpika_take_turn(CpikaConnection *conn, cpika_call *call, uint64_t deadline_ns, bool look)
{
    cpika_engine *e = &conn->engine;
    call->timer_seen = conn->roles.next_timer_ns;  // an earlier one that comes from now on is reason to go on
    bool want_write = false;
    // A peer that always sends before the next long sleep would keep exceptions of other threads away.
    if (cpika_be_fair(conn) < 0 || (++call->turns % TURNS_A_TICK == 0 && cpika_tick(conn) < 0)) {
        return CPIKA_TURN_RAISED;
    }
    if (cpika_transport_has_output(&conn->io)) {
        int rc = cpika_transport_flush(&conn->io);
        if (rc != CPIKA_AGAIN) {
            e->changes++;  // what is awaited may be just this
            return rc == CPIKA_IO_RAISED ? CPIKA_TURN_RAISED : CPIKA_TURN_AGAIN;
        }
        want_write = true;
    }
    if (look || conn->io.sock != NULL) {  // bytes that TLS has read already wake no poll
        Py_ssize_t n = cpika_transport_read(&conn->io);
        if (n == CPIKA_IO_RAISED) {
            return CPIKA_TURN_RAISED;
        }
        if (n > 0) {
            call->slept = 0;
            // A peer that sends as fast as this reads outlasts neither signals nor other threads nor the deadline.
            if (cpika_offer_gil(&conn->offer) < 0) {
                return CPIKA_TURN_RAISED;
            }
            return is_over(deadline_ns) ? CPIKA_TURN_LATE : CPIKA_TURN_AGAIN;
        }
        look_for_silence(conn, cpika_now_ns());
        if (e->input_over) {
            return CPIKA_TURN_AGAIN;
        }
        if (is_over(deadline_ns)) {
            return CPIKA_TURN_LATE;
        }
    }
    if (cpika_roles_has_reason(&conn->roles, e, call)) {
        return CPIKA_TURN_AGAIN;  // what ran above gave the GIL away, and another thread has seen to it
    }
    uint64_t until = earlier(deadline_ns, cpika_engine_next_deadline_ns(e));
    if (call->dispatches && !conn->roles.timing) {
        until = earlier(until, call->timer_seen);
    }
    return cpika_sleep(conn, call, want_write, until) < 0 ? CPIKA_TURN_RAISED : CPIKA_TURN_AGAIN;
}

static int
drive(CpikaConnection *conn, cpika_call *call, uint64_t deadline_ns, bool look)
{
    cpika_engine *e = &conn->engine;
    for (bool late = false;;) {
        if (cpika_check_fork(conn) < 0) {  // a signal handler may have forked
            return -1;
        }
        while (!call->wants(call->arg) && cpika_engine_step(e, NULL) == CPIKA_STEP_DONE) {
        }
        if (cpika_settle(conn) < 0) {
            return -1;
        }
        if (call->wants(call->arg) || cpika_engine_ended(e)) {
            return 0;
        }
        if (late) {
            return 1;
        }
        cpika_turn turn = cpika_take_turn(conn, call, deadline_ns, look);
        if (turn == CPIKA_TURN_RAISED) {
            return -1;
        }
        late = turn == CPIKA_TURN_LATE;
        look = true;
    }
}

int
cpika_wait(CpikaConnection *conn, cpika_wants wants, void *arg, uint64_t deadline_ns, bool look)
{
    cpika_call *call = cpika_roles_enter(&conn->roles, conn->st, wants, arg);
    if (call == NULL) {
        return -1;
    }
    int rc = drive(conn, call, deadline_ns, look);
    cpika_roles_leave(&conn->roles, call, conn->io.link);
    return rc;
}

int
cpika_check_may_wait(CpikaConnection *conn)
{
    return cpika_pysock_check_inside(&conn->io);
}

static bool
output_is_empty(void *arg)
{
    return !cpika_transport_has_output(arg);
}

int
cpika_drain_output(CpikaConnection *conn)
{
    cpika_transport *io = &conn->io;
    // Inside the socket: the call further down this stack goes on with what is queued now.
    if ((io->busy && cpika_user_is_here(conn->st, &io->inside)) || !cpika_transport_has_output(io)) {
        return 0;
    }
    return cpika_wait(conn, output_is_empty, io, CPIKA_FOREVER, true) < 0 ? -1 : 0;
}

int
cpika_wait_output(CpikaConnection *conn)
{
    if (cpika_drain_output(conn) < 0) {
        return -1;
    }
    return cpika_engine_ended(&conn->engine) && !conn->engine.ending.by_client ? cpika_raise_ended(conn) : 0;
}

/* In a callback, where the call around it has input left to handle: what comes behind that would only be copied, to wait
 * for its turn.  Now and then it is looked at all the same: the callback may go on for long. */
static bool
left_to_dispatcher(CpikaConnection *conn)
{
    return conn->io.clock_ns - conn->io.last_read_ns < LEFT_OUT_NS
           && cpika_input_available(&conn->engine.in) > 0
           && cpika_roles_is_dispatching(&conn->roles, conn->st);
}

/* Whether reading is another call's at this moment. */
static bool
is_read_by_another(const CpikaConnection *conn)
{
    return conn->io.busy || (conn->roles.poller != NULL && conn->io.sock != NULL);
}

static int
read_and_handle(CpikaConnection *conn)
{
    cpika_engine *e = &conn->engine;
    cpika_transport *io = &conn->io;
    Py_ssize_t n = cpika_transport_read(io);
    if (n == CPIKA_IO_RAISED) {
        return -1;
    }
    if (n == 0) {
        look_for_silence(conn, io->clock_ns);
    }
    while (cpika_engine_step(e, NULL) == CPIKA_STEP_DONE) {
    }
    return 0;
}

int
cpika_look_quietly(CpikaConnection *conn)
{
    cpika_transport *io = &conn->io;
    io->clock_ns = cpika_now_ns();
    if (io->clock_ns - io->last_look_ns < LOOK_EVERY_NS || is_read_by_another(conn)) {
        return 0;
    }
    if (left_to_dispatcher(conn)) {
        io->last_look_ns = io->clock_ns;
        return 0;
    }
    return read_and_handle(conn);
}

int
cpika_look_between(CpikaConnection *conn)
{
    const cpika_transport *io = &conn->io;
    if (io->clock_ns - io->last_read_ns < LEFT_OUT_NS || is_read_by_another(conn)
        || conn->engine.events.count >= MOST_QUEUED) {
        return 0;
    }
    return read_and_handle(conn);
}

int
cpika_look(CpikaConnection *conn)
{
    return cpika_be_fair(conn) < 0 || cpika_look_quietly(conn) < 0 ? -1 : cpika_settle(conn);
}
