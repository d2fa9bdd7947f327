/* window.h - publishes that were sent and wait for their confirms, many at a time.
 * Layer: core.
 * Owns: its ring and its lists.  Threads: with the GIL.
 * Errors: -1 with an exception.
 *
 * A publish is known by its index, 0 for the first.  Basic.Return carries no delivery tag, and the confirms of earlier
 * publishes may come between it and its own: what comes back is found by a hash of exchange, routing key and body, the
 * oldest first. */
#ifndef CPIKA_CORE_WINDOW_H
#define CPIKA_CORE_WINDOW_H

#include "values/state.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t hash;   // of a mandatory publish; 0: nothing comes back
    bool settled;    // confirmed or refused
    bool foreign;    // of another call on this channel: has a tag here, but no part
    uint64_t index;  // of a publish of ours: how many of ours came before it
} cpika_publish_entry;

typedef struct cpika_window {
    struct cpika_window *outer;  // the next one on this channel; NULL: none
    cpika_publish_entry *ring;   // of tags base..next, by tag & (cap - 1)
    size_t cap;
    uint64_t first_tag;  // delivery tag of the first publish
    uint64_t base;       // lowest tag not settled
    uint64_t next;       // tag of the next publish
    uint64_t foreign;    // entries of others so far
    size_t unconfirmed;
    PyObject *nacked;    // owned list of indexes, in order of arrival
    PyObject *returned;  // owned list of indexes
    PyObject *messages;  // owned list of ReturnedMessage
} cpika_window;

/* Begins with the tag that the next publish gets.  Pair with cpika_window_free. */
int cpika_window_init(cpika_window *w, uint64_t first_tag);
void cpika_window_free(cpika_window *w);

/* The next publish is one of ours (`hash` of cpika_message_hash, 0 if not mandatory), or another call's. */
int cpika_window_add(cpika_window *w, uint64_t hash, bool foreign);

/* The broker's word for a tag, or for all up to it. */
int cpika_window_settle(cpika_window *w, uint64_t tag, bool multiple, bool nacked);

/* The tag of the oldest unconfirmed publish with this hash; UINT64_MAX: none. */
uint64_t cpika_window_find(const cpika_window *w, uint64_t hash);

/* The publish with this tag, one that cpika_window_find found, came back: notes its index.  `message` is borrowed. */
int cpika_window_note_return(cpika_window *w, uint64_t tag, PyObject *message);

/* Whether the broker refused or returned something. */
bool cpika_window_failed(const cpika_window *w);

/* New list of the indexes that the broker refused or returned; NULL with an exception. */
PyObject *cpika_window_refused(const cpika_window *w);

/* How many publishes from the first on are settled without a gap, refused ones too. */
uint64_t cpika_window_leading(const cpika_window *w);

/* New list of the indexes that are not settled; NULL with an exception. */
PyObject *cpika_window_unconfirmed(const cpika_window *w);

uint64_t cpika_message_hash(const uint8_t *exchange, size_t exchange_len, const uint8_t *key, size_t key_len,
                            const uint8_t *body, size_t body_len);

#endif
