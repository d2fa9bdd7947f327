/* window.c - see window.h.
 * Layer: engine.  Owns: see window.h.  Threads: with the GIL.  Errors: see window.h. */
#include "window.h"

enum { FIRST_CAPACITY = 256, FIRST_INDEXES = 16 };

int
cpika_indexes_append(cpika_indexes *list, uint64_t index)
{
    if (list->count == list->cap) {
        size_t cap = list->cap > 0 ? list->cap * 2 : FIRST_INDEXES;
        uint64_t *items = PyMem_Realloc(list->items, cap * sizeof *items);
        if (items == NULL) {
            return CPIKA_E_NOMEM;
        }
        list->items = items;
        list->cap = cap;
    }
    list->items[list->count++] = index;
    return CPIKA_OK;
}

cpika_window *
cpika_window_new(uint64_t first_tag, uint64_t before)
{
    cpika_window *w = PyMem_Calloc(1, sizeof *w);
    if (w != NULL) {
        w->first_tag = w->base = w->next = first_tag;
        w->before = before;
    }
    return w;
}

void
cpika_window_free(cpika_window *w)
{
    for (size_t i = 0; i < w->returned.count; i++) {
        cpika_message_decref(w->messages[i]);
    }
    PyMem_Free(w->messages);
    PyMem_Free(w->returned.items);
    PyMem_Free(w->nacked.items);
    PyMem_Free(w->ring);
    PyMem_Free(w);
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
        return CPIKA_E_NOMEM;
    }
    for (uint64_t tag = w->base; tag < w->next; tag++) {
        ring[tag & (cap - 1)] = *entry_of(w, tag);
    }
    PyMem_Free(w->ring);
    w->ring = ring;
    w->cap = cap;
    return CPIKA_OK;
}

/* Drops what is settled at the old end. */
static void
advance(cpika_window *w)
{
    while (w->base < w->next && entry_of(w, w->base)->settled) {
        w->base++;
    }
}

/* Of the next publish of ours. */
static uint64_t
next_index(const cpika_window *w)
{
    return w->before + w->next - w->first_tag - w->foreign;
}

int
cpika_window_reserve(cpika_window *w)
{
    return w->next - w->base == w->cap ? grow(w) : CPIKA_OK;
}

void
cpika_window_add(cpika_window *w, uint64_t hash, bool foreign)
{
    *entry_of(w, w->next) = (cpika_publish_entry){hash, foreign, foreign, next_index(w)};
    w->next++;
    if (foreign) {
        w->foreign++;
        advance(w);
    } else {
        w->unconfirmed++;
    }
}

static int
settle_one(cpika_window *w, uint64_t tag, bool nacked)
{
    cpika_publish_entry *entry = entry_of(w, tag);
    if (entry->settled) {
        return CPIKA_OK;
    }
    entry->settled = true;
    w->unconfirmed--;
    return nacked ? cpika_indexes_append(&w->nacked, entry->index) : CPIKA_OK;
}

int
cpika_window_settle(cpika_window *w, const cpika_verdict *v)
{
    bool all = v->multiple && v->tag == 0;
    if (w->base == w->next || v->tag >= w->next || (v->tag < w->base && !all)) {
        return CPIKA_OK;  // of an earlier call that was interrupted
    }
    uint64_t last = all ? w->next - 1 : v->tag;
    int rc = CPIKA_OK;
    for (uint64_t t = v->multiple ? w->base : last; t <= last && rc == CPIKA_OK; t++) {
        rc = settle_one(w, t, v->nack);
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
cpika_window_note_return(cpika_window *w, uint64_t tag, cpika_message *message)
{
    cpika_publish_entry *entry = entry_of(w, tag);
    size_t n = w->returned.count;
    if (cpika_indexes_append(&w->returned, entry->index) < 0) {
        return CPIKA_E_NOMEM;
    }
    cpika_message **messages = PyMem_Realloc(w->messages, w->returned.cap * sizeof *messages);
    if (messages == NULL) {
        w->returned.count = n;
        return CPIKA_E_NOMEM;
    }
    w->messages = messages;
    w->messages[n] = cpika_message_incref(message);
    entry->hash = 0;  // the next one like it is another publish
    return CPIKA_OK;
}

uint64_t
cpika_window_leading(const cpika_window *w)
{
    return w->before > 0 ? 0 : w->base < w->next ? entry_of(w, w->base)->index : next_index(w);
}

int
cpika_window_unconfirmed(const cpika_window *w, cpika_indexes *out)
{
    int rc = CPIKA_OK;
    for (uint64_t index = 0; index < w->before && rc == CPIKA_OK; index++) {
        rc = cpika_indexes_append(out, index);
    }
    for (uint64_t tag = w->base; tag < w->next && rc == CPIKA_OK; tag++) {
        const cpika_publish_entry *entry = entry_of(w, tag);
        if (!entry->settled) {
            rc = cpika_indexes_append(out, entry->index);
        }
    }
    return rc;
}

int
cpika_window_refused(const cpika_window *w, cpika_indexes *out)
{
    int rc = CPIKA_OK;
    for (size_t i = 0; i < w->nacked.count && rc == CPIKA_OK; i++) {
        rc = cpika_indexes_append(out, w->nacked.items[i]);
    }
    for (size_t i = 0; i < w->returned.count && rc == CPIKA_OK; i++) {
        rc = cpika_indexes_append(out, w->returned.items[i]);
    }
    return rc;
}
