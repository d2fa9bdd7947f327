/* window.c - publishes that were sent and wait for their confirms.
 * Layer: core.  Owns: see window.h.  Threads: with the GIL.
 * Errors: -1 with an exception. */
#include "window.h"

#include "values/compat.h"
#include "values/strcache.h"

enum { FIRST_CAPACITY = 256 };

int
cpika_window_init(cpika_window *w, uint64_t first_tag)
{
    *w = (cpika_window){.first_tag = first_tag, .base = first_tag, .next = first_tag};
    w->nacked = PyList_New(0);
    w->returned = PyList_New(0);
    w->messages = PyList_New(0);
    if (w->nacked == NULL || w->returned == NULL || w->messages == NULL) {
        cpika_window_free(w);
        return -1;
    }
    return 0;
}

void
cpika_window_free(cpika_window *w)
{
    PyMem_Free(w->ring);
    w->ring = NULL;
    w->cap = 0;
    Py_CLEAR(w->nacked);
    Py_CLEAR(w->returned);
    Py_CLEAR(w->messages);
}

static cpika_publish_entry *
entry_of(const cpika_window *w, uint64_t tag)
{
    return &w->ring[tag & (w->cap - 1)];
}

static int
grow(cpika_window *w)
{
    size_t cap = w->cap > 0 ? w->cap * 2 : FIRST_CAPACITY;
    cpika_publish_entry *ring = PyMem_Calloc(cap, sizeof *ring);
    if (ring == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (uint64_t tag = w->base; tag < w->next; tag++) {
        ring[tag & (cap - 1)] = *entry_of(w, tag);
    }
    PyMem_Free(w->ring);
    w->ring = ring;
    w->cap = cap;
    return 0;
}

/* Drops what is settled at the old end. */
static void
advance(cpika_window *w)
{
    while (w->base < w->next && entry_of(w, w->base)->settled) {
        w->base++;
    }
}

int
cpika_window_add(cpika_window *w, uint64_t hash, bool foreign)
{
    if (w->next - w->base == w->cap && grow(w) < 0) {
        return -1;
    }
    *entry_of(w, w->next) =
        (cpika_publish_entry){hash, foreign, foreign, w->next - w->first_tag - w->foreign};
    w->next++;
    if (foreign) {
        w->foreign++;
        advance(w);
    } else {
        w->unconfirmed++;
    }
    return 0;
}

static int
append_index(PyObject *list, uint64_t index)
{
    PyObject *number = PyLong_FromUnsignedLongLong(index);
    int rc = number == NULL ? -1 : PyList_Append(list, number);
    Py_XDECREF(number);
    return rc;
}

static int
settle_one(cpika_window *w, uint64_t tag, bool nacked)
{
    cpika_publish_entry *entry = entry_of(w, tag);
    if (entry->settled) {
        return 0;
    }
    entry->settled = true;
    w->unconfirmed--;
    return nacked ? append_index(w->nacked, entry->index) : 0;
}

int
cpika_window_settle(cpika_window *w, uint64_t tag, bool multiple, bool nacked)
{
    if (tag >= w->next || (tag < w->base && !(multiple && tag == 0))) {
        return 0;  // of an earlier call that was interrupted
    }
    // AMQP: with `multiple` and tag 0, all outstanding ones.
    uint64_t last = multiple && tag == 0 ? w->next - 1 : tag;
    int rc = 0;
    for (uint64_t t = multiple ? w->base : last; t <= last && rc == 0; t++) {
        rc = settle_one(w, t, nacked);
    }
    advance(w);
    return rc;
}

uint64_t
cpika_window_find(const cpika_window *w, uint64_t hash)
{
    for (uint64_t tag = w->base; tag < w->next; tag++) {
        const cpika_publish_entry *entry = entry_of(w, tag);
        if (!entry->settled && entry->hash == hash) {
            return tag;
        }
    }
    return UINT64_MAX;
}

int
cpika_window_note_return(cpika_window *w, uint64_t tag, PyObject *message)
{
    cpika_publish_entry *entry = entry_of(w, tag);
    entry->hash = 0;  // the next one like it is another publish
    return append_index(w->returned, entry->index) < 0 ? -1 : PyList_Append(w->messages, message);
}

bool
cpika_window_failed(const cpika_window *w)
{
    return PyList_GET_SIZE(w->nacked) > 0 || PyList_GET_SIZE(w->returned) > 0;
}

PyObject *
cpika_window_refused(const cpika_window *w)
{
    return PySequence_Concat(w->nacked, w->returned);
}

uint64_t
cpika_window_leading(const cpika_window *w)
{
    return w->base < w->next ? entry_of(w, w->base)->index : w->next - w->first_tag - w->foreign;
}

PyObject *
cpika_window_unconfirmed(const cpika_window *w)
{
    PyObject *list = PyList_New(0);
    for (uint64_t tag = w->base; tag < w->next && list != NULL; tag++) {
        const cpika_publish_entry *entry = entry_of(w, tag);
        if (!entry->settled && append_index(list, entry->index) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

uint64_t
cpika_message_hash(const uint8_t *exchange, size_t exchange_len, const uint8_t *key, size_t key_len,
                   const uint8_t *body, size_t body_len)
{
    uint64_t h = cpika_hash_bytes(0, exchange, exchange_len);
    h = cpika_hash_bytes(h, key, key_len);
    h = cpika_hash_bytes(h, body, body_len);
    return h != 0 ? h : 1;
}
