/* window.h - publishes that were sent and wait for their confirms, many at a time.
 * Layer: engine.
 * Owns: its ring and its lists; the messages in them are counted.  A window lies on the heap: a channel refers to it while
 *       its call waits, and where greenlets switch a stack is not where it was.
 * Threads: with the GIL.  Nothing here runs user code.
 * Errors: CPIKA_E_NOMEM, NULL.
 *
 * A publish is known by its index, 0 for the first.  Basic.Return carries no delivery tag, and the confirms of earlier
 * publishes may come between it and its own: what comes back is found by a hash of exchange, routing key and body, the
 * oldest first. */
#ifndef CPIKA_ENGINE_WINDOW_H
#define CPIKA_ENGINE_WINDOW_H

#include "message.h"  // Python.h before any other header

#include <stdbool.h>

#include "confirms.h"
#include "wire/status.h"

typedef struct {
    uint64_t hash;   // of a mandatory publish; 0: nothing comes back
    bool settled;    // confirmed or refused
    bool foreign;    // of another call on this channel: has a tag here, but no part
    uint64_t index;  // of a publish of ours: how many of ours came before it
} cpika_publish_entry;

typedef struct {
    uint64_t *items;
    size_t count, cap;
} cpika_indexes;

typedef struct cpika_window {
    struct cpika_window *outer;  // the next one on this channel; NULL: none
    cpika_publish_entry *ring;   // of tags base..next, by tag & (cap - 1)
    size_t cap;
    uint64_t first_tag;  // delivery tag of the first publish
    uint64_t before;     // publishes that have gone before without one: nothing ever confirms them
    uint64_t base;       // lowest tag not settled
    uint64_t next;       // tag of the next publish
    uint64_t foreign;    // entries of others so far
    size_t unconfirmed;
    bool over;               // channel or connection closed: nothing more is confirmed
    size_t bearable;         // the call that waits for room goes on when no more are unconfirmed
    cpika_indexes nacked;    // in order of arrival
    cpika_indexes returned;  // each has its message at the same place:
    cpika_message **messages;
} cpika_window;

/* New window that begins with the tag that the next publish gets; `before` of ours have gone without one. */
cpika_window *cpika_window_new(uint64_t first_tag, uint64_t before);
void cpika_window_free(cpika_window *w);

/* Makes room for the next publish. */
int cpika_window_reserve(cpika_window *w);

/* The next publish, for which there is room, is one of ours (`hash` of cpika_identity_hash, 0 if not mandatory), or another
 * call's. */
void cpika_window_add(cpika_window *w, uint64_t hash, bool foreign);

/* The broker's word for a tag, or for all up to it. */
int cpika_window_settle(cpika_window *w, const cpika_verdict *v);

/* The tag of the oldest unconfirmed publish with this hash; UINT64_MAX: none. */
uint64_t cpika_window_find(const cpika_window *w, uint64_t hash);

/* The publish with this tag, one that cpika_window_find found, came back: notes its index and the message. */
int cpika_window_note_return(cpika_window *w, uint64_t tag, cpika_message *message);

/* Whether the broker refused or returned something. */
static inline bool
cpika_window_failed(const cpika_window *w)
{
    return w->nacked.count > 0 || w->returned.count > 0;
}

/* How many publishes from the first on are settled without a gap, refused ones too. */
uint64_t cpika_window_leading(const cpika_window *w);

/* Appends the indexes that are not settled, or those that the broker refused or returned. */
int cpika_window_unconfirmed(const cpika_window *w, cpika_indexes *out);
int cpika_window_refused(const cpika_window *w, cpika_indexes *out);

int cpika_indexes_append(cpika_indexes *list, uint64_t index);

#endif
