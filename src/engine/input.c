/* input.c - see input.h.
 * Layer: engine.  Owns: see input.h.  Threads: with the GIL.  Errors: see input.h. */
#include "input.h"

#include <stdlib.h>
#include <string.h>

enum { CAPACITY = 256 * 1024 };  // two frames of the largest size that pika allows, so that one always fits

void
cpika_input_unpin(cpika_input_chunk *chunk)
{
    if (--chunk->refs == 0) {
        free(chunk);
    }
}

void
cpika_input_free(cpika_input *in)
{
    if (in->chunk != NULL) {
        cpika_input_unpin(in->chunk);
    }
    *in = (cpika_input){0};
}

/* Moves what is unread into a chunk of its own with room for `n` more. */
static int
change_chunk(cpika_input *in, size_t n)
{
    size_t unread = cpika_input_available(in);
    size_t cap = in->chunk == NULL || in->chunk->cap < CAPACITY ? CAPACITY : in->chunk->cap;
    while (cap - unread < n) {
        if (cap > SIZE_MAX / 2 - sizeof(cpika_input_chunk)) {
            return CPIKA_E_NOMEM;
        }
        cap *= 2;
    }
    cpika_input_chunk *chunk = malloc(sizeof *chunk + cap);
    if (chunk == NULL) {
        return CPIKA_E_NOMEM;
    }
    chunk->refs = 1;
    chunk->cap = cap;
    if (in->chunk != NULL) {
        memcpy(chunk->data, in->chunk->data + in->pos, unread);
        cpika_input_unpin(in->chunk);
    }
    in->chunk = chunk;
    in->pos = 0;
    in->len = unread;
    return CPIKA_OK;
}

int
cpika_input_room(cpika_input *in, size_t n)
{
    if (in->chunk == NULL) {
        return change_chunk(in, n);
    }
    if (in->chunk->refs > 1) {  // pinned: nothing may be moved
        return cpika_input_free_room(in) >= n ? CPIKA_OK : change_chunk(in, n);
    }
    if (in->pos == in->len) {
        in->pos = in->len = 0;
    }
    // Moving is for what remains of one frame: not before the free end is smaller than that may grow.
    if (in->pos > 0 && (cpika_input_free_room(in) < n || cpika_input_free_room(in) < CAPACITY / 2)) {
        memmove(in->chunk->data, in->chunk->data + in->pos, in->len - in->pos);
        in->len -= in->pos;
        in->pos = 0;
    }
    return cpika_input_free_room(in) >= n ? CPIKA_OK : change_chunk(in, n);
}

int
cpika_input_append(cpika_input *in, const void *bytes, size_t n)
{
    int rc = cpika_input_room(in, n);
    if (rc == CPIKA_OK && n > 0) {
        memcpy(cpika_input_end(in), bytes, n);
        in->len += n;
    }
    return rc;
}
