/* engine.c - see engine.h.
 * Layer: engine.  Owns: see engine.h.  Threads: with the GIL.  Errors: see engine.h. */
#include "engine.h"

#include <string.h>

#include "wire/frame.h"
#include "wire/method.h"

enum { DEFAULT_FRAME_MAX = 131072, FIRST_CHANNELS = 16, CONSUME_NO_ACK = 2 };

int
cpika_engine_init(cpika_engine *e)
{
    *e = (cpika_engine){.frame_max = DEFAULT_FRAME_MAX};
    e->end = cpika_event_new(CPIKA_NOTICE_ENDED, NULL, NULL, NULL);
    return e->end == NULL ? CPIKA_E_NOMEM : CPIKA_OK;
}

void
cpika_engine_bury(cpika_engine *e)
{
    cpika_event *event;
    while ((event = cpika_events_take_first(&e->grave)) != NULL) {
        cpika_event_free(event);  // may run user code, which may add to the grave
    }
}

static void
to_grave(cpika_engine *e, cpika_events *from)
{
    cpika_event *event;
    while ((event = cpika_events_take_first(from)) != NULL) {
        cpika_events_append(&e->grave, NULL, event);
    }
}

void
cpika_engine_free(cpika_engine *e)
{
    for (size_t i = 0; i < e->channels_cap; i++) {
        if (e->channels[i] != NULL) {
            cpika_engine_close_channel(e, e->channels[i], CPIKA_CLOSED_WITH_CONNECTION);
        }
    }
    for (cpika_event *event = e->events.first; event != NULL && !e->tells_all; event = event->next) {
        event->channel->events = (cpika_channel_events){NULL, NULL};
    }
    to_grave(e, &e->events);
    to_grave(e, &e->notices);
    if (e->end != NULL) {
        cpika_events_append(&e->grave, NULL, e->end);
        e->end = NULL;
    }
    cpika_engine_bury(e);
    cpika_requests_fail(&e->requests);
    cpika_input_free(&e->in);
    cpika_buf_free(&e->owed);
    cpika_buf_free(&e->crossed);
    PyMem_Free(e->channels);
    e->channels = NULL;
    e->channels_cap = 0;
    Py_CLEAR(e->ending.error);
    Py_CLEAR(e->over.error);
}

/* ---- channels ---- */

int
cpika_engine_add_channel(cpika_engine *e, cpika_channel *ch)
{
    if ((size_t)ch->number >= e->channels_cap) {
        size_t cap = e->channels_cap > 0 ? e->channels_cap : FIRST_CHANNELS;
        while (cap <= (size_t)ch->number) {
            cap *= 2;
        }
        cpika_channel **grown = PyMem_Realloc(e->channels, cap * sizeof(cpika_channel *));
        if (grown == NULL) {
            return CPIKA_E_NOMEM;
        }
        memset(grown + e->channels_cap, 0, (cap - e->channels_cap) * sizeof(cpika_channel *));
        e->channels = grown;
        e->channels_cap = cap;
    }
    ch->coffin = cpika_event_new(CPIKA_EVENT_OBJECT, NULL, ch->owner, NULL);
    if (ch->coffin == NULL) {
        return CPIKA_E_NOMEM;
    }
    ch->engine = e;
    ch->state = CHANNEL_OPENING;
    e->channels[ch->number] = ch;
    e->channel_seen = ch->number > e->channel_seen ? ch->number : e->channel_seen;
    return CPIKA_OK;
}

/* The rest of a body that was received in place is dropped as it comes, with its frame end. */
static void
leave_in_place(cpika_engine *e)
{
    e->in.skip = e->in_place.left + 1;
    e->in_place = (cpika_in_place){NULL, 0};
}

void
cpika_engine_close_channel(cpika_engine *e, cpika_channel *ch, cpika_closed_by by)
{
    if (ch->state == CHANNEL_CLOSED) {
        return;
    }
    ch->state = CHANNEL_CLOSED;
    ch->closed_by = by;
    cpika_channel_fail_all(ch);
    if (e->in_place.channel == ch) {
        leave_in_place(e);
    }
    if (by != CPIKA_CLOSED_WITH_CONNECTION) {  // else what was received is still dispatched
        cpika_events_move(&e->events, &ch->events, &e->grave);
    }
    e->changes++;
    if (cpika_engine_channel(e, ch->number) == ch) {
        e->channels[ch->number] = NULL;
        cpika_events_append(&e->grave, NULL, ch->coffin);
        ch->coffin = NULL;
    }
    cpika_content_clear(&ch->content);
}

/* ---- what is owed ---- */

static int
append_owed(cpika_engine *e, uint16_t channel, uint32_t id, const uint8_t *arguments, size_t n)
{
    if (cpika_buf_reserve(&e->owed, CPIKA_FRAME_OVERHEAD + 4 + n) != CPIKA_OK) {
        return CPIKA_E_NOMEM;
    }
    uint8_t *p = e->owed.data + e->owed.len;
    cpika_frame_put_head(p, CPIKA_FRAME_METHOD, channel, (uint32_t)(4 + n));
    cpika_put32(p + CPIKA_FRAME_HEAD_SIZE, id);
    if (n > 0) {
        memcpy(p + CPIKA_FRAME_HEAD_SIZE + 4, arguments, n);
    }
    p[CPIKA_FRAME_HEAD_SIZE + 4 + n] = CPIKA_FRAME_END;
    e->owed.len += CPIKA_FRAME_OVERHEAD + 4 + n;
    e->frames_owed++;
    return CPIKA_OK;
}

int
cpika_engine_owe(cpika_engine *e, uint16_t channel, uint32_t id, const uint8_t *arguments, size_t n)
{
    if (e->close_sent && id != CPIKA_ID_connection_close_ok) {
        return CPIKA_OK;  // behind our Close the peer awaits nothing else
    }
    size_t before = e->owed.len;
    int rc = append_owed(e, channel, id, arguments, n);
    cpika_engine_leaving(e, e->owed.data + before, e->owed.len - before);
    return rc;
}

int
cpika_engine_owe_reject(cpika_engine *e, cpika_channel *ch, uint64_t delivery_tag)
{
    if (!cpika_channel_may_send(ch)) {
        return CPIKA_OK;  // the broker gives back what is not acknowledged
    }
    uint8_t arguments[8 + 1];
    cpika_put64(arguments, delivery_tag);
    arguments[8] = 1;  // requeue
    return cpika_engine_owe(e, (uint16_t)ch->number, CPIKA_ID_basic_reject, arguments, sizeof arguments);
}

/* ---- Closes that have crossed ---- */

/* Where it stands; the end: nowhere. */
static size_t
find_crossed(const cpika_engine *e, int number)
{
    size_t at = 0;
    while (at < e->crossed.len && cpika_get16(e->crossed.data + at) != number) {
        at += 2;
    }
    return at;
}

int
cpika_engine_cross(cpika_engine *e, const cpika_channel *ch)
{
    return cpika_buf_put16(&e->crossed, ch->number);
}

bool
cpika_engine_is_crossed(const cpika_engine *e, int number)
{
    return find_crossed(e, number) < e->crossed.len;
}

void
cpika_engine_uncross(cpika_engine *e, int number)
{
    size_t at = find_crossed(e, number);
    if (at < e->crossed.len) {
        e->crossed.len -= 2;
        memmove(e->crossed.data + at, e->crossed.data + at + 2, e->crossed.len - at);
    }
}

int
cpika_engine_answer_crossed(cpika_engine *e, int number)
{
    int rc = CPIKA_OK;
    // Else Connection.Close says enough, and nothing follows that.
    if (cpika_engine_is_crossed(e, number) && e->state == CONNECTION_OPEN) {
        rc = cpika_engine_owe(e, (uint16_t)number, CPIKA_ID_channel_close_ok, NULL, 0);
    }
    if (rc == CPIKA_OK) {
        cpika_engine_uncross(e, number);
    }
    return rc;
}

/* ---- requests ---- */

cpika_requests *
cpika_engine_requests(cpika_engine *e, cpika_channel *ch)
{
    return ch != NULL ? &ch->requests : &e->requests;
}

/* The fields that matter of a Basic.Consume: ticket, queue, consumer tag, bits. */
static bool
split_consume(const uint8_t *frame, size_t n, cpika_consumer_tag *tag, bool *no_ack)
{
    const uint8_t *queue;
    size_t len;
    size_t end = n - 1;
    size_t at = CPIKA_FRAME_HEAD_SIZE + 4 + 2;
    if (!cpika_payload_shortstr(frame, end, &at, &queue, &len)
        || !cpika_payload_shortstr(frame, end, &at, &tag->bytes, &tag->n) || at >= end) {
        return false;
    }
    *no_ack = (frame[at] & CONSUME_NO_ACK) != 0;
    return true;
}

void
cpika_engine_note_confirm_select(cpika_engine *e, const uint8_t *frame, size_t n)
{
    if (n < CPIKA_FRAME_OVERHEAD + 4 || frame[0] != CPIKA_FRAME_METHOD
        || cpika_get32(frame + CPIKA_FRAME_HEAD_SIZE) != CPIKA_ID_confirm_select) {
        return;
    }
    cpika_channel *ch = cpika_engine_channel(e, cpika_get16(frame + 1));
    if (ch != NULL) {
        ch->confirming = true;
    }
}

/* What a request changes as soon as it leaves.  CPIKA_E_NOMEM. */
static int
note_sent(cpika_engine *e, cpika_channel *ch, cpika_request *r, const uint8_t *frame, size_t n)
{
    cpika_consumer_tag tag;
    uint32_t id = n < CPIKA_FRAME_OVERHEAD + 4 ? 0 : cpika_get32(frame + CPIKA_FRAME_HEAD_SIZE);
    if (ch == NULL) {
        e->close_sent = e->close_sent || id == CPIKA_ID_connection_close;
        return CPIKA_OK;
    }
    switch (id) {
    case CPIKA_ID_confirm_select:
        ch->confirming = true;  // the broker counts whatever is published behind it
        break;
    case CPIKA_ID_channel_close:
        ch->close_sent = true;
        break;
    case CPIKA_ID_basic_consume:  // messages may come right behind its answer
        return split_consume(frame, n, &tag, &r->no_ack) ? cpika_consumers_add(&ch->consumers, &tag)
                                                         : CPIKA_OK;
    default:
        break;
    }
    return CPIKA_OK;
}

int
cpika_engine_request(cpika_engine *e, cpika_channel *ch, cpika_request *r, const uint8_t *bytes, size_t n)
{
    if (cpika_engine_ended(e) || e->close_sent
        || (ch != NULL && (ch->state == CHANNEL_CLOSED || ch->close_sent))) {
        return CPIKA_E_CLOSED;
    }
    int rc = cpika_requests_join(cpika_engine_requests(e, ch), r, bytes, n);
    if (rc >= 0 && ch != NULL && r->replies[0] == CPIKA_ID_channel_close_ok && ch->state == CHANNEL_OPEN) {
        ch->state = CHANNEL_CLOSING;  // from now on, though others may stand before it
    }
    if (rc == CPIKA_OK && note_sent(e, ch, r, bytes, n) < 0) {
        cpika_requests_remove(cpika_engine_requests(e, ch), r);
        r->state = CPIKA_REQUEST_FAILED;
        return CPIKA_E_NOMEM;
    }
    return rc;
}

/* A request of the engine's own: nobody waits for it. */
static int
request_for_nobody(cpika_engine *e, cpika_channel *ch, uint32_t id, uint32_t reply, const uint8_t *arguments,
                   size_t n)
{
    size_t before = e->owed.len;
    cpika_request *r = cpika_request_new(reply, 0);
    if (r == NULL || append_owed(e, (uint16_t)ch->number, id, arguments, n) < 0) {
        PyMem_Free(r);
        return CPIKA_E_NOMEM;
    }
    r->abandoned = true;
    int rc = cpika_engine_request(e, ch, r, e->owed.data + before, e->owed.len - before);
    if (rc != CPIKA_OK) {  // its turn has not come, or never will
        e->owed.len = before;
        e->frames_owed--;
    }
    cpika_engine_leaving(e, e->owed.data + before, e->owed.len - before);
    if (rc < 0) {
        cpika_request_free(r);
    }
    return rc == CPIKA_E_NOMEM ? rc : CPIKA_OK;
}

int
cpika_engine_close_for_nobody(cpika_engine *e, cpika_channel *ch)
{
    static const uint8_t arguments[2 + 1 + 2 + 2];  // no code, no text, no method
    if (ch->state != CHANNEL_OPEN) {
        return CPIKA_OK;
    }
    ch->state = CHANNEL_CLOSING;
    int rc = request_for_nobody(e, ch, CPIKA_ID_channel_close, CPIKA_ID_channel_close_ok, arguments,
                                sizeof arguments);
    if (rc < 0) {
        ch->state = CHANNEL_OPEN;
    }
    return rc;
}

int
cpika_engine_cancel_for_nobody(cpika_engine *e, cpika_channel *ch, const uint8_t *tag, size_t n, bool refuse)
{
    if (!cpika_channel_may_send(ch) || n > 255) {
        return CPIKA_OK;  // it ends with the channel
    }
    if (refuse && cpika_consumers_refuse(&ch->consumers, &(cpika_consumer_tag){tag, n}) < 0) {
        return CPIKA_E_NOMEM;
    }
    uint8_t arguments[1 + 255 + 1] = {(uint8_t)n};
    memcpy(arguments + 1, tag, n);  // and nowait 0 behind it
    return request_for_nobody(e, ch, CPIKA_ID_basic_cancel, CPIKA_ID_basic_cancel_ok, arguments, n + 2);
}

/* What an interrupted call has begun all the same: a consumer, a message in nobody's hand, a channel. */
static int
undo(cpika_engine *e, cpika_channel *ch, const cpika_request *r, const cpika_message *answer)
{
    const uint8_t *tag;
    size_t n;
    size_t at = 4;
    if (ch == NULL) {
        return CPIKA_OK;
    }
    switch (cpika_message_id(answer)) {
    case CPIKA_ID_basic_get_ok:
        return r->no_ack ? CPIKA_OK : cpika_engine_owe_reject(e, ch, cpika_message_delivery_tag(answer));
    case CPIKA_ID_basic_consume_ok:
        return cpika_payload_shortstr(answer->bytes, answer->method_len, &at, &tag, &n)
                   ? cpika_engine_cancel_for_nobody(e, ch, tag, n, !r->no_ack)
                   : CPIKA_OK;
    case CPIKA_ID_channel_open_ok:
        return cpika_engine_close_for_nobody(e, ch);
    default:
        return CPIKA_OK;
    }
}

void
cpika_engine_abandon(cpika_engine *e, cpika_channel *ch, cpika_request *r)
{
    bool opening = r->replies[0] == CPIKA_ID_channel_open_ok;
    switch (r->state) {
    case CPIKA_REQUEST_SENT:
        r->abandoned = true;
        return;
    case CPIKA_REQUEST_QUEUED:
        if (r->replies[0] == CPIKA_ID_basic_cancel_ok || r->replies[0] == CPIKA_ID_channel_close_ok) {
            r->abandoned = true;  // what ends something is not taken back
            return;
        }
        cpika_requests_remove(cpika_engine_requests(e, ch), r);
        break;
    case CPIKA_REQUEST_ANSWERED:
        if (undo(e, ch, r, r->answer) < 0) {
            cpika_engine_input_over(e, CPIKA_ENDING_NO_MEMORY, 0);
        }
        opening = false;
        break;
    case CPIKA_REQUEST_FAILED:
        break;
    }
    cpika_request_free(r);
    if (opening && ch != NULL) {
        cpika_engine_close_channel(e, ch, CPIKA_CLOSED_BY_CLIENT);  // it never reached the broker
    }
}

/* What an answer changes, whoever waits for it. */
static void
note_answer(cpika_engine *e, cpika_channel *ch, const cpika_message *answer)
{
    const uint8_t *tag;
    size_t n;
    size_t at = 4;
    switch (cpika_message_id(answer)) {
    case CPIKA_ID_channel_open_ok:
        if (ch != NULL && ch->state == CHANNEL_OPENING) {
            ch->state = CHANNEL_OPEN;
        }
        break;
    case CPIKA_ID_basic_cancel_ok:
        if (ch != NULL && cpika_payload_shortstr(answer->bytes, answer->method_len, &at, &tag, &n)) {
            cpika_consumers_remove(&ch->consumers, &(cpika_consumer_tag){tag, n});
        }
        break;
    case CPIKA_ID_channel_close_ok:
        if (ch != NULL) {
            cpika_engine_close_channel(e, ch, CPIKA_CLOSED_BY_CLIENT);
        }
        break;
    default:
        break;
    }
}

/* The next one leaves. */
static int
send_next(cpika_engine *e, cpika_channel *ch, cpika_request *next)
{
    if (e->close_sent) {
        return CPIKA_OK;  // nobody answers it: it ends with the connection
    }
    int rc = note_sent(e, ch, next, next->frame.data, next->frame.len);
    if (rc == CPIKA_OK) {
        rc = cpika_buf_append(&e->owed, next->frame.data, next->frame.len);
        e->frames_owed += rc == CPIKA_OK;
        cpika_engine_leaving(e, next->frame.data, next->frame.len);
    }
    return rc;
}

int
cpika_engine_answer(cpika_engine *e, cpika_channel *ch, cpika_message *message)
{
    cpika_requests *list = cpika_engine_requests(e, ch);
    cpika_request *r = list->first;
    cpika_request *next = cpika_requests_pop(list);
    note_answer(e, ch, message);
    int rc = CPIKA_OK;
    if (r->abandoned) {  // before the next one: what it has begun is over then
        rc = undo(e, ch, r, message);
        cpika_message_decref(message);
        cpika_request_free(r);
    } else {
        r->answer = message;
        r->state = CPIKA_REQUEST_ANSWERED;
        e->changes++;
    }
    // Unless the answer has ended them all: Close-Ok.
    return rc == CPIKA_OK && next != NULL && list->first == next ? send_next(e, ch, next) : rc;
}

/* ---- the end ---- */

void
cpika_engine_end(cpika_engine *e, const cpika_ending *why)
{
    if (cpika_engine_ended(e)) {
        Py_XDECREF(why->error);
        return;
    }
    e->state = CONNECTION_CLOSED;
    e->input_over = true;
    e->ending = *why;
    e->over.error = e->over.error == why->error ? NULL : e->over.error;
    e->changes++;
    e->blocked_until_ns = 0;
    cpika_requests_fail(&e->requests);
    for (size_t i = 0; i < e->channels_cap && !e->tells_all; i++) {
        if (e->channels[i] != NULL) {
            cpika_engine_close_channel(e, e->channels[i], CPIKA_CLOSED_WITH_CONNECTION);
        }
    }
    e->in_place = (cpika_in_place){NULL, 0};
    e->in.skip = 0;
    e->in.pos = e->in.len;
    if (e->end != NULL) {
        cpika_events_append(&e->notices, NULL, e->end);
        e->end = NULL;
    }
}

void
cpika_engine_input_over(cpika_engine *e, cpika_ending_kind kind, int code)
{
    if (!e->input_over) {
        e->input_over = true;
        e->over = (cpika_ending){.kind = kind, .reason.code = code};
    }
}

void
cpika_engine_check_deadlines(cpika_engine *e, uint64_t now_ns)
{
    if (cpika_heartbeat_is_dead(&e->heartbeat, now_ns)) {
        cpika_engine_input_over(e, CPIKA_ENDING_SILENCE, (int)(e->heartbeat.interval_ns / CPIKA_NS_PER_S));
    } else if (e->blocked_until_ns > 0 && now_ns >= e->blocked_until_ns) {
        cpika_engine_input_over(e, CPIKA_ENDING_BLOCKED, 0);
    }
}

uint64_t
cpika_engine_next_deadline_ns(const cpika_engine *e)
{
    uint64_t dead = cpika_heartbeat_dead_at_ns(&e->heartbeat);
    return e->blocked_until_ns > 0 && e->blocked_until_ns < dead ? e->blocked_until_ns : dead;
}
