/* roles.h - who may read, dispatch and wait: one struct, and its transitions.
 * Layer: drivers.
 * Owns: the calls; see docs/architecture.md, "Concurrency", of which this is the code.
 * Threads: with the GIL; a sleeping thread is woken by a descriptor of its own.
 * Errors: -1 with an exception, or none.
 *
 * Every call that waits or dispatches is a cpika_call on the heap, from cpika_roles_enter to cpika_roles_leave.  It is
 * known by its address and its user (user.h), never by a thread's ident; nothing of it lies on a C stack, which a
 * greenlet's switch moves away.
 *
 *   polling      one call waits for the socket; others park until it has done something for them, and one of them takes
 *                over when it leaves.  A call further up in the same stack (a signal handler's) polls in its place.
 *   dispatching  any number of calls.  A channel's callbacks run in one of them at a time (begin, end); a channel that a
 *                call claims (start_consuming, consume) is dispatched by its claimants alone.  A call inside a callback of
 *                the same user dispatches nothing.
 *   noticing     one call at a time runs the notices (log records); due: one at a time runs timers. */
#ifndef CPIKA_DRIVERS_ROLES_H
#define CPIKA_DRIVERS_ROLES_H

#include "user.h"  // Python.h before any other header

#include <stddef.h>

#include "engine/engine.h"
#include "wire/link.h"

typedef struct cpika_call cpika_call;

/* What the driver knows of a channel. */
typedef struct {
    cpika_call *running;  // whose callback of this channel runs; NULL: none
    int claimants;        // who dispatch this channel before others: calls, and loops of calls
    bool handing;         // a message of it is on its way to the program: none overtakes it
} cpika_channel_roles;

/* A channel as drivers have it: events refer to the one part, and lead to the other.  Both begin with what a delivery needs
 * if the roles come first. */
typedef struct {
    cpika_channel_roles roles;
    cpika_channel engine;
} cpika_driven_channel;

static inline cpika_channel_roles *
cpika_roles_of_channel(cpika_channel *ch)
{
    return &((cpika_driven_channel *)((char *)ch - offsetof(cpika_driven_channel, engine)))->roles;
}

static inline cpika_channel *
cpika_channel_of_roles(cpika_channel_roles *roles)
{
    return &((cpika_driven_channel *)roles)->engine;
}

/* Whether a call has reason to go on.  Only looks: it takes no lock and gives the GIL away nowhere, since it is asked of
 * one call after the other while none may leave. */
typedef bool (*cpika_wants)(void *arg);

struct cpika_call {
    cpika_call *next;  // older
    cpika_user user;
    cpika_wants wants;            // NULL: a dispatching call, which wants what cpika_roles_has_work says
    void *arg;                    // on the heap, too
    cpika_channel_roles *claims;  // borrowed: of the channel that it claims; NULL: none
    cpika_consumer_tag sink;      // of consume(), inside a callback: whose messages it takes; no bytes: none
    const cpika_channel_roles *hands;  // the channel of the message that it has in hand; NULL: none
    uint64_t timer_seen;               // roles.next_timer_ns, when it last thought of when to wake
    uint64_t asks_seen;                // of roles.asks, when its caller last looked
    bool dispatches;                   // runs callbacks
    bool in_callback;                  // and is inside one
    bool told;                         // in which whoever runs was told why the connection has ended
    bool may_hold;                     // an ack given now may wait: more messages stand ready (rule 4)
    bool woken;                        // since it fell asleep
    bool watches_write;                // polling: for room in the socket, too
    int slept;                         // times in a row without anything to do
    unsigned turns;                    // that it has taken
    enum { CPIKA_AWAKE, CPIKA_POLLING, CPIKA_PARKED } sleep;
    int wake_rd, wake_wr;  // of a parked call; -1
};

enum { CPIKA_SPARE_PAIRS = 8 };

typedef struct {
    cpika_call *calls;       // newest first
    int asleep;              // how many of them
    cpika_call *poller;      // NULL: nobody waits for the socket
    bool noticing;           // somebody runs notices
    bool timing;             // somebody runs timers
    cpika_call *holder;      // the call with may_hold
    int sinks;               // calls with a sink
    uint64_t asks;           // how often somebody wanted dispatching calls to return
    uint64_t changes_seen;   // of the engine, when sleeping calls were last looked through
    bool due;                // something is ready to be run, timers apart
    bool passed_over;        // the last for consume() has got what had come, and looked at nothing else
    uint64_t next_timer_ns;  // the earliest timer; UINT64_MAX: none
    int spare[CPIKA_SPARE_PAIRS][2];  // descriptors of calls that have parked before
    int spares;
    cpika_call *spare_call;  // the last that has left; NULL
} cpika_roles;

void cpika_roles_init(cpika_roles *r);
void cpika_roles_free(cpika_roles *r, bool forked);

/* Begins a call that waits for `wants`, or (NULL) one that dispatches: a call of the same user that does so already makes
 * it one that only does I/O.  NULL with an exception. */
cpika_call *cpika_roles_enter(cpika_roles *r, cpika_state *st, cpika_wants wants, void *arg);

/* Whether whoever calls is inside a call that dispatches. */
bool cpika_roles_is_dispatching(const cpika_roles *r, cpika_state *st);

/* Whoever calls is told why the connection has ended: the call that dispatches further down in the stack knows it, too. */
void cpika_roles_note_told(cpika_roles *r, cpika_state *st);

/* It takes this consumer's messages, inside a callback; the tag's bytes live as long as the call. */
void cpika_roles_set_sink(cpika_roles *r, cpika_call *call, cpika_consumer_tag sink);

/* Ends it; somebody else takes over what it did for others. */
void cpika_roles_leave(cpika_roles *r, cpika_call *call, cpika_link *link);

/* From now on the channel is dispatched by calls that have it in `claims` alone; until as many have let go of it. */
void cpika_roles_claim(cpika_channel_roles *channel);
void cpika_roles_unclaim(cpika_roles *r, cpika_channel_roles *channel);

/* ---- sleeping ---- */

/* Whether this call may poll, now.  Else it parks. */
bool cpika_roles_may_poll(const cpika_roles *r, const cpika_call *call);

/* Around the wait itself.  `before`: what cpika_roles_end_poll wants.  Where no descriptor is left, wake_rd of a parked call is
 * -1: nobody can wake it, and it has to look again soon.  What it waits for may have been asked for by then. */
cpika_call *cpika_roles_begin_poll(cpika_roles *r, cpika_call *call, bool watches_write);
void cpika_roles_end_poll(cpika_roles *r, cpika_call *call, cpika_call *before, cpika_link *link);
void cpika_roles_begin_park(cpika_roles *r, cpika_call *call);
void cpika_roles_end_park(cpika_roles *r, cpika_call *call, cpika_link *link);

/* Whether a call has reason to go on: to be asked again right before it falls asleep. */
bool cpika_roles_has_reason(const cpika_roles *r, const cpika_engine *e, const cpika_call *call);

/* Wakes those that have. */
void cpika_roles_notify(cpika_roles *r, const cpika_engine *e, cpika_link *link);

/* Something is queued behind a full socket, and it is not whoever asks that polls: who does is to watch for room. */
void cpika_roles_want_write(cpika_roles *r, cpika_link *link);

/* Wakes all that dispatch: a timer has changed. */
void cpika_roles_wake_dispatchers(cpika_roles *r, cpika_link *link);

/* This call goes to run user code, which may take long: another one polls meanwhile. */
void cpika_roles_hand_over(cpika_roles *r, cpika_link *link);

/* ---- dispatching ---- */

static inline bool
cpika_roles_has_sink(const cpika_call *call)
{
    return call->sink.bytes != NULL;
}

/* Whether the call has to wait until another one has handed over what it has in hand.  What runs on top of that one, a
 * finalizer's call for example, would wait for good. */
static inline bool
cpika_roles_is_behind(const cpika_call *call, const cpika_channel_roles *channel)
{
    if (!channel->handing) {
        return false;
    }
    const cpika_call *older = call->next;
    while (older != NULL && older->hands != channel) {
        older = older->next;
    }
    return older == NULL || !cpika_user_same(&older->user, &call->user);
}

static inline bool
cpika_roles_may_run(const cpika_call *call, const cpika_channel_roles *channel)
{
    return call->dispatches && channel->running == NULL && !cpika_roles_is_behind(call, channel)
           && (channel->claimants == 0 || call->claims == channel);
}

/* Whether something stands ready that this call may run, or that its caller is to know. */
bool cpika_roles_has_work(const cpika_roles *r, const cpika_engine *e, const cpika_call *call);

/* The first event that it may run, in the queue or out of it; NULL: none. */
const cpika_event *cpika_roles_find_event(const cpika_engine *e, const cpika_call *call);
cpika_event *cpika_roles_take_event(cpika_engine *e, const cpika_call *call);

void cpika_roles_begin_callback(cpika_call *call, cpika_channel_roles *channel);
void cpika_roles_end_callback(cpika_roles *r, cpika_call *call, cpika_channel_roles *channel);

/* A message of the channel is in this call's hand, on its way to the program. */
static inline void
cpika_roles_begin_handing(cpika_call *call, cpika_channel_roles *channel)
{
    call->hands = channel;
    channel->handing = true;
}

/* What comes behind the message may be for a call with a sink, which sleeps. */
void cpika_roles_notify_sinks(cpika_roles *r, const cpika_engine *e, cpika_link *link);

/* It is the program's now, or nobody's. */
static inline void
cpika_roles_end_handing(cpika_roles *r, const cpika_engine *e, cpika_call *call, cpika_channel_roles *channel,
                        cpika_link *link)
{
    call->hands = NULL;
    channel->handing = false;
    if (r->sinks > 0) {
        cpika_roles_notify_sinks(r, e, link);
    }
}

/* Asks dispatching calls to return to their callers. */
void cpika_roles_ask_return(cpika_roles *r, cpika_link *link);

#endif
