/* objects.h - the two Python objects as structs: what drivers and the types on top share.
 * Layer: drivers.
 * Owns: see the structs.  Threads: with the GIL.
 * Errors: none. */
#ifndef CPIKA_DRIVERS_OBJECTS_H
#define CPIKA_DRIVERS_OBJECTS_H

#include "roles.h"  // Python.h before any other header

#include <stddef.h>

#include "offer.h"
#include "transport.h"
#include "values/consumer.h"
#include "values/strcache.h"

/* What an event loop that drives a connection has left with it: see loop.h. */
typedef struct {
    PyObject *handler;        // owned: told what happens; NULL: no loop drives it
    PyObject *soon;           // owned: has the loop call what it is given, in its next turn
    PyObject *flush;          // owned: what that is to call
    PyObject *asked;          // borrowed: the wish for a flush that stands, see asked.h; NULL: none
    bool repeated;            // that one took the place of one that was lost
    uint64_t asked_again_at;  // `reads`, when the last was made beside one that stood
    PyObject *outcome;  // owned: told what a call of the loop's leaves to be done; NULL: nobody is, any more
    int told;           // the bits that it was told last
    unsigned long thread;  // the loop's
    int inside;            // calls of the loop that run callbacks: their output leaves at their end
    bool above;            // more output is queued than `high`, and has not come down to `low`
    size_t high, low;      // bytes
    uint64_t reads;        // counts the loop's calls
    uint64_t sent_at;      // that count when another thread last sent by itself
} cpika_loop;

typedef struct {
    PyObject_HEAD
    cpika_state *st;
    PyObject *weakrefs;
    cpika_engine engine;
    cpika_transport io;
    cpika_roles roles;
    cpika_loop loop;
    struct cpika_claim *claims;  // borrowed, newest first
    cpika_offer offer;           // of the loops of C (rule 1)
    cpika_strcache strings;      // of deliveries
    cpika_buf scratch;           // taken by the call that encodes, given back after
    PyObject *reserved;  // owned bytearray: a bit for each channel number that an unopened channel has
    PyObject *address;   // owned tuple: host and port, as exceptions name them; NULL: none
} CpikaConnection;

/* A thread's or greenlet's `with channel.buffered()`, with those inside it: see api/buffered.h. */
struct cpika_block;

/* What a call of a channel leaves for process_data_events(): see api/claim.h. */
struct cpika_claim;

typedef struct {
    PyObject_HEAD
    // From here to the middle of `engine` stands what each delivery needs: see engine/channel.h.
    CpikaConnection *conn;     // owned; NULL before __init__
    PyObject *consumer_infos;  // owned dict: tag -> _ConsumerInfo
    PyObject *found_tag;       // owned: looked up in it last; NULL: none, or it was handed out since
    PyObject *found_info;      // owned
    CpikaConsumerInfo *refused_in_hand;  // owned: the consumer that was cancelled last meanwhile; or NULL
    bool in_hand;      // a message is on its way from the engine to the program: see deliver.h
    bool reserves;     // its number, until it is opened
    uint32_t forgets;  // how often found_tag was forgotten
    union {
        cpika_driven_channel driven;
        struct {
            cpika_channel_roles roles;
            cpika_channel engine;
        };
    };
    cpika_state *st;
    PyObject *weakrefs;
    PyObject *generator;         // owned: what consume() goes by; NULL: it does not
    PyObject *closing_reason;    // owned exception, or NULL: not made yet, or there is none
    struct cpika_block *blocks;  // of those who are inside `with channel.buffered()`
} CpikaChannel;

static inline CpikaChannel *
cpika_channel_object(cpika_channel *ch)
{
    return (CpikaChannel *)((char *)ch - offsetof(CpikaChannel, engine));
}

#endif
