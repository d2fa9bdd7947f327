/* consumers.c - see consumers.h.
 * Layer: engine.  Owns: see consumers.h.  Threads: with the GIL.  Errors: see consumers.h. */
#include "consumers.h"

#include <string.h>

#include "hash.h"
#include "wire/status.h"

enum { FIRST_PLACES = 8 };

struct cpika_consumer_table {
    size_t cap, count;
    size_t last;              // place that was looked for last: a guess, which may be free by now
    cpika_consumer places[];  // by hash, one behind the other where several meet
};

void
cpika_consumers_free(cpika_consumers *set)
{
    cpika_consumer_table *t = set->table;
    for (size_t i = 0; t != NULL && i < t->cap; i++) {
        PyMem_Free(t->places[i].tag);
    }
    PyMem_Free(t);
    *set = (cpika_consumers){0};
}

static uint64_t
hash_of(const cpika_consumer_tag *tag)
{
    return cpika_identity_hash(&(cpika_identity){.key = tag->bytes, .key_len = tag->n});
}

/* Its place, or the free one where it would stand. */
static cpika_consumer *
place_of(cpika_consumer_table *t, uint64_t hash, const cpika_consumer_tag *tag)
{
    for (size_t at = hash & (t->cap - 1);; at = (at + 1) & (t->cap - 1)) {
        cpika_consumer *c = &t->places[at];
        if (c->tag == NULL
            || (c->hash == hash && c->len == tag->n && memcmp(c->tag, tag->bytes, tag->n) == 0)) {
            return c;
        }
    }
}

cpika_consumer *
cpika_consumers_find(cpika_consumers *set, const cpika_consumer_tag *tag)
{
    cpika_consumer_table *t = set->table;
    if (t == NULL || t->count == 0) {
        return NULL;
    }
    // Messages of one consumer follow each other; a hash of its tag costs as much as the rest of a delivery.
    cpika_consumer *c = &t->places[t->last & (t->cap - 1)];
    if (c->tag == NULL || c->len != tag->n || memcmp(c->tag, tag->bytes, tag->n) != 0) {
        c = place_of(t, hash_of(tag), tag);
        t->last = (size_t)(c - t->places);
    }
    return c->tag != NULL ? c : NULL;
}

static int
grow(cpika_consumers *set)
{
    cpika_consumer_table *t = set->table;
    size_t cap = t != NULL ? t->cap * 2 : FIRST_PLACES;
    cpika_consumer_table *larger = PyMem_Calloc(1, sizeof *larger + cap * sizeof larger->places[0]);
    if (larger == NULL) {
        return CPIKA_E_NOMEM;
    }
    larger->cap = cap;
    for (size_t i = 0; t != NULL && i < t->cap; i++) {
        const cpika_consumer *c = &t->places[i];
        if (c->tag != NULL) {
            *place_of(larger, c->hash, &(cpika_consumer_tag){c->tag, c->len}) = *c;
            larger->count++;
        }
    }
    PyMem_Free(t);
    set->table = larger;
    return CPIKA_OK;
}

int
cpika_consumers_add(cpika_consumers *set, const cpika_consumer_tag *tag)
{
    if ((set->table == NULL || set->table->count >= set->table->cap / 2) && grow(set) < 0) {
        return CPIKA_E_NOMEM;
    }
    uint64_t hash = hash_of(tag);
    cpika_consumer *c = place_of(set->table, hash, tag);
    if (c->tag != NULL) {
        return CPIKA_OK;
    }
    c->tag = PyMem_Malloc(tag->n > 0 ? tag->n : 1);
    if (c->tag == NULL) {
        return CPIKA_E_NOMEM;
    }
    memcpy(c->tag, tag->bytes, tag->n);
    c->hash = hash;
    c->len = tag->n;
    c->refused = false;
    set->table->count++;
    return CPIKA_OK;
}

void
cpika_consumers_remove(cpika_consumers *set, const cpika_consumer_tag *tag)
{
    cpika_consumer *gone = cpika_consumers_find(set, tag);
    if (gone == NULL) {
        return;
    }
    cpika_consumer_table *t = set->table;
    t->count--;
    set->refused -= gone->refused;
    PyMem_Free(gone->tag);
    *gone = (cpika_consumer){0};
    // Those behind it may have been pushed on by it.
    size_t mask = t->cap - 1;
    for (size_t at = ((size_t)(gone - t->places) + 1) & mask; t->places[at].tag != NULL;
         at = (at + 1) & mask) {
        cpika_consumer moved = t->places[at];
        t->places[at] = (cpika_consumer){0};
        *place_of(t, moved.hash, &(cpika_consumer_tag){moved.tag, moved.len}) = moved;
    }
}

int
cpika_consumers_refuse(cpika_consumers *set, const cpika_consumer_tag *tag)
{
    if (cpika_consumers_add(set, tag) < 0) {
        return CPIKA_E_NOMEM;
    }
    cpika_consumer *c = cpika_consumers_find(set, tag);
    set->refused += !c->refused;
    c->refused = true;
    return CPIKA_OK;
}
