/* delivery.h - Basic.Deliver from its bytes, and what it shares with the other methods that bring a message.
 * Layer: core.
 * Owns: nothing.  Threads: with the GIL.
 * Errors: -1 with an exception; a violation of the wire ends the connection. */
#ifndef CPIKA_CORE_DELIVERY_H
#define CPIKA_CORE_DELIVERY_H

#include "engine.h"

/* ---- the fields of a method, each checked against the end of the payload ---- */

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} cpika_fields;

static inline bool
cpika_take(cpika_fields *f, size_t n, const uint8_t **bytes)
{
    if ((size_t)(f->end - f->at) < n) {
        return false;
    }
    *bytes = f->at;
    f->at += n;
    return true;
}

static inline bool
cpika_take_shortstr(cpika_fields *f, const uint8_t **bytes, size_t *n)
{
    const uint8_t *length;
    if (!cpika_take(f, 1, &length)) {
        return false;
    }
    *n = *length;
    return cpika_take(f, *n, bytes);
}

/* Where a delivery came from: the fields that Deliver, GetOk and Return end with. */
typedef struct {
    PyObject *exchange;  // owned
    PyObject *key;       // owned
} cpika_origin;

int cpika_origin_make(CpikaConnection *conn, const uint8_t *exchange, size_t exchange_len, const uint8_t *key,
                      size_t key_len, cpika_origin *out);
void cpika_origin_free(cpika_origin *from);

/* ---- Deliver ---- */

/* The method of a delivery whose content is still to come.  1 or -1. */
int delivery_begin(CpikaConnection *conn, CpikaChannel *ch, const cpika_frame *frame);

/* The same as the three frames one after the other, without storing between them what the next one needs: 6 % of the
 * time of an auto-acked message.  1, 0 (not that simple; nothing is changed), or -1. */
int delivery_whole(CpikaConnection *conn, const cpika_frame *method, size_t available, cpika_event *direct);

#endif
