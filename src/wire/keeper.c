/* keeper.c - the one background thread of the process.
 * Layer: wire (link, frame, fork).
 * Owns: see keeper.h.
 * Threads: the list, the thread's life and every wait go by keeper.lock, and a pass over the links holds it, so whoever
 *          has taken it knows that the keeper is in no link.  Order: a link's lock may be held when keeper.lock is
 *          taken; the other way round only by trylock.
 *          The thread is made by the first cpika_keeper_add with every signal blocked, and ends when the list has been
 *          empty for a second, detached then, or when cpika_keeper_pause joins it.  It uses nothing but this file's statics and links it has a
 *          reference to, so it may still run while the process exits or the interpreter is finalised.
 * Fork:    the forking thread holds keeper.lock over the fork; the child closes its copies of the links in the list,
 *          empties it, and has no thread until the next cpika_keeper_add.
 * Errors: negative cpika_status. */
#include "keeper.h"

#include "condition.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>

#include "clock.h"
#include "frame.h"
#include "status.h"

#define KEEPER_NEVER UINT64_MAX
#define KEEPER_TICK_NS (CPIKA_NS_PER_MS / 2)        // while awake
#define KEEPER_BUSY_NS (CPIKA_NS_PER_MS / 5)        // a lock was taken: look again
#define KEEPER_AWAKE_NS (20 * CPIKA_NS_PER_MS)      // stay awake so long after the last held ack
#define KEEPER_FULL_FIRST_NS (CPIKA_NS_PER_MS / 2)  // the socket is full: first retry, then doubled
#define KEEPER_FULL_LAST_NS (50 * CPIKA_NS_PER_MS)  //   up to this
#define KEEPER_LOCK_TRIES 1000
#define KEEPER_EMPTY_NS CPIKA_NS_PER_S  // the thread ends after so long without links

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;  // by CLOCK_MONOTONIC, made by keeper_install and again in a child
    cpika_link *first;
    bool running;         // there is a thread
    bool leaving;         //   which somebody waits for the end of
    pthread_t thread;     //   this one
    bool called;          // acks are held somewhere, says cpika_keeper_notify_held
    atomic_bool awake;    // it ticks and needs no word of held acks; written under the lock
    atomic_bool missing;  // it could not be started again
    atomic_bool asked;    // see cpika_keeper_first_to_ask
} keeper = {.lock = PTHREAD_MUTEX_INITIALIZER};

static pthread_once_t keeper_once = PTHREAD_ONCE_INIT;
static int keeper_status;  // of keeper_install; written there and, by the only thread, in a child

/* What one pass over the links found. */
typedef struct {
    uint64_t next_ns;  // earliest moment at which something is due
    bool active;       // acks are held
} keeper_findings;

static void
findings_due(keeper_findings *f, uint64_t when_ns)
{
    if (when_ns < f->next_ns) {
        f->next_ns = when_ns;
    }
}

/* ---- one link ---- */

/* Sends what is queued, or a heartbeat if nothing is.  The link is sound and locked. */
static void
keeper_send_locked(cpika_link *l, uint64_t now_ns, keeper_findings *f)
{
    int rc;
    if (cpika_link_has_output(l)) {
        rc = cpika_link_flush_locked(l);
    } else {
        // Behind a full socket it waits in the queue like anything else: begun or not, it will be whole.
        rc = cpika_link_send_locked(l, cpika_heartbeat_frame, sizeof cpika_heartbeat_frame, now_ns);
        if (rc >= 0) {
            l->heartbeats_sent++;
        }
    }
    if (rc == CPIKA_OK) {
        l->retry_after_ns = 0;
        return;
    }
    l->stalled_ns = l->last_send_ns;
    l->retry_after_ns = l->retry_after_ns == 0 ? KEEPER_FULL_FIRST_NS : l->retry_after_ns * 2;
    if (l->retry_after_ns > KEEPER_FULL_LAST_NS) {
        l->retry_after_ns = KEEPER_FULL_LAST_NS;
    }
    l->retry_at_ns = now_ns + l->retry_after_ns;
    findings_due(f, l->retry_at_ns);
}

/* When this link wants something sent; KEEPER_NEVER: nothing. */
static uint64_t
keeper_due_locked(const cpika_link *l)
{
    uint64_t due = KEEPER_NEVER;
    if (l->heartbeat_ns > 0) {
        due = l->last_send_ns + l->heartbeat_ns;
    }
    if (l->held && l->held_until_ns < due) {
        due = l->held_until_ns;
    }
    return due;
}

static void
keeper_visit_locked(cpika_link *l, uint64_t now_ns, keeper_findings *f)
{
    if (atomic_load_explicit(&l->fd, memory_order_relaxed) < 0 || l->sys_errno != 0) {
        return;
    }
    if (l->last_send_ns != l->stalled_ns) {
        l->retry_after_ns = 0;  // others got through since
    }
    uint64_t due = keeper_due_locked(l);
    if (due != KEEPER_NEVER && l->retry_after_ns > 0 && due < l->retry_at_ns) {
        due = l->retry_at_ns;
    }
    if (due <= now_ns) {
        keeper_send_locked(l, now_ns, f);
        due = keeper_due_locked(l);
        if (due <= now_ns) {
            due = KEEPER_NEVER;  // sent in vain: the retry is noted, or the link is broken
        }
    }
    // Held behind a full socket needs no ticking: the retries do it; nor does what may wait for long.
    f->active =
        f->active || (l->held && l->retry_after_ns == 0 && l->held_until_ns < now_ns + KEEPER_AWAKE_NS);
    findings_due(f, due);
}

static keeper_findings
keeper_pass_locked(uint64_t now_ns)
{
    keeper_findings f = {KEEPER_NEVER, false};
    for (cpika_link *l = keeper.first; l != NULL; l = l->next) {
        if (cpika_link_trylock(l)) {
            keeper_visit_locked(l, now_ns, &f);
            cpika_link_unlock(l);
        } else {
            findings_due(&f, now_ns + KEEPER_BUSY_NS);
        }
    }
    return f;
}

/* ---- the thread ---- */

/* Waits until `when_ns` or until somebody has changed something. */
static void
keeper_wait_locked(uint64_t when_ns)
{
    if (when_ns == KEEPER_NEVER) {
        pthread_cond_wait(&keeper.changed, &keeper.lock);
        return;
    }
    cpika_condition_wait_until(&keeper.changed, &keeper.lock, when_ns);
}

static void
keeper_set_name(void)
{
#if defined(__APPLE__)
    pthread_setname_np("cpika-keeper");
#elif defined(__linux__)
    pthread_setname_np(pthread_self(), "cpika-keeper");
#endif
}

static void *
keeper_main(void *unused)
{
    uint64_t active_ns = 0;  // when acks were last seen held
    uint64_t empty_ns = 0;   // since when the list is empty; 0: it is not

    (void)unused;
    keeper_set_name();
    pthread_mutex_lock(&keeper.lock);
    for (;;) {
        uint64_t now_ns = cpika_now_ns();
        keeper_findings f = keeper_pass_locked(now_ns);

        if (keeper.first != NULL) {
            empty_ns = 0;
        } else if (empty_ns == 0) {
            empty_ns = now_ns;
        } else if (now_ns - empty_ns >= KEEPER_EMPTY_NS) {
            break;
        }
        if (empty_ns != 0) {
            findings_due(&f, empty_ns + KEEPER_EMPTY_NS);
        }

        if (f.active || keeper.called) {
            // Awake also when the acks have left already: the next burst is near, and then needs no call.
            active_ns = now_ns;
            keeper.called = false;
            atomic_store(&keeper.awake, true);
        } else if (atomic_load(&keeper.awake) && now_ns - active_ns >= KEEPER_AWAKE_NS) {
            // First say that it sleeps, then look once more: acks held before this word are seen by that look (where
            // a link is busy, by a later one), acks held after it find awake == false and notify.
            atomic_store(&keeper.awake, false);
            continue;
        }
        if (atomic_load(&keeper.awake)) {
            findings_due(&f, now_ns + KEEPER_TICK_NS);
        }
        if (keeper.leaving) {
            break;
        }
        keeper_wait_locked(f.next_ns);
    }
    if (!keeper.leaving) {
        pthread_detach(keeper.thread);
    }
    atomic_store(&keeper.awake, false);
    keeper.called = false;
    keeper.leaving = false;
    keeper.running = false;
    pthread_mutex_unlock(&keeper.lock);
    return NULL;
}

/* Makes the thread, if there is none, with all signals blocked: they are for the program's own threads. */
static int
keeper_start_locked(void)
{
    sigset_t all;
    sigset_t before;

    if (keeper.running) {
        return CPIKA_OK;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&keeper.thread, NULL, keeper_main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        errno = error;
        return CPIKA_E_SYS;
    }
    keeper.running = true;
    return CPIKA_OK;
}

/* ---- fork ---- */

static void
keeper_before_fork(void)
{
    pthread_mutex_lock(&keeper.lock);
}

static void
keeper_after_fork_in_parent(void)
{
    pthread_mutex_unlock(&keeper.lock);
}

/* Runs after fork.c's handler, so the links know already that they are the parent's: closing them shuts nothing down.
 * A copy that stayed open would hide the parent's death from the broker.  What a loop watches is left to the loop's own
 * handler, because a number that is free may be another's at once. */
static void
keeper_after_fork_in_child(void)
{
    cpika_link *l = keeper.first;

    keeper.first = NULL;
    keeper.running = false;
    keeper.leaving = false;
    keeper.called = false;
    atomic_store(&keeper.awake, false);
    atomic_store(&keeper.missing, false);
    pthread_mutex_init(&keeper.lock, NULL);
    keeper_status =
        cpika_condition_init(&keeper.changed);  // the old one may count a waiter that is not there any more
    while (l != NULL) {
        cpika_link *next = l->next;
        l->next = NULL;
        l->registered = false;
        if (!l->watched) {
            cpika_link_close(l);
            cpika_link_unwanted_wake(l);
        }
        cpika_link_decref(l);
        l = next;
    }
}

static void
keeper_install(void)
{
    keeper_status = cpika_fork_watch();
    if (keeper_status == CPIKA_OK) {
        keeper_status = cpika_condition_init(&keeper.changed);
    }
    if (keeper_status == CPIKA_OK
        && pthread_atfork(keeper_before_fork, keeper_after_fork_in_parent, keeper_after_fork_in_child) != 0) {
        keeper_status = CPIKA_E_NOMEM;
    }
}

/* ---- for everybody ---- */

int
cpika_keeper_add(cpika_link *l)
{
    pthread_once(&keeper_once, keeper_install);
    if (keeper_status != CPIKA_OK) {
        return keeper_status;
    }
    if (cpika_link_forked(l)) {
        return CPIKA_E_CLOSED;
    }
    pthread_mutex_lock(&keeper.lock);
    int rc = keeper_start_locked();
    if (rc == CPIKA_OK && !l->registered) {
        l->registered = true;
        l->retry_after_ns = 0;
        l->next = keeper.first;
        keeper.first = cpika_link_incref(l);
        pthread_cond_signal(&keeper.changed);
    }
    pthread_mutex_unlock(&keeper.lock);
    return rc;
}

void
cpika_keeper_remove(cpika_link *l)
{
    bool found = false;

    pthread_mutex_lock(&keeper.lock);
    if (l->registered) {
        for (cpika_link **at = &keeper.first; *at != NULL; at = &(*at)->next) {
            if (*at == l) {
                *at = l->next;
                l->next = NULL;
                l->registered = false;
                found = true;
                break;
            }
        }
        if (keeper.first == NULL) {  // its second without links begins: it may have slept for longer
            pthread_cond_signal(&keeper.changed);
        }
    }
    pthread_mutex_unlock(&keeper.lock);
    if (found) {
        cpika_link_decref(l);
    }
}

static void
keeper_wake_up(bool for_held)
{
    pthread_mutex_lock(&keeper.lock);
    if (keeper.running) {
        if (for_held) {
            keeper.called = true;
            atomic_store(&keeper.awake, true);  // whoever holds the next ack need not come here
        }
        pthread_cond_signal(&keeper.changed);
    }
    pthread_mutex_unlock(&keeper.lock);
}

bool
cpika_keeper_is_awake(void)
{
    return atomic_load(&keeper.awake);
}

void
cpika_keeper_notify_held(void)
{
    if (!cpika_keeper_is_awake()) {
        keeper_wake_up(true);
    }
}

/* Tried for a while: whoever has the lock has it for the length of a send. */
static void
send_held_of(cpika_link *l)
{
    for (int tries = 0; tries < KEEPER_LOCK_TRIES; tries++) {
        if (cpika_link_trylock(l)) {
            if (l->held) {
                cpika_link_flush_locked(l);
            }
            cpika_link_unlock(l);
            return;
        }
        sched_yield();
    }
}

void
cpika_keeper_send_held(void)
{
    pthread_mutex_lock(&keeper.lock);
    for (cpika_link *l = keeper.first; l != NULL; l = l->next) {
        send_held_of(l);
    }
    pthread_mutex_unlock(&keeper.lock);
}

void
cpika_keeper_pause(void)
{
    pthread_mutex_lock(&keeper.lock);
    bool mine = keeper.running && !keeper.leaving;  // else there is none, or another thread forks as well
    pthread_t thread = keeper.thread;
    if (mine) {
        keeper.leaving = true;
        pthread_cond_signal(&keeper.changed);
    }
    pthread_mutex_unlock(&keeper.lock);
    if (mine) {
        pthread_join(thread, NULL);
    }
}

void
cpika_keeper_resume(void)
{
    pthread_mutex_lock(&keeper.lock);
    bool failed = keeper.first != NULL && keeper_start_locked() != CPIKA_OK;
    atomic_store(&keeper.missing, failed);
    pthread_mutex_unlock(&keeper.lock);
}

bool
cpika_keeper_is_missing(void)
{
    return atomic_load_explicit(&keeper.missing, memory_order_relaxed);
}

bool
cpika_keeper_first_to_ask(void)
{
    return !atomic_exchange(&keeper.asked, true);
}

void
cpika_keeper_notify_heartbeat(void)
{
    keeper_wake_up(false);
}
