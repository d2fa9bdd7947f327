/* consumers.h - the consumers of a channel, as the broker knows them: by tag.
 * Layer: engine.
 * Owns: the tags.  Threads: with the GIL.  Nothing here runs user code.
 * Errors: CPIKA_E_NOMEM. */
#ifndef CPIKA_ENGINE_CONSUMERS_H
#define CPIKA_ENGINE_CONSUMERS_H

#include "values/compat.h"  // Python.h before any other header

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "events.h"

typedef struct {
    uint64_t hash;
    uint8_t *tag;  // owned; NULL: a free place
    size_t len;
    bool refused;  // it is being cancelled, or nobody waits for it: what is delivered goes back
} cpika_consumer;

typedef struct cpika_consumer_table cpika_consumer_table;

/* Small, as a part of each channel, of which each delivery asks how many are refused. */
typedef struct {
    size_t refused;
    cpika_consumer_table *table;  // owned; NULL before the first
} cpika_consumers;

void cpika_consumers_free(cpika_consumers *set);

/* NULL: there is none. */
cpika_consumer *cpika_consumers_find(cpika_consumers *set, const cpika_consumer_tag *tag);

/* Adds it, unless it is there. */
int cpika_consumers_add(cpika_consumers *set, const cpika_consumer_tag *tag);
void cpika_consumers_remove(cpika_consumers *set, const cpika_consumer_tag *tag);

/* From now on what is delivered to it goes back; it is added if it is not there. */
int cpika_consumers_refuse(cpika_consumers *set, const cpika_consumer_tag *tag);

#endif
