/* outq.h - output of one connection: an ordered queue of segments.
 * Layer: wire (libc only).
 * Owns: the bytes of owned segments.  Borrowed segments are the memory of a caller that waits; when its call ends
 *       early it must turn them into owned ones with cpika_outq_adopt (rule 12: a frame once begun is finished).
 *       Memory of the queue comes in counted chunks: the open one takes small copies until it is full and is used
 *       again once what it held has left, so steady traffic allocates nothing.  No byte is copied twice by a push.
 * Threads: none of its own; the link's lock guards it.
 * Errors: CPIKA_E_NOMEM, the queue is unchanged then. */
#ifndef CPIKA_WIRE_OUTQ_H
#define CPIKA_WIRE_OUTQ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

struct iovec;
typedef struct cpika_segment cpika_segment;
typedef struct cpika_chunk cpika_chunk;

typedef struct {
    cpika_segment *segments;  // ring of `cap` segments, oldest at `head`
    size_t head, count, cap;
    atomic_size_t bytes;  // not yet sent, all segments; readable without the lock
    size_t borrowed;      // of them in borrowed segments
    cpika_chunk *open;    // where the next small copy goes; owned, NULL until the first
} cpika_outq;

#define CPIKA_OUTQ_INIT {NULL, 0, 0, 0, 0, 0, NULL}

/* A copy of up to so many bytes is small: room for it can be reserved. */
enum { CPIKA_OUTQ_SMALL = 16 };

void cpika_outq_free(cpika_outq *q);

/* Copies `n` bytes behind what is there. */
int cpika_outq_push(cpika_outq *q, const uint8_t *bytes, size_t n);

/* References the caller's bytes; they must stay until sent or adopted. */
int cpika_outq_push_borrowed(cpika_outq *q, const uint8_t *bytes, size_t n);

/* Makes room so that the next `segments` pushes, of borrowed memory or of at most CPIKA_OUTQ_SMALL bytes, cannot
 * fail half way.  Holds until the next larger push or cpika_outq_consume. */
int cpika_outq_reserve(cpika_outq *q, size_t segments);

/* Takes the last `n` bytes pushed back again (none of them sent): a message that could not be pushed whole. */
void cpika_outq_unpush(cpika_outq *q, size_t n);

/* Copies every borrowed segment that is still unsent into memory of the queue: all or, on error, none. */
int cpika_outq_adopt(cpika_outq *q);

/* Takes the borrowed segments out: their memory is about to go, and what is left makes no sense to a peer. */
void cpika_outq_forget_borrowed(cpika_outq *q);

/* Fills up to `max` places with the oldest bytes; returns how many were filled.  Valid until the next change. */
int cpika_outq_iov(const cpika_outq *q, struct iovec *iov, int max);

/* Drops the oldest `n` bytes: they have left. */
void cpika_outq_consume(cpika_outq *q, size_t n);

#endif
