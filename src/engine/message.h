/* message.h - a method as it came, alone or with properties and body: bytes, not objects yet.
 * Layer: engine.
 * Owns: its bytes; one reference to the body.  Counted: a returned message may stand in several events.
 * Threads: with the GIL.  Nothing here runs user code: a body is exactly bytes.
 * Errors: NULL without an exception: no memory. */
#ifndef CPIKA_ENGINE_MESSAGE_H
#define CPIKA_ENGINE_MESSAGE_H

#include "values/compat.h"  // Python.h before any other header

#include <stddef.h>
#include <stdint.h>

#include "wire/endian.h"

typedef struct {
    int refs;
    PyObject *body;           // owned bytes; NULL: a method alone
    uint32_t method_len;      // payload of the method frame: id and arguments
    uint32_t properties_len;  // flags and list of the content header
    uint8_t bytes[];          // the one, behind it the other
} cpika_message;

/* Copies the bytes and takes `body` over, also when it fails. */
cpika_message *cpika_message_new(const uint8_t *method, size_t method_len, const uint8_t *properties,
                                 size_t properties_len, PyObject *body);

static inline cpika_message *
cpika_message_incref(cpika_message *m)
{
    m->refs++;
    return m;
}

/* NULL is allowed. */
void cpika_message_decref(cpika_message *m);

static inline uint32_t
cpika_message_id(const cpika_message *m)
{
    return cpika_get32(m->bytes);
}

static inline const uint8_t *
cpika_message_properties(const cpika_message *m)
{
    return m->bytes + m->method_len;
}

/* The delivery tag of a Deliver or GetOk; 0 for anything else. */
uint64_t cpika_message_delivery_tag(const cpika_message *m);

/* The short string of a method's payload at `at`; false when it reaches over the end. */
int cpika_payload_shortstr(const uint8_t *payload, size_t len, size_t *at, const uint8_t **text, size_t *n);

#endif
