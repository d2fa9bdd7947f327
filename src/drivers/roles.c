/* roles.c - see roles.h.
 * Layer: drivers.  Owns: see roles.h.  Threads: with the GIL.  Errors: see roles.h. */
#include "roles.h"

#include <assert.h>

#include "wire/debug.h"
#include "wire/sock.h"

void
cpika_roles_init(cpika_roles *r)
{
    *r = (cpika_roles){.next_timer_ns = UINT64_MAX};
}

void
cpika_roles_free(cpika_roles *r, bool forked)
{
    while (r->spares > 0 && !forked) {
        r->spares--;
        cpika_sock_wake_close(r->spare[r->spares][0], r->spare[r->spares][1]);
    }
    PyMem_Free(r->spare_call);
    r->spare_call = NULL;
}

/* The call of this user that dispatches, if there is one further down in its stack. */
static cpika_call *
dispatching_call_of(const cpika_roles *r, const cpika_user *user)
{
    cpika_call *call = r->calls;
    while (call != NULL && !(call->dispatches && cpika_user_same(&call->user, user))) {
        call = call->next;
    }
    return call;
}

bool
cpika_roles_is_dispatching(const cpika_roles *r, cpika_state *st)
{
    cpika_user user = cpika_user_here(st);
    bool is = dispatching_call_of(r, &user) != NULL;
    cpika_user_clear_here(&user);
    return is;
}

void
cpika_roles_note_told(cpika_roles *r, cpika_state *st)
{
    if (r->calls == NULL) {
        return;
    }
    cpika_user user = cpika_user_here(st);
    cpika_call *call = dispatching_call_of(r, &user);
    if (call != NULL && call->in_callback) {
        call->told = true;
    }
    cpika_user_clear_here(&user);
}

cpika_call *
cpika_roles_enter(cpika_roles *r, cpika_state *st, cpika_wants wants, void *arg)
{
    cpika_call *call = r->spare_call != NULL ? r->spare_call : PyMem_Malloc(sizeof *call);
    if (call == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    r->spare_call = NULL;
    cpika_debug_not_on_stack(arg);
    *call = (cpika_call){
        .user = cpika_user_here(st),
        .wants = wants,
        .arg = arg,
        .asks_seen = r->asks,
        .timer_seen = r->next_timer_ns,
        .wake_rd = -1,
        .wake_wr = -1,
    };
    call->dispatches = wants == NULL && dispatching_call_of(r, &call->user) == NULL;
    call->next = r->calls;
    r->calls = call;
    return call;
}

static void
give_back_pair(cpika_roles *r, const cpika_call *call, const cpika_link *link)
{
    if (call->wake_rd < 0 || cpika_link_forked(link)) {  // in a child the numbers may be others' by now
        return;
    }
    if (r->spares < CPIKA_SPARE_PAIRS) {
        r->spare[r->spares][0] = call->wake_rd;
        r->spare[r->spares][1] = call->wake_wr;
        r->spares++;
    } else {
        cpika_sock_wake_close(call->wake_rd, call->wake_wr);
    }
}

void
cpika_roles_set_sink(cpika_roles *r, cpika_call *call, cpika_consumer_tag sink)
{
    cpika_debug_not_on_stack(sink.bytes);
    call->sink = sink;
    r->sinks++;
}

void
cpika_roles_leave(cpika_roles *r, cpika_call *call, cpika_link *link)
{
    assert(call->sleep == CPIKA_AWAKE && !call->in_callback);
    cpika_call **at = &r->calls;
    while (*at != call) {
        at = &(*at)->next;
    }
    *at = call->next;
    r->sinks -= cpika_roles_has_sink(call);
    if (call->claims != NULL) {
        cpika_roles_unclaim(r, call->claims);
    }
    if (r->holder == call) {
        r->holder = NULL;
    }
    give_back_pair(r, call, link);
    cpika_user_clear(&call->user);
    PyMem_Free(r->spare_call);
    r->spare_call = call;
    cpika_roles_hand_over(r, link);
}

void
cpika_roles_claim(cpika_channel_roles *channel)
{
    channel->claimants++;
}

void
cpika_roles_unclaim(cpika_roles *r, cpika_channel_roles *channel)
{
    assert(channel->claimants > 0);
    channel->claimants--;
    r->changes_seen = UINT64_MAX;  // what is left may be for others now
}

/* ---- sleeping ---- */

static void
wake(cpika_call *call, cpika_link *link)
{
    if (call->woken || cpika_link_forked(link)) {  // a child has the parent's descriptors
        return;
    }
    call->woken = true;
    if (call->sleep == CPIKA_POLLING) {
        cpika_link_wake(link);
    } else if (call->wake_wr >= 0) {
        cpika_sock_wake(call->wake_wr);
    }
}

bool
cpika_roles_may_poll(const cpika_roles *r, const cpika_call *call)
{
    // Who polls further down in this stack cannot do so before this call has ended.
    return r->poller == NULL || cpika_user_same(&r->poller->user, &call->user);
}

cpika_call *
cpika_roles_begin_poll(cpika_roles *r, cpika_call *call, bool watches_write)
{
    assert(call->sleep == CPIKA_AWAKE && cpika_roles_may_poll(r, call));
    cpika_call *before = r->poller;
    r->poller = call;
    call->sleep = CPIKA_POLLING;
    call->woken = false;
    call->watches_write = watches_write;
    r->asleep++;
    return before;
}

void
cpika_roles_end_poll(cpika_roles *r, cpika_call *call, cpika_call *before, cpika_link *link)
{
    assert(call->sleep == CPIKA_POLLING);
    r->poller = before;
    if (before != NULL && (before->woken || call->woken || (call->watches_write && !before->watches_write))) {
        cpika_link_wake(
            link);  // what woke this call may have been meant for that one, or would have had to be
    }
    call->sleep = CPIKA_AWAKE;
    r->asleep--;
}

void
cpika_roles_begin_park(cpika_roles *r, cpika_call *call)
{
    assert(call->sleep == CPIKA_AWAKE);
    if (call->wake_rd < 0) {
        if (r->spares > 0) {
            r->spares--;
            call->wake_rd = r->spare[r->spares][0];
            call->wake_wr = r->spare[r->spares][1];
        } else if (cpika_sock_wake_new(&call->wake_rd, &call->wake_wr) < 0) {
            call->wake_rd = call->wake_wr = -1;
        }
    }
    call->sleep = CPIKA_PARKED;
    call->woken = false;
    r->asleep++;
}

void
cpika_roles_end_park(cpika_roles *r, cpika_call *call, cpika_link *link)
{
    assert(call->sleep == CPIKA_PARKED);
    call->sleep = CPIKA_AWAKE;
    r->asleep--;
    // A child's greenlets would take what is meant for the parent's.
    if (call->woken && call->wake_rd >= 0 && !cpika_link_forked(link)) {
        cpika_sock_wake_drain(call->wake_rd);
    }
}

bool
cpika_roles_has_reason(const cpika_roles *r, const cpika_engine *e, const cpika_call *call)
{
    cpika_debug_begin_handling();  // the calls are gone through: what gave the GIL away would change the list
    bool has = cpika_engine_ended(e)
               || (call->wants != NULL ? call->wants(call->arg) : cpika_roles_has_work(r, e, call));
    cpika_debug_end_handling();
    return has;
}

void
cpika_roles_notify(cpika_roles *r, const cpika_engine *e, cpika_link *link)
{
    if (r->asleep == 0 || r->changes_seen == e->changes) {
        return;
    }
    r->changes_seen = e->changes;
    for (cpika_call *call = r->calls; call != NULL; call = call->next) {
        if (call->sleep != CPIKA_AWAKE && cpika_roles_has_reason(r, e, call)) {
            wake(call, link);
        }
    }
}

void
cpika_roles_want_write(cpika_roles *r, cpika_link *link)
{
    if (r->poller != NULL && r->poller->sleep == CPIKA_POLLING && !r->poller->watches_write) {
        wake(r->poller, link);
    }
}

void
cpika_roles_wake_dispatchers(cpika_roles *r, cpika_link *link)
{
    for (cpika_call *call = r->calls; call != NULL && r->asleep > 0; call = call->next) {
        if (call->sleep != CPIKA_AWAKE && call->wants == NULL) {
            wake(call, link);
        }
    }
}

void
cpika_roles_hand_over(cpika_roles *r, cpika_link *link)
{
    if (r->asleep == 0 || r->poller != NULL) {
        return;
    }
    cpika_call *heir = NULL;
    for (cpika_call *call = r->calls; call != NULL; call = call->next) {
        if (call->sleep == CPIKA_PARKED && call->woken) {
            return;  // it comes and polls, if it has nothing else to do
        }
        heir = call->sleep == CPIKA_PARKED ? call : heir;
    }
    if (heir != NULL) {
        wake(heir, link);
    }
}

/* ---- dispatching ---- */

bool
cpika_roles_has_work(const cpika_roles *r, const cpika_engine *e, const cpika_call *call)
{
    if (call->claims != NULL && cpika_channel_of_roles(call->claims)->state == CHANNEL_CLOSED) {
        return true;
    }
    if (r->asks != call->asks_seen
        || (call->dispatches && !r->timing && (r->due || r->next_timer_ns < call->timer_seen))) {
        return true;
    }
    for (const cpika_event *event = e->events.first; event != NULL; event = event->next) {
        const cpika_channel_roles *channel = cpika_roles_of_channel(event->channel);
        if (cpika_roles_may_run(call, channel)
            || (cpika_roles_has_sink(call) && call->claims == channel && !cpika_roles_is_behind(call, channel)
                && cpika_event_is_of(event, &call->sink))) {
            return true;
        }
    }
    return false;
}

const cpika_event *
cpika_roles_find_event(const cpika_engine *e, const cpika_call *call)
{
    const cpika_event *event = e->events.first;
    while (event != NULL && !cpika_roles_may_run(call, cpika_roles_of_channel(event->channel))) {
        event = event->next;
    }
    return event;
}

cpika_event *
cpika_roles_take_event(cpika_engine *e, const cpika_call *call)
{
    const cpika_event *event = cpika_roles_find_event(e, call);
    return event == NULL ? NULL : cpika_events_take_first_of(&e->events, &event->channel->events);
}

void
cpika_roles_begin_callback(cpika_call *call, cpika_channel_roles *channel)
{
    assert(cpika_roles_may_run(call, channel) && !call->in_callback);
    channel->running = call;
    call->in_callback = true;
}

void
cpika_roles_end_callback(cpika_roles *r, cpika_call *call, cpika_channel_roles *channel)
{
    assert(channel->running == call && call->in_callback);
    channel->running = NULL;
    call->in_callback = false;
    r->changes_seen = UINT64_MAX;  // what waits on the channel may be for a call that sleeps
}

void
cpika_roles_notify_sinks(cpika_roles *r, const cpika_engine *e, cpika_link *link)
{
    r->changes_seen = UINT64_MAX;
    cpika_roles_notify(r, e, link);
}

void
cpika_roles_ask_return(cpika_roles *r, cpika_link *link)
{
    r->asks++;
    cpika_roles_wake_dispatchers(r, link);
}
