/* input.h - the bytes that have come and are not handled yet.
 * Layer: engine.
 * Owns: its chunk.  A chunk is counted: who reads from it while user code may run pins it, and then its bytes stay where
 *       they are; what comes meanwhile goes behind them or into another chunk.
 * Threads: with the GIL.
 * Errors: CPIKA_E_NOMEM, nothing is changed then. */
#ifndef CPIKA_ENGINE_INPUT_H
#define CPIKA_ENGINE_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "wire/status.h"

typedef struct {
    size_t refs;
    size_t cap;
    uint8_t data[];
} cpika_input_chunk;

typedef struct {
    cpika_input_chunk *chunk;  // counted; NULL before the first byte
    size_t pos;                // first byte not yet handled
    size_t len;                // behind the last byte
    size_t skip;               // bytes of a frame begun for a channel that is gone: dropped as they come
} cpika_input;

void cpika_input_free(cpika_input *in);

/* Room for `n` more bytes behind the last one, and for as much more as one read may bring. */
int cpika_input_room(cpika_input *in, size_t n);
int cpika_input_append(cpika_input *in, const void *bytes, size_t n);

/* Where the next bytes go, and how many fit; after cpika_input_room. */
static inline uint8_t *
cpika_input_end(cpika_input *in)
{
    return in->chunk->data + in->len;
}

static inline size_t
cpika_input_free_room(const cpika_input *in)
{
    return in->chunk->cap - in->len;
}

static inline size_t
cpika_input_available(const cpika_input *in)
{
    return in->len - in->pos;
}

static inline const uint8_t *
cpika_input_begin(const cpika_input *in)
{
    return in->chunk->data + in->pos;
}

/* Drops what is to be skipped. */
static inline void
cpika_input_drop_skipped(cpika_input *in)
{
    if (in->skip > 0) {
        size_t n = in->skip < cpika_input_available(in) ? in->skip : cpika_input_available(in);
        in->skip -= n;
        in->pos += n;
    }
}

static inline cpika_input_chunk *
cpika_input_pin(cpika_input *in)
{
    in->chunk->refs++;
    return in->chunk;
}

void cpika_input_unpin(cpika_input_chunk *chunk);

#endif
