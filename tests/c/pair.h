/* pair.h - a link, and the peer's end of its socket pair.
 * Layer: tests.  Owns: see pair_free.  Threads: none of its own.  Errors: see check.h. */
#ifndef TESTS_C_PAIR_H
#define TESTS_C_PAIR_H

#include "check.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "clock.h"
#include "link.h"
#include "status.h"

/* A link and the peer's end of its socket pair (blocking); what a thread made of it. */
typedef struct {
    cpika_link *link;
    int peer;
    long answer;
} pair;

static inline pair
pair_new(void)
{
    int ends[2] = {-1, -1};
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    pair p = {cpika_link_new(ends[0]), ends[1], 0};
    if (!CHECK(p.link != NULL)) {
        abort();
    }
    return p;
}

static inline void
pair_free(pair *p)
{
    cpika_link_decref(p->link);
    if (p->peer >= 0) {
        close(p->peer);
    }
}

static inline void
make_small(pair *p)
{
    int size = 4096;
    setsockopt(atomic_load(&p->link->fd), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt(p->peer, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

static inline int
send_text(cpika_link *l, const char *text)
{
    cpika_link_lock(l);
    int rc = cpika_link_send_locked(l, (const uint8_t *)text, strlen(text), cpika_now_ns());
    cpika_link_unlock(l);
    return rc;
}

static inline int
flush(cpika_link *l)
{
    cpika_link_lock(l);
    int rc = cpika_link_flush_locked(l);
    cpika_link_unlock(l);
    return rc;
}

/* Reads exactly `n` bytes at the peer, or as many as come before the end. */
static inline size_t
read_all(int fd, void *to, size_t n)
{
    size_t got = 0;
    while (got < n) {
        ssize_t part = read(fd, (uint8_t *)to + got, n - got);
        if (part < 0 && errno == EINTR) {
            continue;
        }
        if (part <= 0) {
            break;
        }
        got += (size_t)part;
    }
    return got;
}

static inline void
expect_text(int fd, const char *text)
{
    char got[256] = {0};
    size_t n = strlen(text);
    CHECK_INT(read_all(fd, got, n), n);
    CHECK_STR(got, text);
}

static inline bool
is_readable_now(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

static inline long
recv_into(cpika_link *l, void *to, size_t n)
{
    struct iovec iov = {to, n};
    return cpika_link_recv(l, &iov, 1);
}

#endif
