/* content.h - method, header, body: putting a message together from its frames.
 * Layer: engine.
 * Owns: what has come of the message.  Threads: with the GIL.  Nothing here runs user code.
 * Errors: a cpika_status, or one of the violations below; the connection is to end then. */
#ifndef CPIKA_ENGINE_CONTENT_H
#define CPIKA_ENGINE_CONTENT_H

#include "message.h"  // Python.h before any other header

#include <stdbool.h>

#include "wire/buf.h"
#include "wire/frame.h"

/* Violations beside cpika_status: frames in an order that AMQP forbids. */
enum {
    CPIKA_E_HEADER_UNDUE = -101,
    CPIKA_E_BODY_UNDUE = -102,
    CPIKA_E_BODY_TOO_LONG = -103,
};

typedef struct {
    uint32_t method_id;  // Deliver, GetOk or Return; 0: nothing has begun
    bool header_seen;
    size_t method_len;
    cpika_buf raw;   // payload of the method, then properties
    PyObject *body;  // owned bytes, as large as announced or as far as allocated
    uint64_t size;   // announced
    uint64_t received;
} cpika_content;

void cpika_content_clear(cpika_content *c);

/* Whether a content header may follow that method: CPIKA_OK, or what is wrong with it. */
int cpika_content_check_header(const cpika_frame *frame, uint32_t method_id);

int cpika_content_begin(cpika_content *c, const cpika_frame *method);
int cpika_content_header(cpika_content *c, const cpika_frame *frame);

/* Whether `n` more bytes of body may come now. */
int cpika_content_check_body(const cpika_content *c, size_t n);

/* Room for at least `n` more bytes of the body; `n` has been checked.  *target: where they belong.  An announced size
 * alone allocates at most 1 MB beyond what has come. */
int cpika_content_room(cpika_content *c, size_t n, uint8_t **target);
int cpika_content_body(cpika_content *c, const uint8_t *bytes, size_t n);

static inline bool
cpika_content_is_whole(const cpika_content *c)
{
    return c->header_seen && c->received == c->size;
}

/* The whole message; `c` is empty afterwards, also when there is no memory (NULL). */
cpika_message *cpika_content_take(cpika_content *c);

#endif
