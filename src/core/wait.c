/* wait.c - the blocking driver: who reads, who waits for whom, deadlines.
 * Layer: core.
 * Owns: the role of the reader.  Threads: one reads at a time (rule 13): the one that polls.  The others wait without
 *       the GIL until it has done something for them or gives the role up; then one of them takes it over.
 * Errors: -1 with an exception. */
#include "engine.h"

#include "wire/condition.h"

enum { SLICE_MS = 50 };  // a wait notices a signal within this time even when another thread got it (rule 8)

void
engine_wake_others(CpikaConnection *conn)
{
    if (conn->followers > 0) {
        pthread_mutex_lock(&conn->role_lock);
        conn->wake_seq++;
        pthread_cond_broadcast(&conn->role_cond);
        pthread_mutex_unlock(&conn->role_lock);
    }
    if (conn->reader != 0 && conn->reader != PyThread_get_thread_ident()) {
        cpika_link_wake(conn->link);
    }
}

int
engine_check_deadlines(CpikaConnection *conn)
{
    uint64_t now = cpika_now_ns();
    if (cpika_heartbeat_is_dead(&conn->heartbeat, now)) {
        return engine_fail(conn,
                           cpika_exc_new(conn->st, CPIKA_EXC_AMQPHeartbeatTimeout,
                                         "No activity or too many missed heartbeats in the last %d seconds",
                                         (int)(conn->heartbeat.interval_ns / CPIKA_NS_PER_S)));
    }
    if (conn->blocked_until_ns > 0 && now >= conn->blocked_until_ns) {
        return engine_fail(conn, cpika_exc_new(conn->st, CPIKA_EXC_ConnectionBlockedTimeout,
                                               "Blocked connection timeout expired."));
    }
    return 0;
}

static bool
is_over(uint64_t deadline_ns)
{
    return deadline_ns != ENGINE_FOREVER && cpika_now_ns() >= deadline_ns;
}

static int
slice_ms(CpikaConnection *conn, uint64_t deadline_ns)
{
    uint64_t now = cpika_now_ns();
    uint64_t until = deadline_ns;
    uint64_t dead = cpika_heartbeat_dead_at_ns(&conn->heartbeat);
    until = dead < until ? dead : until;
    if (conn->blocked_until_ns > 0 && conn->blocked_until_ns < until) {
        until = conn->blocked_until_ns;
    }
    if (until <= now) {
        return 0;
    }
    uint64_t ms = (until - now + CPIKA_NS_PER_MS - 1) / CPIKA_NS_PER_MS;
    return ms < SLICE_MS ? (int)ms : SLICE_MS;
}

/* Waits until the reader has done something, or a slice is over.  0 or -1. */
static int
follow(CpikaConnection *conn, uint64_t deadline_ns)
{
    uint64_t until = cpika_now_ns() + (uint64_t)slice_ms(conn, deadline_ns) * CPIKA_NS_PER_MS;
    pthread_mutex_lock(&conn->role_lock);
    uint64_t seen = conn->wake_seq;
    pthread_mutex_unlock(&conn->role_lock);
    conn->followers++;
    Py_BEGIN_ALLOW_THREADS pthread_mutex_lock(&conn->role_lock);
    while (conn->wake_seq == seen && cpika_now_ns() < until) {
        cpika_condition_wait_until(&conn->role_cond, &conn->role_lock, until);
    }
    pthread_mutex_unlock(&conn->role_lock);
    Py_END_ALLOW_THREADS conn->followers--;
    return PyErr_CheckSignals();
}

/* True while another thread polls, or handles a frame. */
static bool
role_is_taken(const CpikaConnection *conn, unsigned long self)
{
    return (conn->reader != 0 && conn->reader != self) || (conn->handler != 0 && conn->handler != self);
}

/* Reads, or waits until there is something to read; without `look` it waits at once.  1: bytes came; 0: something else
 * happened, or `done` (may be NULL) holds; 2: the deadline is over; 3: it is, but bytes came; -1. */
static int
step(CpikaConnection *conn, uint64_t deadline_ns, engine_predicate done, void *arg, bool look)
{
    unsigned long self = PyThread_get_thread_ident();
    if (role_is_taken(conn, self)) {
        if (is_over(deadline_ns)) {
            return 2;
        }
        return follow(conn, deadline_ns) < 0 ? -1 : 0;
    }
    if (conn->decoding) {
        cpika_raise(conn->st, CPIKA_EXC_ReentrancyError,
                    "a finalizer may not wait for the broker while it interrupts the decoding of a frame");
        return -1;
    }
    if (engine_has_output(conn)) {
        int flushed = engine_flush_some(conn);
        if (flushed != CPIKA_AGAIN) {
            return flushed < 0 ? -1 : 0;  // what is awaited may be just this
        }
    }
    if (look || conn->sock != NULL) {  // bytes that TLS has read already wake no poll
        Py_ssize_t n = engine_read_some(conn);
        if (n != 0) {
            // A peer that sends as fast as this reads outlasts neither signals nor other threads nor the deadline.
            if (n < 0 || cpika_offer_gil(&conn->offer) < 0) {
                return -1;
            }
            return is_over(deadline_ns) ? 3 : 1;
        }
        if (engine_check_deadlines(conn) < 0) {
            return -1;
        }
        if (is_over(deadline_ns)) {
            return 2;
        }
    }
    // Asked before `done`: if the keeper empties the queue in between, the poll returns at once.
    bool want_write = engine_has_output(conn);
    if (done != NULL && done(conn, arg)) {
        return 0;  // by the flush above; nothing would end the poll before its slice
    }
    if (role_is_taken(conn, self)) {
        return 0;  // the flush, the read or the lock gave the GIL away, and another thread polls by now
    }
    unsigned long before = conn->reader;
    conn->reader = self;
    int rc = engine_poll(conn, want_write, slice_ms(conn, deadline_ns));
    conn->reader = before;
    if (before == 0) {
        engine_wake_others(conn);
    }
    // Behind the role: a handler may take long, and the others read meanwhile.
    return rc < 0 ? -1 : PyErr_CheckSignals();
}

static int
wait_for(CpikaConnection *conn, engine_predicate done, void *arg, uint64_t deadline_ns, bool look)
{
    bool late = false;
    for (;;) {
        int handled = 1;
        while (!done(conn, arg)) {
            handled = engine_next_frame(conn, NULL);
            if (handled <= 0) {
                break;
            }
        }
        if (handled < 0) {
            return -1;
        }
        if (handled > 0 || late) {
            return handled > 0 ? 0 : 1;
        }
        int rc = step(conn, deadline_ns, done, arg, look);
        look = true;
        if (rc < 0) {
            return -1;
        }
        late = rc == 3;
        if (rc == 2) {
            return done(conn, arg) ? 0 : 1;
        }
    }
}

int
engine_wait(CpikaConnection *conn, engine_predicate done, void *arg, uint64_t deadline_ns)
{
    return wait_for(conn, done, arg, deadline_ns, true);
}

int
engine_wait_answer(CpikaConnection *conn, engine_predicate done, void *arg, uint64_t deadline_ns)
{
    return wait_for(conn, done, arg, deadline_ns, false);
}

static bool
output_is_empty(CpikaConnection *conn, void *arg)
{
    (void)arg;
    return !engine_has_output(conn);
}

int
engine_wait_output(CpikaConnection *conn)
{
    // Inside the socket: the call further down this stack goes on with what is queued now.
    if (engine_inside_socket(conn) || !engine_has_output(conn)) {
        return 0;
    }
    engine_wake_others(conn);  // a reader that polls does not know yet that there is something to write
    return engine_wait(conn, output_is_empty, NULL, ENGINE_FOREVER) < 0 ? -1 : 0;
}

int
engine_process(CpikaConnection *conn, uint64_t deadline_ns, bool dispatch)
{
    bool late = false;
    for (;;) {
        if (conn->state == CONNECTION_CLOSED) {  // meanwhile, by another thread or a signal handler
            return conn->closed_by_client ? 1 : engine_raise_closed(conn);
        }
        if (dispatch) {
            Py_ssize_t n = engine_dispatch(conn);
            if (n < 0) {
                return -1;
            }
            bool asked = conn->return_asked;
            conn->return_asked = false;
            if (conn->state == CONNECTION_CLOSED) {
                return 1;  // by a callback: its call has told the error, if there was one
            }
            if (n > 0 || asked) {
                return engine_wait_output(conn) < 0 ? -1 : n > 0 ? 1 : 2;
            }
        } else {
            int handled;
            while ((handled = engine_next_frame(conn, NULL)) > 0) {
            }
            if (handled < 0) {
                return -1;
            }
        }
        int rc = late ? 2 : step(conn, deadline_ns, NULL, NULL, true);
        if (rc < 0) {
            return -1;
        }
        if (rc == 2) {
            return engine_wait_output(conn);
        }
        late = rc == 3;
    }
}
