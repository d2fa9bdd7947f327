/* sock.c - the socket system calls.
 * Layer: wire (libc only).
 * Owns: nothing.
 * Threads: any.
 * Errors: CPIKA_E_SYS with errno, CPIKA_E_EOF. */
#include "sock.h"

#include "debug.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <unistd.h>

#if defined(__linux__)
#    include <sys/eventfd.h>
#endif

#ifndef MSG_NOSIGNAL
#    define MSG_NOSIGNAL 0  // macOS: SO_NOSIGPIPE does it
#endif

/* More in one call is EINVAL on macOS. */
#define SOCK_MAX_BYTES ((size_t)INT_MAX)

static int
sock_set_flags(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return CPIKA_E_SYS;
    }
    flags = fcntl(fd, F_GETFD);
    if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0) {
        return CPIKA_E_SYS;
    }
    return CPIKA_OK;
}

int
cpika_sock_prepare(int fd)
{
#ifdef SO_NOSIGPIPE
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on) < 0) {
        return CPIKA_E_SYS;
    }
#endif
    return sock_set_flags(fd);
}

/* What a failed send or recv means: 0: not now; CPIKA_E_SYS: errno. */
static long
sock_failure(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : CPIKA_E_SYS;
}

long
cpika_sock_send(int fd, const uint8_t *bytes, size_t n)
{
    ssize_t sent;
    do {
        sent = send(fd, bytes, n < SOCK_MAX_BYTES ? n : SOCK_MAX_BYTES, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent >= 0 ? (long)sent : sock_failure();
}

/* As many of the places as one call takes; the last one is cut. */
static int
sock_limit(struct iovec *iov, int count)
{
    size_t room = SOCK_MAX_BYTES;
    for (int i = 0; i < count; i++) {
        if (iov[i].iov_len >= room) {
            iov[i].iov_len = room;
            return i + 1;
        }
        room -= iov[i].iov_len;
    }
    return count;
}

long
cpika_sock_sendv(int fd, struct iovec *iov, int count)
{
    struct msghdr msg = {.msg_iov = iov};
    msg.msg_iovlen = (__typeof__(msg.msg_iovlen))sock_limit(iov, count);  // size_t on glibc, int elsewhere

    ssize_t sent;
    do {
        sent = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent >= 0 ? (long)sent : sock_failure();
}

long
cpika_sock_recv(int fd, const struct iovec *iov, int count)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)iov};  // only read, though not const there
    msg.msg_iovlen = (__typeof__(msg.msg_iovlen))count;

    ssize_t got;
    do {
        // One place is the common case, and recv is the cheaper call.
        got = count == 1 ? recv(fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT)
                         : recvmsg(fd, &msg, MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got == 0) {
        return CPIKA_E_EOF;
    }
    return got > 0 ? (long)got : sock_failure();
}

bool
cpika_sock_let_wait(int fd, int most_ms)
{
#if defined(__linux__)  // where MSG_DONTWAIT is known to be enough for all the other calls
    const struct timeval most = {.tv_sec = most_ms / 1000, .tv_usec = most_ms % 1000 * 1000L};
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most) == 0
           && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0;
#else
    (void)fd;
    (void)most_ms;
    return false;
#endif
}

void
cpika_sock_never_wait(int fd)
{
    const struct timeval never = {.tv_sec = 0};
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0) {
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &never, sizeof never);
}

long
cpika_sock_recv_waiting(int fd, uint8_t *bytes, size_t n)
{
    cpika_debug_may_wait();
    ssize_t got = recv(fd, bytes, n, 0);
    if (got == 0) {
        return CPIKA_E_EOF;
    }
    return got > 0 ? (long)got : errno == EINTR ? 0 : sock_failure();
}

void
cpika_sock_shutdown(int fd)
{
    shutdown(fd, SHUT_RDWR);  // ENOTCONN: the peer was faster
}

void
cpika_sock_close(int fd)
{
    close(fd);  // not again after EINTR: the number may be somebody else's by then
}

#if defined __GNUC__ && !defined __clang__ && __GNUC__ >= 13
// The analyzer counts what dup2() puts in the place of the caller's descriptor as a leak.
#    pragma GCC diagnostic push
#    pragma GCC diagnostic ignored "-Wanalyzer-fd-leak"
#endif

int
cpika_sock_replace_by_end(int fd)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) {
        return CPIKA_E_SYS;
    }
    close(ends[1]);
    int rc = dup2(ends[0], fd) < 0 || sock_set_flags(fd) < 0 ? CPIKA_E_SYS : CPIKA_OK;
    close(ends[0]);
    return rc;
}

#if defined __GNUC__ && !defined __clang__ && __GNUC__ >= 13
#    pragma GCC diagnostic pop
#endif

int
cpika_sock_pipe_new(int *rd, int *wr)
{
    int ends[2];

    *rd = *wr = -1;
    if (pipe(ends) < 0) {
        return CPIKA_E_SYS;
    }
    if (sock_set_flags(ends[0]) != CPIKA_OK || sock_set_flags(ends[1]) != CPIKA_OK) {
        int saved = errno;
        close(ends[0]);
        close(ends[1]);
        errno = saved;
        return CPIKA_E_SYS;
    }
    *rd = ends[0];
    *wr = ends[1];
    return CPIKA_OK;
}

static bool
is_of_pipe(int fd, const cpika_pipe *p)
{
    struct stat status;
    return fd >= 0 && fstat(fd, &status) == 0 && (uint64_t)status.st_dev == p->device
           && (uint64_t)status.st_ino == p->file;
}

int
cpika_pipe_new(cpika_pipe *p)
{
    struct stat status;
    if (cpika_sock_pipe_new(&p->rd, &p->wr) != CPIKA_OK) {
        return CPIKA_E_SYS;
    }
    if (fstat(p->rd, &status) < 0) {
        close(p->rd);
        close(p->wr);
        p->rd = p->wr = -1;
        return CPIKA_E_SYS;
    }
    p->device = (uint64_t)status.st_dev;
    p->file = (uint64_t)status.st_ino;
    return CPIKA_OK;
}

bool
cpika_pipe_is_there(const cpika_pipe *p)
{
    return is_of_pipe(p->rd, p) && is_of_pipe(p->wr, p);
}

void
cpika_pipe_close(cpika_pipe *p)
{
    if (is_of_pipe(p->rd, p)) {
        close(p->rd);
    }
    if (is_of_pipe(p->wr, p)) {
        close(p->wr);
    }
    p->rd = p->wr = -1;
}

int
cpika_sock_wake_new(int *rd, int *wr)
{
#if defined(__linux__)
    *rd = *wr = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return *rd >= 0 ? CPIKA_OK : CPIKA_E_SYS;
#else
    return cpika_sock_pipe_new(rd, wr);
#endif
}

void
cpika_sock_wake_close(int rd, int wr)
{
    if (rd >= 0) {
        close(rd);
    }
    if (wr >= 0 && wr != rd) {
        close(wr);
    }
}

void
cpika_sock_wake(int wr)
{
    const uint64_t one = 1;  // what an eventfd adds; to a pipe it is eight bytes like others
    int saved = errno;
    ssize_t written;
    do {
        written = write(wr, &one, sizeof one);
    } while (written < 0 && errno == EINTR);
    errno = saved;  // EAGAIN: it is readable as it is
}

void
cpika_sock_wake_drain(int rd)
{
    uint64_t sink[32];
    ssize_t got;
    do {
        got = read(rd, sink, sizeof sink);  // an eventfd is empty after one read, a pipe after a short one
    } while ((got < 0 && errno == EINTR) || got == (ssize_t)sizeof sink);
}

int
cpika_sock_poll(struct pollfd *fds, int count, int timeout_ms)
{
    if (timeout_ms != 0) {
        cpika_debug_may_wait();
    }
    int ready = poll(fds, (nfds_t)count, timeout_ms);
    if (ready >= 0) {
        return ready;
    }
    return errno == EINTR ? 0 : CPIKA_E_SYS;
}
