/* outq.c - output of one connection: a ring of segments over counted chunks of memory.
 * Layer: wire (libc only).
 * Owns: chunks; each segment over a chunk holds one reference, the queue one to the open chunk.
 * Threads: none of its own; the link's lock guards it.
 * Errors: CPIKA_E_NOMEM, the queue is unchanged then. */
#include "posix.h"

#include "outq.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

enum {
    OUTQ_FIRST_RING = 16,
    OUTQ_KEPT_RING = 1024,        // a larger ring is given back when the queue is empty
    OUTQ_FIRST_CHUNK = 4096,      // bytes
    OUTQ_KEPT_CHUNK = 64 * 1024,  // bytes; a larger one serves once
};

struct cpika_chunk {
    size_t refs;
    size_t cap;
    size_t used;  // bytes given to segments
    uint8_t data[];
};

struct cpika_segment {
    const uint8_t *bytes;  // not yet sent; never empty
    size_t size;
    cpika_chunk *chunk;  // counted; NULL: the bytes are borrowed
};

static cpika_chunk *
chunk_new(size_t cap)
{
    if (cap > SIZE_MAX / 2) {
        return NULL;
    }
    cpika_chunk *chunk = malloc(sizeof *chunk + cap);
    if (chunk != NULL) {
        chunk->refs = 1;
        chunk->cap = cap;
        chunk->used = 0;
    }
    return chunk;
}

static void
chunk_decref(cpika_chunk *chunk)
{
    if (chunk != NULL && --chunk->refs == 0) {
        free(chunk);
    }
}

static cpika_segment *
outq_at(const cpika_outq *q, size_t i)
{
    return &q->segments[(q->head + i) & (q->cap - 1)];  // cap is a power of two
}

static int
outq_grow_ring(cpika_outq *q, size_t extra)
{
    if (extra > SIZE_MAX / (4 * sizeof(cpika_segment)) - q->count) {
        return CPIKA_E_NOMEM;
    }
    size_t cap = q->cap > 0 ? q->cap : OUTQ_FIRST_RING;
    while (cap < q->count + extra) {
        cap *= 2;
    }
    cpika_segment *segments = malloc(cap * sizeof *segments);
    if (segments == NULL) {
        return CPIKA_E_NOMEM;
    }
    for (size_t i = 0; i < q->count; i++) {
        segments[i] = *outq_at(q, i);
    }
    free(q->segments);
    q->segments = segments;
    q->head = 0;
    q->cap = cap;
    return CPIKA_OK;
}

/* Room in the ring for `extra` more segments. */
static inline int
outq_reserve_ring(cpika_outq *q, size_t extra)
{
    return extra <= q->cap - q->count ? CPIKA_OK : outq_grow_ring(q, extra);
}

/* The only thread that changes the queue holds the link's lock; others may look at the number without. */
static inline size_t
bytes_of(const cpika_outq *q)
{
    return atomic_load_explicit(&q->bytes, memory_order_relaxed);
}

static inline void
change_bytes(cpika_outq *q, size_t bytes)
{
    atomic_store_explicit(&q->bytes, bytes, memory_order_relaxed);
}

/* An open chunk with room for `n` bytes.  Each is twice as large as the last up to a bound, so a connection that
 * sends little stays small. */
static int
outq_reserve_open(cpika_outq *q, size_t n)
{
    cpika_chunk *open = q->open;
    if (open != NULL && n <= open->cap - open->used) {
        return CPIKA_OK;
    }
    size_t cap = open != NULL ? open->cap * 2 : OUTQ_FIRST_CHUNK;
    if (cap > OUTQ_KEPT_CHUNK) {
        cap = OUTQ_KEPT_CHUNK;
    }
    open = chunk_new(n > cap ? n : cap);
    if (open == NULL) {
        return CPIKA_E_NOMEM;
    }
    chunk_decref(q->open);
    q->open = open;
    return CPIKA_OK;
}

/* The ring has room. */
static void
outq_append(cpika_outq *q, const uint8_t *bytes, size_t n, cpika_chunk *chunk)
{
    *outq_at(q, q->count) = (cpika_segment){bytes, n, chunk};
    q->count++;
    change_bytes(q, bytes_of(q) + n);
}

/* Nothing is queued in the open chunk any more: use it from its beginning, or give it back if it is large. */
static void
outq_rewind_open(cpika_outq *q)
{
    if (q->open == NULL || q->open->refs > 1) {
        return;
    }
    q->open->used = 0;
    if (q->open->cap > OUTQ_KEPT_CHUNK) {
        chunk_decref(q->open);
        q->open = NULL;
    }
}

void
cpika_outq_free(cpika_outq *q)
{
    for (size_t i = 0; i < q->count; i++) {
        chunk_decref(outq_at(q, i)->chunk);
    }
    chunk_decref(q->open);
    free(q->segments);
    *q = (cpika_outq)CPIKA_OUTQ_INIT;
}

int
cpika_outq_push(cpika_outq *q, const uint8_t *bytes, size_t n)
{
    if (n == 0) {
        return CPIKA_OK;
    }
    int rc = outq_reserve_ring(q, 1);
    if (rc == CPIKA_OK) {
        rc = outq_reserve_open(q, n);
    }
    if (rc != CPIKA_OK) {
        return rc;
    }

    cpika_chunk *open = q->open;
    uint8_t *to = open->data + open->used;
    memcpy(to, bytes, n);
    open->used += n;
    if (q->count > 0) {
        cpika_segment *last = outq_at(q, q->count - 1);
        if (last->chunk == open && last->bytes + last->size == to) {
            last->size += n;
            change_bytes(q, bytes_of(q) + n);
            return CPIKA_OK;
        }
    }
    open->refs++;
    outq_append(q, to, n, open);
    return CPIKA_OK;
}

int
cpika_outq_push_borrowed(cpika_outq *q, const uint8_t *bytes, size_t n)
{
    if (n == 0) {
        return CPIKA_OK;
    }
    int rc = outq_reserve_ring(q, 1);
    if (rc == CPIKA_OK) {
        outq_append(q, bytes, n, NULL);
        q->borrowed += n;
    }
    return rc;
}

int
cpika_outq_reserve(cpika_outq *q, size_t segments)
{
    if (segments > SIZE_MAX / CPIKA_OUTQ_SMALL) {
        return CPIKA_E_NOMEM;
    }
    int rc = outq_reserve_ring(q, segments);
    return rc == CPIKA_OK ? outq_reserve_open(q, segments * CPIKA_OUTQ_SMALL) : rc;
}

void
cpika_outq_unpush(cpika_outq *q, size_t n)
{
    assert(n <= bytes_of(q));
    change_bytes(q, bytes_of(q) - n);
    while (n > 0) {
        cpika_segment *last = outq_at(q, q->count - 1);
        size_t part = n < last->size ? n : last->size;
        cpika_chunk *chunk = last->chunk;

        if (chunk == NULL) {
            q->borrowed -= part;
        } else if (last->bytes + last->size == chunk->data + chunk->used) {
            chunk->used -= part;  // the room can be given again
        }
        last->size -= part;
        n -= part;
        if (last->size == 0) {
            q->count--;
            chunk_decref(chunk);
        }
    }
    outq_rewind_open(q);
}

int
cpika_outq_adopt(cpika_outq *q)
{
    if (q->borrowed == 0) {
        return CPIKA_OK;
    }
    cpika_chunk *chunk = chunk_new(q->borrowed);  // one for all of them: it cannot fail half way
    if (chunk == NULL) {
        return CPIKA_E_NOMEM;
    }
    for (size_t i = 0; i < q->count; i++) {
        cpika_segment *segment = outq_at(q, i);
        if (segment->chunk == NULL) {
            uint8_t *to = chunk->data + chunk->used;
            memcpy(to, segment->bytes, segment->size);
            chunk->used += segment->size;
            chunk->refs++;
            segment->bytes = to;
            segment->chunk = chunk;
        }
    }
    q->borrowed = 0;
    chunk_decref(chunk);
    return CPIKA_OK;
}

void
cpika_outq_forget_borrowed(cpika_outq *q)
{
    size_t kept = 0;
    for (size_t i = 0; i < q->count; i++) {
        cpika_segment segment = *outq_at(q, i);
        if (segment.chunk != NULL) {
            *outq_at(q, kept++) = segment;
        }
    }
    q->count = kept;
    change_bytes(q, bytes_of(q) - q->borrowed);
    q->borrowed = 0;
    outq_rewind_open(q);
}

int
cpika_outq_iov(const cpika_outq *q, struct iovec *iov, int max)
{
    int filled = 0;
    while (filled < max && (size_t)filled < q->count) {
        const cpika_segment *segment = outq_at(q, (size_t)filled);
        // iov_base is not const because readv writes to it; a send only reads.
        iov[filled].iov_base = (void *)segment->bytes;
        iov[filled].iov_len = segment->size;
        filled++;
    }
    return filled;
}

void
cpika_outq_consume(cpika_outq *q, size_t n)
{
    assert(n <= bytes_of(q));
    change_bytes(q, bytes_of(q) - n);
    while (n > 0) {
        cpika_segment *first = outq_at(q, 0);
        size_t part = n < first->size ? n : first->size;

        if (first->chunk == NULL) {
            q->borrowed -= part;
        }
        first->bytes += part;
        first->size -= part;
        n -= part;
        if (first->size == 0) {
            chunk_decref(first->chunk);
            q->head = (q->head + 1) & (q->cap - 1);
            q->count--;
        }
    }
    outq_rewind_open(q);
    if (q->count == 0 && q->cap > OUTQ_KEPT_RING) {
        free(q->segments);
        q->segments = NULL;
        q->head = 0;
        q->cap = 0;
    }
}
