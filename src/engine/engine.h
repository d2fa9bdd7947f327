/* engine.h - the state of a connection: what the protocol did and has yet to do.
 * Layer: engine.
 * Owns: see the struct.
 * Threads: with the GIL, which is its one gate; what the keeper touches stands in the link, under the link's lock.
 * Errors: a cpika_status; what ends the connection becomes a state of it.
 *
 * The contract, on which every driver leans: handling bytes (frames.h) changes this state and appends events.  It sends
 * nothing, waits for nothing and runs no Python code, not even a finalizer: what the connection owes its peer stands in
 * `owed`, what may run user code when it is freed lies in the grave, until the driver comes for them. */
#ifndef CPIKA_ENGINE_ENGINE_H
#define CPIKA_ENGINE_ENGINE_H

#include "channel.h"  // Python.h before any other header

#include "input.h"
#include "leaving.h"
#include "wire/buf.h"
#include "wire/clock.h"
#include "wire/heartbeat.h"

/* States of pika.connection.Connection, same numbers. */
enum {
    CONNECTION_CLOSED = 0,
    CONNECTION_INIT = 1,
    CONNECTION_PROTOCOL = 2,
    CONNECTION_START = 3,
    CONNECTION_TUNE = 4,
    CONNECTION_OPEN = 5,
    CONNECTION_CLOSING = 6,
};

/* A body received straight into its bytes. */
typedef struct {
    cpika_channel *channel;  // borrowed; NULL: none
    size_t left;             // bytes of the frame begun that still belong to it
} cpika_in_place;

typedef struct cpika_engine {
    uint8_t state;
    uint32_t frame_max;
    cpika_ending ending;
    bool
        tells_all;  // every method and message becomes an event; nothing is answered, nothing is closed for it
    bool close_sent;    // Connection.Close has left: nothing may follow it
    bool close_left;    // the same as leaving.h saw it
    bool input_over;    // no more bytes come: `pending_end` applies once those that came are handled
    cpika_ending over;  // why
    // input
    cpika_input in;
    cpika_in_place in_place;
    bool in_place_allowed;  // the driver reads into bodies
    cpika_heartbeat heartbeat;
    uint64_t blocked_timeout_ns;  // blocked_connection_timeout; 0: none
    uint64_t blocked_until_ns;    // Connection.Blocked outlasts it then; 0: not blocked
    uint64_t bytes_received;
    uint64_t frames_received;
    // output
    cpika_buf owed;  // frames that the driver is to send before any other
    uint64_t frames_owed;
    // channels
    cpika_channel **channels;  // by number; their Python objects are held
    size_t channels_cap;
    int channel_seen;         // highest number that was ever opened
    cpika_buf crossed;        // two bytes each: numbers of channels that are over, but for two Close-Oks
    cpika_requests requests;  // of channel 0
    // what has happened
    cpika_events events;   // for callbacks
    cpika_events notices;  // for the log
    cpika_event *end;      // owned: the notice that it has ended, until it has; no memory is asked for then
    cpika_events grave;    // to be freed by the driver
    uint64_t changes;      // counts what somebody may be waiting for
} cpika_engine;

/* CPIKA_E_NOMEM: it is to be freed all the same. */
int cpika_engine_init(cpika_engine *e);

/* Frees what it owns; runs user code. */
void cpika_engine_free(cpika_engine *e);

/* Frees what lies in the grave; runs user code. */
void cpika_engine_bury(cpika_engine *e);

/* ---- channels ---- */

static inline cpika_channel *
cpika_engine_channel(const cpika_engine *e, int number)
{
    return (size_t)number < e->channels_cap ? e->channels[number] : NULL;
}

/* Takes it in, in state OPENING; holds its Python object.  CPIKA_E_NOMEM. */
int cpika_engine_add_channel(cpika_engine *e, cpika_channel *ch);

/* It is closed, for this cause: nobody who waits is answered, its events are dropped unless the connection has ended, its
 * number is free. */
void cpika_engine_close_channel(cpika_engine *e, cpika_channel *ch, cpika_closed_by by);

/* The broker's Channel.Close has come while ours is with the broker: the channel is over, and the caller closes it.  Our
 * Close-Ok is kept back until the broker's has come, and the number with it: RabbitMQ ends the process that writes for the
 * channel when it reads ours, and loses a Close-Ok that is not written by then.  CPIKA_E_NOMEM. */
int cpika_engine_cross(cpika_engine *e, const cpika_channel *ch);

/* Whether a number is such a one: for a new channel only where there is no other. */
bool cpika_engine_is_crossed(const cpika_engine *e, int number);

/* It is none any more, if it was one: our Close-Ok has left. */
void cpika_engine_uncross(cpika_engine *e, int number);

/* Owes the Close-Ok, if it is one, and it is none any more.  CPIKA_E_NOMEM: it stays one. */
int cpika_engine_answer_crossed(cpika_engine *e, int number);

/* Whether a frame may be sent on a channel. */
static inline bool
cpika_channel_may_send(const cpika_channel *ch)
{
    return ch->state == CHANNEL_OPEN && !ch->close_sent && !ch->engine->close_sent;
}

/* ---- what is owed ---- */

/* Appends a method frame to what is owed. */
int cpika_engine_owe(cpika_engine *e, uint16_t channel, uint32_t id, const uint8_t *arguments, size_t n);

/* Basic.Reject with requeue, unless the channel may send nothing any more. */
int cpika_engine_owe_reject(cpika_engine *e, cpika_channel *ch, uint64_t delivery_tag);

/* ---- requests ---- */

cpika_requests *cpika_engine_requests(cpika_engine *e, cpika_channel *ch);

/* A driver that sends methods itself has one in its output: the broker counts whatever is published behind Confirm.Select. */
void cpika_engine_note_confirm_select(cpika_engine *e, const uint8_t *frame, size_t n);

/* Joins those of its channel (NULL: of the connection): see cpika_requests_join.  Never CPIKA_OK after Channel.Close. */
int cpika_engine_request(cpika_engine *e, cpika_channel *ch, cpika_request *r, const uint8_t *bytes,
                         size_t n);

/* Its caller waits no more: what was not sent will not be; what was is undone when its answer comes. */
void cpika_engine_abandon(cpika_engine *e, cpika_channel *ch, cpika_request *r);

/* Has a consumer cancelled, for nobody: until its Cancel-Ok, with `refuse`, what is delivered to it goes back. */
int cpika_engine_cancel_for_nobody(cpika_engine *e, cpika_channel *ch, const uint8_t *tag, size_t n,
                                   bool refuse);

/* Has a channel closed, for nobody, if it is open. */
int cpika_engine_close_for_nobody(cpika_engine *e, cpika_channel *ch);

/* `message` answers the one under way (taken over). */
int cpika_engine_answer(cpika_engine *e, cpika_channel *ch, cpika_message *message);

/* ---- the end ---- */

/* The connection has ended, for the reason in `why`, whose error is taken over; the first reason stays. */
void cpika_engine_end(cpika_engine *e, const cpika_ending *why);

/* No more bytes will come: it ends when those that came are handled. */
void cpika_engine_input_over(cpika_engine *e, cpika_ending_kind kind, int code);

/* A deadline of its own: a silent peer, a block that lasts too long.  To be asked after a read that found nothing. */
void cpika_engine_check_deadlines(cpika_engine *e, uint64_t now_ns);
uint64_t cpika_engine_next_deadline_ns(const cpika_engine *e);

/* For whoever queues frames that the engine does not owe: see leaving.h. */
static inline void
cpika_engine_leaving(cpika_engine *e, const uint8_t *bytes, size_t n)
{
#ifdef CPIKA_DEBUG
    cpika_debug_leaving(e->channels, e->channels_cap, &e->close_left, bytes, n);
#else
    (void)e;
    (void)bytes;
    (void)n;
#endif
}

static inline bool
cpika_engine_ended(const cpika_engine *e)
{
    return e->state == CONNECTION_CLOSED;
}

#endif
