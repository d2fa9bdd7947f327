/* strcache.h - the same bytes give the same str.
 * Layer: values.
 * Owns: one reference to each str it holds.  Threads: with the GIL.
 * Errors: NULL with an exception.
 *
 * Consumer tags, exchanges and routing keys come again and again: making a str of 38 bytes costs some 40 ns, finding
 * it here a hash of the bytes and one comparison. */
#ifndef CPIKA_VALUES_STRCACHE_H
#define CPIKA_VALUES_STRCACHE_H

#include "compat.h"  // Python.h before any other header

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* A Deliver as it came, and its strings: as a rule the next one differs in delivery tag and flag alone, which are the
 * nine bytes at fixed_at. */
enum { CPIKA_KEPT_DELIVER = 128, CPIKA_DELIVER_FIXED = 9 };
typedef struct {
    PyObject *tag;  // NULL: none kept
    PyObject *exchange;
    PyObject *key;
    size_t size;
    size_t fixed_at;
    uint8_t payload[CPIKA_KEPT_DELIVER];
} cpika_kept_deliver;

typedef struct {
    cpika_kept_deliver deliver;
    PyObject *last_exchange;
    PyObject *last_key;
    PyObject *last_tag;
    PyObject **tags;  // by hash, in one of a few places each
    size_t cap;       // grows with the consumers
} cpika_strcache;

/* New references; bytes that are no UTF-8 give a bytes object, as pika does. */
PyObject *cpika_strcache_tag(cpika_strcache *cache, const uint8_t *bytes, size_t n);
PyObject *cpika_strcache_exchange(cpika_strcache *cache, const uint8_t *bytes, size_t n);
PyObject *cpika_strcache_key(cpika_strcache *cache, const uint8_t *bytes, size_t n);

/* Whether that Deliver is like the one kept. */
static inline bool
cpika_strcache_is_kept(const cpika_strcache *cache, const uint8_t *payload, size_t n)
{
    const cpika_kept_deliver *kept = &cache->deliver;
    size_t behind = kept->fixed_at + CPIKA_DELIVER_FIXED;
    return kept->tag != NULL && n == kept->size && memcmp(payload, kept->payload, kept->fixed_at) == 0
           && memcmp(payload + behind, kept->payload + behind, n - behind) == 0;
}

/* Keeps a Deliver whose three strings are given, if it is not too long. */
void cpika_strcache_keep(cpika_strcache *cache, const uint8_t *payload, size_t n, size_t fixed_at,
                         PyObject *tag, PyObject *exchange, PyObject *key);
/* Not for hostile keys: a collision costs a comparison, no more. */
uint64_t cpika_hash_bytes(uint64_t seed, const uint8_t *bytes, size_t n);
void cpika_strcache_clear(cpika_strcache *cache);

#endif
