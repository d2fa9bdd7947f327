/* channel.h - what the protocol knows of a channel.
 * Layer: engine.
 * Owns: see the struct.  Threads: with the GIL.  Nothing here runs user code.
 * Errors: a cpika_status. */
#ifndef CPIKA_ENGINE_CHANNEL_H
#define CPIKA_ENGINE_CHANNEL_H

#include "confirms.h"  // Python.h before any other header
#include "consumers.h"
#include "content.h"
#include "ending.h"
#include "events.h"
#include "requests.h"
#include "window.h"

struct cpika_engine;

/* States of pika.channel.Channel, same numbers. */
enum { CHANNEL_CLOSED = 0, CHANNEL_OPENING = 1, CHANNEL_OPEN = 2, CHANNEL_CLOSING = 3 };

/* Who closed it. */
typedef enum {
    CPIKA_CLOSED_NOT,
    CPIKA_CLOSED_BY_BROKER,  // Channel.Close: `reason`
    CPIKA_CLOSED_BY_CLIENT,
    CPIKA_CLOSED_WITH_CONNECTION,
} cpika_closed_by;

typedef struct cpika_channel {
    // What each delivery needs stands close together, at the front: of 2,000 channels most are in no cache.  It ends
    // with content.method_id, 128 bytes into a CpikaChannel.
    uint16_t number;
    uint8_t state;
    bool confirming;      // Confirm.Select has left: the broker counts what is published
    bool close_sent;      // Channel.Close has left: nothing may follow it
    bool close_left;      // the same as leaving.h saw it
    bool tells_verdicts;  // each Basic.Ack and Basic.Nack of the broker becomes a notice, too
    cpika_channel_events events;
    cpika_consumers consumers;
    cpika_content content;
    PyObject *owner;              // borrowed: the Python object that it is a part of
    struct cpika_engine *engine;  // borrowed from that object; NULL before it is opened
    cpika_requests requests;
    cpika_confirm *confirms;  // publishes in flight that are awaited one by one
    cpika_window *windows;    // publishes that a call or a block awaits together; innermost first
    uint64_t published;       // delivery tag of the last publish in confirm mode
    cpika_event
        *coffin;  // owned: carries the engine's hold on `owner` to the grave; no memory is asked for then
    cpika_closed_by closed_by;
    int return_callbacks;  // how many are to see a message that comes back
    cpika_reason *reason;  // owned: what Channel.Close said; NULL before it has come
} cpika_channel;

/* Frees what it owns but its events, which are the engine's. */
void cpika_channel_free(cpika_channel *ch);

/* Nobody who waits on the channel will be answered any more. */
void cpika_channel_fail_all(cpika_channel *ch);

/* The broker's word for publishes. */
int cpika_channel_settle(cpika_channel *ch, const cpika_verdict *v);

/* A message came back: notes it for the oldest publish in flight that is like it. */
int cpika_channel_note_return(cpika_channel *ch, cpika_message *message);

#endif
