/* delivery.h - Basic.Deliver as bytes.
 * Layer: engine.  Owns: nothing; everything points into the caller's bytes.  Threads: with the GIL.
 * Errors: a cpika_status. */
#ifndef CPIKA_ENGINE_DELIVERY_H
#define CPIKA_ENGINE_DELIVERY_H

#include <stddef.h>
#include <stdint.h>

/* Its fields: consumer tag; delivery tag and flag; exchange; routing key. */
typedef struct {
    const uint8_t *fixed, *tag, *exchange, *key;
    size_t tag_len, exchange_len, key_len;
} cpika_deliver_fields;

/* `payload`: of the method frame. */
int cpika_deliver_split(const uint8_t *payload, size_t len, cpika_deliver_fields *out);

/* The fields that GetOk and Return end with are split in the same way, behind `fixed_len` bytes (GetOk) or behind two and
 * a text (Return). */
typedef struct {
    const uint8_t *fixed, *text, *exchange, *key, *rest;
    size_t text_len, exchange_len, key_len;
} cpika_origin_fields;

int cpika_get_ok_split(const uint8_t *payload, size_t len, cpika_origin_fields *out);
int cpika_return_split(const uint8_t *payload, size_t len, cpika_origin_fields *out);

#endif
