/* encode.h - a message as frames: validated whole before the first byte is queued.
 * Layer: api.
 * Owns: a body holds the caller's bytes.  Threads: with the GIL; encoding may run user code.
 * Errors: -1 with an exception. */
#ifndef CPIKA_API_ENCODE_H
#define CPIKA_API_ENCODE_H

#include "drivers/objects.h"
#include "values/values.h"
#include "wire/hot.h"

/* What the caller of basic_publish gave; all borrowed. */
typedef struct {
    PyObject *exchange;
    PyObject *routing_key;
    PyObject *body;
    PyObject *properties;  // NULL: none
    bool mandatory;
} publish_args;

/* What is sent for strings that are not plain (a subclass with an encode() of its own): `a` refers to them afterwards.  Pair
 * with publish_release.  May run user code. */
typedef struct {
    PyObject *exchange;     // owned, or NULL
    PyObject *routing_key;  // owned, or NULL
} publish_strings;
int publish_take_other_strings(cpika_values *v, publish_args *a, publish_strings *held);

CPIKA_HOT int
publish_take_strings(cpika_values *v, publish_args *a, publish_strings *held)
{
    return cpika_is_plain_string(a->exchange) && cpika_is_plain_string(a->routing_key)
               ? 0
               : publish_take_other_strings(v, a, held);
}

static inline void
publish_release(publish_strings *held)
{
    Py_XDECREF(held->exchange);
    Py_XDECREF(held->routing_key);
}

/* The body of a message: bytes of the caller, held by a buffer or by a str's own UTF-8. */
typedef struct {
    const uint8_t *data;
    size_t size;
    Py_buffer view;   // of bytearray, memoryview and the like
    PyObject *owner;  // owned; NULL while `view` holds the bytes
} publish_body;

int publish_body_take_other(cpika_values *v, PyObject *value, publish_body *body);

/* Pair with publish_body_free. */
static inline int
publish_body_take(cpika_values *v, PyObject *value, publish_body *body)
{
    if (!PyBytes_CheckExact(value)) {
        return publish_body_take_other(v, value, body);
    }
    body->data = (const uint8_t *)PyBytes_AS_STRING(value);
    body->size = (size_t)PyBytes_GET_SIZE(value);
    body->owner = Py_NewRef(value);  // `view` is not looked at then
    return 0;
}
void publish_body_free(publish_body *body);

/* From now on nobody can change the bytes: what the broker returns is compared with them, and a bytearray can have others by
 * then. */
int publish_body_copy_other(publish_body *body);

static inline int
publish_body_freeze(publish_body *body)
{
    return body->owner != NULL || body->view.obj == NULL ? 0 : publish_body_copy_other(body);
}

/* Appends Basic.Publish and content header; exchange and key are noted in `identity`, as long as `a` lives. */
int publish_encode_head(CpikaChannel *ch, const publish_args *a, size_t body_size, cpika_buf *out,
                        cpika_identity *identity);

/* Appends the body's frames. */
int publish_encode_body(const CpikaChannel *ch, const publish_body *body, cpika_buf *out);

#endif
