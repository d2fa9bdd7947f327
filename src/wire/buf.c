/* buf.c - growable byte buffer: the parts that allocate.
 * Layer: wire (libc only).  Threads: none of its own.
 * Owns: see buf.h.  Errors: negative cpika_status; contents unchanged on error. */
#include "buf.h"

#include <stdlib.h>

enum { BUF_FIRST_CAPACITY = 256 };

int
cpika_buf_grow(cpika_buf *b, size_t extra)
{
    if (extra > SIZE_MAX / 2 - b->len) {
        return CPIKA_E_NOMEM;
    }
    size_t need = b->len + extra;
    size_t cap = b->cap > 0 ? b->cap : BUF_FIRST_CAPACITY;
    while (cap < need) {
        cap *= 2;  // need <= SIZE_MAX / 2: this ends before it wraps
    }
    uint8_t *data = realloc(b->data, cap);
    if (data == NULL) {
        return CPIKA_E_NOMEM;
    }
    b->data = data;
    b->cap = cap;
    return CPIKA_OK;
}

void
cpika_buf_free(cpika_buf *b)
{
    free(b->data);
    *b = (cpika_buf)CPIKA_BUF_INIT;
}
