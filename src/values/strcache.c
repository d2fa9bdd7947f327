/* strcache.c - the same bytes give the same str.
 * Layer: values.  Owns: one reference to each str it holds.
 * Threads: with the GIL; where a str is let go, another thread may run, so all is in order before.
 * Errors: NULL with an exception. */
#include "strcache.h"

#include <string.h>

#include "values.h"

enum {
    FIRST_TAGS = 64,   // places, a power of two
    MOST_TAGS = 8192,  // 2,000 consumers find theirs
    PROBES = 4,
};

/* Only pure ASCII is compared: its characters are its UTF-8 bytes. */
static inline int
same_text(PyObject *text, const uint8_t *bytes, size_t n)
{
    return text != NULL && PyUnicode_IS_COMPACT_ASCII(text) && (size_t)PyUnicode_GET_LENGTH(text) == n
           && memcmp(PyUnicode_1BYTE_DATA(text), bytes, n) == 0;
}

static inline int
cacheable(PyObject *text)
{
    return PyUnicode_CheckExact(text) && PyUnicode_IS_COMPACT_ASCII(text);
}

static PyObject *
last_or_new(PyObject **last, const uint8_t *bytes, size_t n)
{
    if (same_text(*last, bytes, n)) {
        return Py_NewRef(*last);
    }
    PyObject *text = cpika_text_decode(bytes, n);
    if (text != NULL && cacheable(text)) {
        Py_XSETREF(*last, Py_NewRef(text));
    }
    return text;
}

/* Eight bytes a step: tags are ~38 bytes, and a byte-wise hash would cost as much as making the str. */
uint64_t
cpika_hash_bytes(uint64_t seed, const uint8_t *bytes, size_t n)
{
    uint64_t h = seed ^ n * UINT64_C(0x9E3779B97F4A7C15);
    for (; n >= 8; bytes += 8, n -= 8) {
        uint64_t chunk;
        memcpy(&chunk, bytes, 8);
        h = (h ^ chunk) * UINT64_C(0xFF51AFD7ED558CCD);
        h ^= h >> 32;
    }
    uint64_t tail = 0;
    memcpy(&tail, bytes, n);
    h = (h ^ tail) * UINT64_C(0xFF51AFD7ED558CCD);
    return h ^ h >> 32;
}

static void
drop_tags(PyObject **tags, size_t cap)
{
    for (size_t i = 0; i < cap; i++) {
        Py_XDECREF(tags[i]);
    }
    PyMem_Free(tags);
}

/* Twice the room, so that many consumers do not push each other out.  Without memory it stays as it is. */
static void
grow_tags(cpika_strcache *cache)
{
    PyObject **before = cache->tags;
    size_t cap_before = cache->cap;
    size_t cap = cap_before > 0 ? cap_before * 2 : FIRST_TAGS;
    PyObject **tags = PyMem_Calloc(cap, sizeof *tags);
    if (tags == NULL) {
        return;
    }
    for (size_t i = 0; i < cap_before; i++) {
        PyObject *text = before[i];
        if (text == NULL) {
            continue;
        }
        uint64_t h = cpika_hash_bytes(0, PyUnicode_1BYTE_DATA(text), (size_t)PyUnicode_GET_LENGTH(text));
        size_t at = h & (cap - 1);
        for (int probe = 0; probe < PROBES && tags[at] != NULL; probe++) {
            at = (at + 1) & (cap - 1);
        }
        before[i] = tags[at];  // whom it pushes out, if anybody
        tags[at] = text;
    }
    cache->tags = tags;
    cache->cap = cap;
    drop_tags(before, cap_before);
}

PyObject *
cpika_strcache_tag(cpika_strcache *cache, const uint8_t *bytes, size_t n)
{
    if (same_text(cache->last_tag, bytes, n)) {
        return Py_NewRef(cache->last_tag);
    }
    uint64_t h = cpika_hash_bytes(0, bytes, n);
    size_t mask = cache->cap - 1;
    size_t free_place = SIZE_MAX;
    for (size_t probe = 0; cache->cap > 0 && probe < PROBES; probe++) {
        size_t at = (h + probe) & mask;
        if (cache->tags[at] == NULL) {
            free_place = at;
            break;
        }
        if (same_text(cache->tags[at], bytes, n)) {
            PyObject *found = Py_NewRef(cache->tags[at]);
            Py_XSETREF(cache->last_tag, Py_NewRef(found));
            return found;
        }
    }
    PyObject *text = cpika_text_decode(bytes, n);
    if (text == NULL || !cacheable(text)) {
        return text;
    }
    if (free_place == SIZE_MAX) {
        if (cache->cap < MOST_TAGS) {
            grow_tags(cache);
        }
        free_place = h & (cache->cap - 1);  // whoever stands there is asked for less, or comes again
    }
    if (cache->cap > 0) {
        Py_XSETREF(cache->tags[free_place], Py_NewRef(text));
    }
    return text;
}

PyObject *
cpika_strcache_exchange(cpika_strcache *cache, const uint8_t *bytes, size_t n)
{
    return last_or_new(&cache->last_exchange, bytes, n);
}

PyObject *
cpika_strcache_key(cpika_strcache *cache, const uint8_t *bytes, size_t n)
{
    return last_or_new(&cache->last_key, bytes, n);
}

void
cpika_strcache_keep(cpika_strcache *cache, const uint8_t *payload, size_t n, size_t fixed_at, PyObject *tag,
                    PyObject *exchange, PyObject *key)
{
    cpika_kept_deliver *kept = &cache->deliver;
    if (n > CPIKA_KEPT_DELIVER) {
        return;
    }
    PyObject *before[] = {kept->tag, kept->exchange, kept->key};
    memcpy(kept->payload, payload, n);
    kept->size = n;
    kept->fixed_at = fixed_at;
    kept->tag = Py_NewRef(tag);
    kept->exchange = Py_NewRef(exchange);
    kept->key = Py_NewRef(key);
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        Py_XDECREF(before[i]);
    }
}

void
cpika_strcache_clear(cpika_strcache *cache)
{
    Py_CLEAR(cache->deliver.tag);
    Py_CLEAR(cache->deliver.exchange);
    Py_CLEAR(cache->deliver.key);
    Py_CLEAR(cache->last_exchange);
    Py_CLEAR(cache->last_key);
    Py_CLEAR(cache->last_tag);
    PyObject **tags = cache->tags;
    size_t cap = cache->cap;
    cache->tags = NULL;
    cache->cap = 0;
    drop_tags(tags, cap);
}
