/* strcache.h - the same bytes give the same str.
 * Layer: core.
 * Owns: one reference to each str it holds.  Threads: with the GIL.
 * Errors: NULL with an exception.
 *
 * Consumer tags, exchanges and routing keys come again and again: making a str of 38 bytes costs some 40 ns, finding
 * it here a hash of the bytes and one comparison. */
#ifndef CPIKA_CORE_STRCACHE_H
#define CPIKA_CORE_STRCACHE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

typedef struct {
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
/* Not for hostile keys: a collision costs a comparison, no more. */
uint64_t cpika_hash_bytes(uint64_t seed, const uint8_t *bytes, size_t n);
void cpika_strcache_clear(cpika_strcache *cache);

#endif
