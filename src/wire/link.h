/* link.h - what a connection shares with the keeper: descriptor, output queue, heartbeat clock.
 * Layer: wire (libc only).
 * Owns: the descriptor, the queued output, the wake descriptor(s).  Counted: the connection holds one
 *       reference, the keeper one while the link is registered; the last one frees.
 * Threads: one mutex guards everything below "locked".  Functions named _locked want it held.
 *          Nobody calls into Python, waits, or blocks for room while holding it.
 *          recv and poll run without it, one thread at a time in recv; a close meanwhile wakes them and leaves the
 *          descriptor's number taken until they are out, so that nobody reads from a stranger's descriptor.
 * Fork:    in the child every call answers CPIKA_E_CLOSED and writes nothing; the lock may be held for ever by a
 *          thread that is not there any more, so do not take it when cpika_link_forked: cpika_link_close and
 *          cpika_link_decref do not.
 * Errors: negative cpika_status; after CPIKA_E_SYS errno stands in sys_errno (send side) or recv_errno. */
#ifndef CPIKA_WIRE_LINK_H
#define CPIKA_WIRE_LINK_H

#include "posix.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "debug.h"
#include "fork.h"
#include "outq.h"

typedef struct cpika_link {
    atomic_int refs;
    unsigned generation;  // cpika_fork_generation() at birth; another value now: a fork lies between
    int wake_rd;          // readable after cpika_link_wake(); -1 where not wanted
    int wake_wr;
    enum { CPIKA_NOT_ASKED, CPIKA_WAITS, CPIKA_NEVER_WAITS } in_recv;  // what cpika_sock_let_wait has said
    atomic_int users;       // threads inside recv or poll: the descriptor is closed when the last is out
    atomic_int closing_fd;  // shut down already, to be closed; -1: none
    atomic_int recv_errno;  // of the first failed recv; 0 before
    pthread_mutex_t lock;
    bool watched;  // by a loop, which knows the descriptor's number: see cpika_link_leave_to_parent
    // ---- locked ----
    atomic_int fd;             // -1: closed, or the driver sends by other means (a Python socket)
                               // (atomic: recv and poll read it without the lock)
    cpika_outq out;            // everything not yet sent, in order
    int sys_errno;             // of the first failed send; 0 while the link is sound
    bool held;                 // acks or publishes stand in `out` that their caller has not sent
    uint64_t held_until_ns;    // monotonic: by then it leaves, if need be by the keeper; valid while held
    uint64_t last_send_ns;     // monotonic, of the last byte that left
    uint64_t heartbeat_ns;     // send interval: a heartbeat leaves when nothing left for so long; 0: none
    uint64_t heartbeats_sent;  // frames; read by tests and diagnostics
    uint64_t bytes_sent;
    // ---- the keeper's own ----
    struct cpika_link *next;
    uint64_t stalled_ns;      // last_send_ns when the keeper found the socket full
    uint64_t retry_at_ns;     // its next attempt
    uint64_t retry_after_ns;  // the distance to that, doubled each time; 0: the last attempt was not in vain
    bool registered;
} cpika_link;

/* New link with one reference, or NULL (errno set).  Takes `fd` over (closed by cpika_link_close_locked or with
 * the last reference) and makes it non-blocking; fd == -1 is allowed: the driver sends itself. */
cpika_link *cpika_link_new(int fd);
cpika_link *cpika_link_incref(cpika_link *l);
void cpika_link_decref(cpika_link *l);

/* Whether this is a child, the link its parent's. */
static inline bool
cpika_link_forked(const cpika_link *l)
{
    return l->generation != cpika_fork_generation();
}

static inline bool
cpika_link_trylock(cpika_link *l)
{
    return pthread_mutex_trylock(&l->lock) == 0;
}
/* May wait: for callers that hold nothing else, the GIL least of all.  Who holds that goes by the drivers' one function. */
static inline void
cpika_link_lock(cpika_link *l)
{
    cpika_debug_may_wait();
    pthread_mutex_lock(&l->lock);
}
static inline void
cpika_link_unlock(cpika_link *l)
{
    pthread_mutex_unlock(&l->lock);
}

/* Whether something waits to be sent.  Needs no lock and waits for none: whoever sends from the queue, the keeper or
 * another, drops bytes from it once they have left. */
static inline bool
cpika_link_has_output(const cpika_link *l)
{
    return atomic_load_explicit(&l->out.bytes, memory_order_relaxed) > 0;
}

/* Sends from the queue until it is empty (CPIKA_OK), the socket is full (CPIKA_AGAIN), or it fails
 * (CPIKA_E_SYS / CPIKA_E_CLOSED).  Never waits.  Clears `held` when the queue became empty. */
int cpika_link_flush_locked(cpika_link *l);

/* The hot path of a small publish: with an empty queue the bytes go straight to send() and only what the socket did
 * not take is queued; else they are queued behind what is there and the queue is flushed.
 * `now_ns` becomes last_send_ns: the caller has read the clock already, 3 % of a publish.  An older time is safe: a
 * heartbeat leaves earlier.
 * CPIKA_OK: all has left.  CPIKA_AGAIN: the rest is queued.  Negative: the link is broken. */
int cpika_link_send_locked(cpika_link *l, const uint8_t *bytes, size_t n, uint64_t now_ns);

/* Queues without sending: it leaves with the next flush, or by the keeper at `until_ns` (acks: CPIKA_HOLD_ACKS_NS from
 * now, rule 4; a buffered publish: when its user said).  The earliest of several counts. */
#define CPIKA_HOLD_ACKS_NS (CPIKA_NS_PER_MS / 2)  // 1 ms is promised
int cpika_link_hold_locked(cpika_link *l, const uint8_t *bytes, size_t n, uint64_t until_ns);

/* Reads what is there into up to `n` places (together more than 0 bytes) without waiting.  >0: bytes; 0: nothing
 * there now; CPIKA_E_EOF, CPIKA_E_SYS (link->recv_errno), CPIKA_E_CLOSED.  No lock: one thread reads at a time. */
struct iovec;
long cpika_link_recv(cpika_link *l, const struct iovec *iov, int n);

/* Whether cpika_link_recv_waiting may be called: not on each system, nor once somebody else has the descriptor.  One thread
 * at a time here, and in cpika_link_never_wait_in_recv. */
bool cpika_link_waits_in_recv(cpika_link *l);

/* The same into one place, and waits for the first byte, for at most CPIKA_RECV_WAITS_MS.  0: in vain, or a signal came.
 * It hears no cpika_link_wake: for who knows that nobody would send one. */
enum { CPIKA_RECV_WAITS_MS = 50 };
long cpika_link_recv_waiting(cpika_link *l, uint8_t *bytes, size_t n);

/* Makes the descriptor non-blocking for good, and that never wait: for whoever else is to have it. */
void cpika_link_never_wait_in_recv(cpika_link *l);

/* shutdown() and close(); wakes whoever polls.  What is queued is not sent any more.  Safe to repeat.
 * cpika_link_close takes the lock itself, and after a fork closes the child's descriptor without lock and shutdown:
 * the right call where the caller holds nothing. */
void cpika_link_close_locked(cpika_link *l);
void cpika_link_close(cpika_link *l);

/* In a child whose loop watches the descriptor: what it watches now has ended, and is not the parent's. */
void cpika_link_leave_to_parent(cpika_link *l);

/* Makes wake_rd readable: any thread, signal handlers too, never blocks.  cpika_link_drain_wake takes it back. */
void cpika_link_wake(cpika_link *l);
/* Gives the wake descriptors back: nobody will ever poll this link.  Before another thread knows it, or in a child, at the fork. */
void cpika_link_unwanted_wake(cpika_link *l);
void cpika_link_drain_wake(cpika_link *l);

/* Waits until the socket is readable, or writable if `want_write`, or the wake descriptor is readable, or
 * `timeout_ms` is over (-1: no limit); EINTR returns as well.  No lock held.  Errors and hang-ups of the socket make
 * it readable and writable, so that the next recv or send tells.  CPIKA_E_CLOSED, CPIKA_E_NOMEM, or the bits of what
 * happened: */
enum { CPIKA_READABLE = 1, CPIKA_WRITABLE = 2, CPIKA_WOKEN = 4, CPIKA_OTHER = 8 };
int cpika_link_poll(cpika_link *l, bool want_write, int timeout_ms);

/* The same, also until `other_fd` is readable (-1: none). */
int cpika_link_poll_with(cpika_link *l, bool want_write, int other_fd, int timeout_ms);

#endif
