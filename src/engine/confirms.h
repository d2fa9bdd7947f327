/* confirms.h - one publish that awaits the broker's word.
 * Layer: engine.
 * Owns: the confirms in a list that nobody waits for any more; the others belong to their calls.
 * Threads: with the GIL.  Nothing here runs user code.
 * Errors: NULL: no memory. */
#ifndef CPIKA_ENGINE_CONFIRMS_H
#define CPIKA_ENGINE_CONFIRMS_H

#include "message.h"  // Python.h before any other header

#include <stdbool.h>

#include "hash.h"

typedef struct cpika_confirm {
    struct cpika_confirm *next;
    uint64_t delivery_tag;    // 0: not sent
    cpika_identity identity;  // the caller's bytes, as long as it waits
    uint64_t hash;            // of those bytes, once nobody waits; 0: not yet, or not mandatory
    bool mandatory;           // it may come back
    bool settled;             // the broker has answered
    bool failed;              // channel or connection closed before that
    bool nacked;
    bool multiple;  // bits of the Nack, for the log
    bool requeue;
    bool abandoned;
    uint64_t nack_tag;
    cpika_message *returned;  // counted; NULL: it has not come back
} cpika_confirm;

cpika_confirm *cpika_confirm_new(void);
void cpika_confirm_free(cpika_confirm *c);

/* The broker's word for a tag, or for all up to it (with tag 0: for all). */
typedef struct {
    uint64_t tag;
    bool multiple, nack, requeue;
} cpika_verdict;

static inline bool
cpika_verdict_covers(const cpika_verdict *v, uint64_t tag)
{
    return v->tag == tag || (v->multiple && (v->tag == 0 || tag <= v->tag));
}

/* Takes those that are settled out of the list; abandoned ones are freed.  Whether there was one. */
bool cpika_confirms_settle(cpika_confirm **list, const cpika_verdict *v);

/* None of them will be answered any more; the list is empty. */
void cpika_confirms_fail(cpika_confirm **list);

/* Whether that message may be this one that came back. */
bool cpika_confirm_is(const cpika_confirm *c, const cpika_identity *identity);

/* Its call waits no more: what is still in the list, sent and not answered, belongs to the engine; else it is freed. */
void cpika_confirm_abandon(cpika_confirm *c);

#endif
