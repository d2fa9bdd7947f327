/* events.h - what has happened and waits for the driver to run it: deliveries, returns, cancels, log records.
 * Layer: engine.
 * Owns: the events and what they refer to.
 * Threads: with the GIL.  Taking and queueing run no user code; cpika_event_free may (the last reference to a channel),
 *          so it is the driver's to call, never while a frame is handled: until then what is not wanted lies in a grave.
 * Errors: NULL or CPIKA_E_NOMEM.
 *
 * An event stands in two lists: of all, in the order of arrival, and of its channel.  So the first one that may run is
 * found at once where one call dispatches everything, and without passing the others where several do. */
#ifndef CPIKA_ENGINE_EVENTS_H
#define CPIKA_ENGINE_EVENTS_H

#include "message.h"  // Python.h before any other header

#include <stdbool.h>

struct cpika_channel;

typedef enum {
    // of a channel, for its callbacks
    CPIKA_EVENT_DELIVERY,  // message
    CPIKA_EVENT_RETURN,    // message; `number`: which callback
    CPIKA_EVENT_CANCEL,    // message: the broker's Basic.Cancel
    CPIKA_EVENT_OBJECT,    // object with dispatch()
    // where everything is told (engine.h): in the one list, in the stream's order, with deliveries
    CPIKA_EVENT_METHOD,   // message: a method without content, of a channel or (NULL) of the connection
    CPIKA_EVENT_CONTENT,  // message: what Basic.Get brought, or came back
    // notices, for the log and the Python side's books
    CPIKA_NOTICE_METHOD,          // message: a method that nobody awaits
    CPIKA_NOTICE_RETURNED,        // message: came back to a channel in confirm mode
    CPIKA_NOTICE_UNEXPECTED,      // message: a delivery for a consumer that is not there
    CPIKA_NOTICE_CHANNEL_CLOSED,  // the broker closed the channel; `number`: its state before
    CPIKA_NOTICE_ENDED,           // the connection
} cpika_event_kind;

typedef struct cpika_event {
    struct cpika_event *next;  // of all
    struct cpika_event *prev;
    struct cpika_event *next_of_channel;
    struct cpika_channel *channel;  // its Python object is held; NULL: of the connection
    PyObject *owner;                // owned: that object
    cpika_message *message;         // counted, or NULL
    PyObject *object;               // owned, or NULL
    cpika_event_kind kind;
    int number;
} cpika_event;

typedef struct {
    cpika_event *first;
    cpika_event *last;
    size_t count;
    size_t removals;  // so far
} cpika_events;

/* Those of one channel. */
typedef struct {
    cpika_event *first;
    cpika_event *last;
} cpika_channel_events;

/* New event of no list; takes over `message` (also when it fails), holds `owner` (NULL: none). */
cpika_event *cpika_event_new(cpika_event_kind kind, struct cpika_channel *channel, PyObject *owner,
                             cpika_message *message);
void cpika_event_free(cpika_event *event);

/* Behind all others.  `own` is the list of its channel; NULL: it stands in the one list only. */
void cpika_events_append(cpika_events *all, cpika_channel_events *own, cpika_event *event);

/* In front of all others: where it was taken from, if its channel is the first that has one. */
void cpika_events_put_back(cpika_events *all, cpika_channel_events *own, cpika_event *event);

/* Takes out the first event of a channel, or of the list. */
cpika_event *cpika_events_take_first_of(cpika_events *all, cpika_channel_events *own);
cpika_event *cpika_events_take_first(cpika_events *all);

/* Takes out this event of a channel, which stands behind `before` there (NULL: it is the first). */
void cpika_events_take(cpika_events *all, cpika_channel_events *own, cpika_event *before, cpika_event *event);

/* A consumer's tag: bytes of somebody else. */
typedef struct {
    const uint8_t *bytes;
    size_t n;
} cpika_consumer_tag;

/* Whether a delivery or a cancellation is that consumer's. */
bool cpika_event_is_of(const cpika_event *event, const cpika_consumer_tag *tag);

bool cpika_events_has_of_consumer(const cpika_channel_events *own, const cpika_consumer_tag *tag);

/* How far a channel's events have been gone through; zeros: not at all.  It holds as long as nobody else takes one out. */
typedef struct {
    cpika_event *before;  // the last of those that are others'
    size_t removals;
} cpika_events_place;

/* Takes out the first event of that consumer, at or behind the place; NULL: there is none. */
cpika_event *cpika_events_take_of_consumer(cpika_events *all, cpika_channel_events *own,
                                           const cpika_consumer_tag *tag, cpika_events_place *place);

/* Moves all events of a channel to the end of `to`, in order. */
void cpika_events_move(cpika_events *all, cpika_channel_events *own, cpika_events *to);

#endif
