/* kept.h - a link that the keeper keeps, and the peer's end of its socket pair.
 * Layer: tests.
 * Owns: see kept_free.
 * Threads: the keeper's.  Upper bounds of time are generous: they tell "by itself, soon" from "never", on a loaded machine
 *          and under valgrind too.  Lower bounds and orders are exact.
 * Errors: see check.h. */
#ifndef TESTS_C_KEPT_H
#define TESTS_C_KEPT_H

#include "check.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "clock.h"
#include "frame.h"
#include "keeper.h"
#include "status.h"

enum { SOON_MS = 20000 };  // far beyond any delay that is not a hang

/* A kept link and the peer's end of its socket pair (blocking). */
typedef struct {
    cpika_link *link;
    int peer;
} kept;

static inline kept
kept_new(uint64_t heartbeat_ns)
{
    int ends[2] = {-1, -1};
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    kept k = {cpika_link_new(ends[0]), ends[1]};
    if (!CHECK(k.link != NULL)) {
        abort();
    }
    k.link->heartbeat_ns = heartbeat_ns;
    CHECK_INT(cpika_keeper_add(k.link), CPIKA_OK);
    return k;
}

static inline void
kept_free(kept *k)
{
    cpika_keeper_remove(k->link);
    CHECK_INT(atomic_load(&k->link->refs), 1);
    cpika_link_close(k->link);
    cpika_link_decref(k->link);
    close(k->peer);
}

static inline void
hold(kept *k, const char *text)
{
    cpika_link_lock(k->link);
    uint64_t until = cpika_now_ns() + CPIKA_HOLD_ACKS_NS;
    CHECK_INT(cpika_link_hold_locked(k->link, (const uint8_t *)text, strlen(text), until), CPIKA_OK);
    cpika_link_unlock(k->link);
    cpika_keeper_notify_held();
}

static inline uint64_t
heartbeats_sent(kept *k)
{
    cpika_link_lock(k->link);
    uint64_t sent = k->link->heartbeats_sent;
    cpika_link_unlock(k->link);
    return sent;
}

/* Waits for bytes at the peer; the time at which they were there, or 0. */
static inline uint64_t
await_bytes(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return CHECK_INT(poll(&p, 1, SOON_MS), 1) ? cpika_now_ns() : 0;
}

static inline bool
is_silent(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 0;
}

static inline bool
expect_bytes(int fd, const void *bytes, size_t n)
{
    uint8_t got[64] = {0};
    size_t at = 0;
    while (at < n) {
        if (await_bytes(fd) == 0) {
            return false;
        }
        ssize_t part = read(fd, got + at, n - at);
        if (!CHECK(part > 0)) {
            return false;
        }
        at += (size_t)part;
    }
    return CHECK_MEM(got, bytes, n);
}

static inline bool
expect_heartbeat(int fd)
{
    return expect_bytes(fd, cpika_heartbeat_frame, sizeof cpika_heartbeat_frame);
}

#endif
