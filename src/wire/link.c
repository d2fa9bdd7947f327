/* link.c - what a connection shares with the keeper.
 * Layer: wire (sock, outq, fork).
 * Owns: see link.h.
 * Threads: see link.h.
 * Errors: negative cpika_status. */
#include "link.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "clock.h"
#include "sock.h"
#include "status.h"

enum { LINK_IOV_MAX = 64 };  // places in one sendmsg

cpika_link *
cpika_link_new(int fd)
{
    if (cpika_fork_watch() != CPIKA_OK) {
        errno = ENOMEM;
        return NULL;
    }
    if (fd >= 0 && cpika_sock_prepare(fd) != CPIKA_OK) {
        return NULL;
    }
    cpika_link *l = calloc(1, sizeof *l);
    if (l == NULL) {
        return NULL;
    }
    if (cpika_sock_wake_new(&l->wake_rd, &l->wake_wr) != CPIKA_OK) {
        int saved = errno;
        free(l);
        errno = saved;
        return NULL;
    }
    atomic_init(&l->refs, 1);
    atomic_init(&l->users, 0);
    atomic_init(&l->closing_fd, -1);
    atomic_init(&l->recv_errno, 0);
    atomic_init(&l->fd, fd);
    l->generation = cpika_fork_generation();
    l->out = (cpika_outq)CPIKA_OUTQ_INIT;
    l->last_send_ns = cpika_now_ns();
    pthread_mutex_init(&l->lock, NULL);  // with default attributes it cannot fail
    return l;
}

cpika_link *
cpika_link_incref(cpika_link *l)
{
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    return l;
}

/* Closes what cpika_link_close_locked has shut down.  Whoever comes last does it: the closer or the last user. */
static void
link_reap(cpika_link *l)
{
    // While fd is not -1 yet, a new user could still take the number from it; who has come in meanwhile may have done so, and
    // comes by here when he leaves.
    if (atomic_load(&l->fd) < 0 && atomic_load(&l->users) == 0) {
        int fd = atomic_exchange(&l->closing_fd, -1);
        if (fd >= 0) {
            cpika_sock_close(fd);
        }
    }
}

/* After a fork: no lock, which nobody may ever release, and no shutdown, which would end the parent's connection. */
static void
link_close_in_child(cpika_link *l)
{
    int fd = atomic_exchange(&l->fd, -1);
    int closing = atomic_exchange(&l->closing_fd, -1);
    if (fd >= 0) {
        cpika_sock_close(fd);
    }
    if (closing >= 0 && closing != fd) {
        cpika_sock_close(closing);
    }
}

void
cpika_link_decref(cpika_link *l)
{
    if (atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    cpika_link_close_locked(l);  // nobody is left who could hold the lock
    if (!cpika_link_forked(l)) {
        cpika_sock_wake_close(l->wake_rd, l->wake_wr);  // in a child the numbers may be others' by now
        cpika_outq_free(&l->out);
        pthread_mutex_destroy(&l->lock);
    } else if (cpika_link_trylock(l)) {
        // Not locked at the fork, so the queue is whole.  Else it stays: a little memory lost in the child.
        cpika_outq_free(&l->out);
        cpika_link_unlock(l);
    }
    free(l);
}

/* Whether bytes can be sent at all. */
static int
link_check_locked(const cpika_link *l)
{
    if (cpika_link_forked(l) || atomic_load_explicit(&l->fd, memory_order_relaxed) < 0) {
        return CPIKA_E_CLOSED;
    }
    return l->sys_errno == 0 ? CPIKA_OK : CPIKA_E_SYS;
}

static int
link_broken_locked(cpika_link *l, int error)
{
    l->sys_errno = error;
    return CPIKA_E_SYS;
}

int
cpika_link_flush_locked(cpika_link *l)
{
    int rc = link_check_locked(l);
    if (rc != CPIKA_OK) {
        return rc;
    }
    int fd = atomic_load_explicit(&l->fd, memory_order_relaxed);
    while (cpika_link_has_output(l)) {
        struct iovec iov[LINK_IOV_MAX];
        int count = cpika_outq_iov(&l->out, iov, LINK_IOV_MAX);
        long sent = count == 1 ? cpika_sock_send(fd, iov[0].iov_base, iov[0].iov_len)
                               : cpika_sock_sendv(fd, iov, count);
        if (sent < 0) {
            return link_broken_locked(l, errno);
        }
        if (sent == 0) {
            return CPIKA_AGAIN;
        }
        cpika_outq_consume(&l->out, (size_t)sent);
        l->bytes_sent += (uint64_t)sent;
        l->last_send_ns = cpika_now_ns();
    }
    l->held = false;
    return CPIKA_OK;
}

int
cpika_link_send_locked(cpika_link *l, const uint8_t *bytes, size_t n, uint64_t now_ns)
{
    int rc = link_check_locked(l);
    if (rc != CPIKA_OK || n == 0) {
        return rc;
    }
    if (cpika_link_has_output(l)) {
        rc = cpika_outq_push(&l->out, bytes, n);
        return rc == CPIKA_OK ? cpika_link_flush_locked(l) : rc;
    }
    long sent = cpika_sock_send(atomic_load_explicit(&l->fd, memory_order_relaxed), bytes, n);
    if (sent < 0) {
        return link_broken_locked(l, errno);
    }
    if (sent > 0) {
        l->last_send_ns = now_ns;
        l->bytes_sent += (uint64_t)sent;
    }
    if ((size_t)sent == n) {
        return CPIKA_OK;
    }
    rc = cpika_outq_push(&l->out, bytes + sent, n - (size_t)sent);
    if (rc != CPIKA_OK) {
        // Half a frame has left and its rest has nowhere to stay: nothing can follow it.
        return sent > 0 ? link_broken_locked(l, ENOMEM) : rc;
    }
    return CPIKA_AGAIN;
}

int
cpika_link_hold_locked(cpika_link *l, const uint8_t *bytes, size_t n, uint64_t until_ns)
{
    int rc = link_check_locked(l);
    if (rc == CPIKA_OK) {
        rc = cpika_outq_push(&l->out, bytes, n);
    }
    if (rc == CPIKA_OK && (!l->held || until_ns < l->held_until_ns)) {
        l->held = true;
        l->held_until_ns = until_ns;
    }
    return rc;
}

/* Takes part in the use of the descriptor: its number, or -1.  Every call wants its link_leave. */
static int
link_enter(cpika_link *l)
{
    atomic_fetch_add(&l->users, 1);
    return atomic_load(&l->fd);
}

static void
link_leave(cpika_link *l)
{
    if (atomic_fetch_sub(&l->users, 1) == 1) {
        link_reap(l);
    }
}

long
cpika_link_recv(cpika_link *l, const struct iovec *iov, int n)
{
    if (cpika_link_forked(l)) {
        return CPIKA_E_CLOSED;
    }
    int fd = link_enter(l);
    long got = fd < 0 ? CPIKA_E_CLOSED : cpika_sock_recv(fd, iov, n);
    if (got == CPIKA_E_SYS) {
        atomic_store(&l->recv_errno, errno);
    }
    link_leave(l);
    return got;
}

bool
cpika_link_waits_in_recv(cpika_link *l)
{
    if (l->in_recv == CPIKA_NOT_ASKED && !cpika_link_forked(l)) {
        int fd = link_enter(l);
        bool waits = fd >= 0 && cpika_sock_let_wait(fd, CPIKA_RECV_WAITS_MS);
        link_leave(l);
        l->in_recv = waits ? CPIKA_WAITS : CPIKA_NEVER_WAITS;
    }
    return l->in_recv == CPIKA_WAITS;
}

long
cpika_link_recv_waiting(cpika_link *l, uint8_t *bytes, size_t n)
{
    if (cpika_link_forked(l)) {
        return CPIKA_E_CLOSED;
    }
    int fd = link_enter(l);
    long got = fd < 0 ? CPIKA_E_CLOSED : cpika_sock_recv_waiting(fd, bytes, n);
    if (got == CPIKA_E_SYS) {
        atomic_store(&l->recv_errno, errno);
    }
    link_leave(l);
    return got;
}

void
cpika_link_never_wait_in_recv(cpika_link *l)
{
    int fd = link_enter(l);
    if (fd >= 0 && l->in_recv != CPIKA_NEVER_WAITS && !cpika_link_forked(l)) {
        l->in_recv = CPIKA_NEVER_WAITS;
        cpika_sock_never_wait(fd);
    }
    link_leave(l);
}

void
cpika_link_close_locked(cpika_link *l)
{
    if (cpika_link_forked(l)) {
        link_close_in_child(l);
        return;
    }
    int fd = atomic_load(&l->fd);
    if (fd < 0) {
        return;
    }
    // In this order a fork in between leaves the number in one field at least, and the child can close it.
    atomic_store(&l->closing_fd, fd);
    cpika_sock_shutdown(fd);
    atomic_store(&l->fd, -1);
    if (atomic_load(&l->users) == 0) {
        link_reap(l);
    }
    cpika_link_wake(l);
}

void
cpika_link_close(cpika_link *l)
{
    if (cpika_link_forked(l)) {
        link_close_in_child(l);
        return;
    }
    cpika_link_lock(l);
    cpika_link_close_locked(l);
    cpika_link_unlock(l);
}

void
cpika_link_leave_to_parent(cpika_link *l)
{
    int fd = atomic_load(&l->fd);
    if (fd < 0 || cpika_sock_replace_by_end(fd) != CPIKA_OK) {
        link_close_in_child(l);
    }
}

void
cpika_link_wake(cpika_link *l)
{
    // The child has the parent's wake descriptor.
    if (l->wake_wr >= 0 && !cpika_link_forked(l)) {
        cpika_sock_wake(l->wake_wr);
    }
}

void
cpika_link_unwanted_wake(cpika_link *l)
{
    cpika_sock_wake_close(l->wake_rd, l->wake_wr);
    l->wake_rd = l->wake_wr = -1;
}

void
cpika_link_drain_wake(cpika_link *l)
{
    if (l->wake_rd >= 0 && !cpika_link_forked(l)) {
        cpika_sock_wake_drain(l->wake_rd);
    }
}

int
cpika_link_poll(cpika_link *l, bool want_write, int timeout_ms)
{
    return cpika_link_poll_with(l, want_write, -1, timeout_ms);
}

int
cpika_link_poll_with(cpika_link *l, bool want_write, int other_fd, int timeout_ms)
{
    enum { AILING = POLLERR | POLLHUP | POLLNVAL };

    if (cpika_link_forked(l)) {
        return CPIKA_E_CLOSED;
    }
    int fd = link_enter(l);
    if (fd < 0) {
        link_leave(l);
        return CPIKA_E_CLOSED;
    }
    struct pollfd fds[3] = {
        {.fd = fd, .events = want_write ? POLLIN | POLLOUT : POLLIN},
        {.fd = l->wake_rd, .events = POLLIN},
        {.fd = other_fd, .events = POLLIN},
    };
    int rc = cpika_sock_poll(fds, other_fd < 0 ? 2 : 3, timeout_ms);
    link_leave(l);
    if (rc <= 0) {
        // poll fails for want of memory only: the descriptors are ours.
        return rc == 0 ? 0 : CPIKA_E_NOMEM;
    }

    int bits = 0;
    if (fds[0].revents & (POLLIN | AILING)) {
        bits |= CPIKA_READABLE;
    }
    if (want_write && (fds[0].revents & (POLLOUT | AILING))) {
        bits |= CPIKA_WRITABLE;
    }
    if (fds[1].revents & POLLIN) {
        bits |= CPIKA_WOKEN;
    }
    if (other_fd >= 0 && (fds[2].revents & POLLIN)) {
        bits |= CPIKA_OTHER;
    }
    return bits;
}
