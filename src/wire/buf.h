/* buf.h - growable byte buffer.
 * Layer: wire (libc only).  Threads: none of its own.
 * Owns: `data`; pair CPIKA_BUF_INIT with cpika_buf_free().
 * Errors: negative cpika_status; contents unchanged on error. */
#ifndef CPIKA_WIRE_BUF_H
#define CPIKA_WIRE_BUF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "endian.h"
#include "status.h"

typedef struct {
    uint8_t *data;
    size_t len;  // in use
    size_t cap;  // allocated; len <= cap always
} cpika_buf;

#define CPIKA_BUF_INIT {NULL, 0, 0}

/* Makes room for `extra` more bytes; the slow half of cpika_buf_reserve. */
int cpika_buf_grow(cpika_buf *b, size_t extra);
void cpika_buf_free(cpika_buf *b);

static inline int
cpika_buf_reserve(cpika_buf *b, size_t extra)
{
    // Compare with the room left: len + extra could wrap.
    return extra <= b->cap - b->len ? CPIKA_OK : cpika_buf_grow(b, extra);
}

static inline int
cpika_buf_append(cpika_buf *b, const void *bytes, size_t n)
{
    int rc = cpika_buf_reserve(b, n);
    if (rc == CPIKA_OK && n > 0) {
        memcpy(b->data + b->len, bytes, n);
        b->len += n;
    }
    return rc;
}

static inline int
cpika_buf_put8(cpika_buf *b, uint8_t v)
{
    return cpika_buf_append(b, &v, 1);
}

static inline int
cpika_buf_put16(cpika_buf *b, uint16_t v)
{
    uint8_t be[2];
    cpika_put16(be, v);
    return cpika_buf_append(b, be, sizeof be);
}

static inline int
cpika_buf_put32(cpika_buf *b, uint32_t v)
{
    uint8_t be[4];
    cpika_put32(be, v);
    return cpika_buf_append(b, be, sizeof be);
}

static inline int
cpika_buf_put64(cpika_buf *b, uint64_t v)
{
    uint8_t be[8];
    cpika_put64(be, v);
    return cpika_buf_append(b, be, sizeof be);
}

#endif
