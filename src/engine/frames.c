/* frames.c - see frames.h.
 * Layer: engine.  Owns: nothing.  Threads: with the GIL.  Errors: see frames.h. */
#include "frames.h"

#include <string.h>

#include "delivery.h"
#include "whole.h"
#include "wire/debug.h"
#include "wire/frame.h"
#include "wire/method.h"

enum {
    IN_PLACE_AHEAD = 1024 * 1024,  // most that one read takes of a body
    IN_PLACE_LEAST = 4096,         // below, a copy costs less than another place in readv()
    MOST_NOTICES = 1024,           // a peer that floods us fills no memory with log records
    REPLY_CHANNEL_ERROR = 504,
    REPLY_FRAME_ERROR = 501,
    REPLY_UNEXPECTED_FRAME = 505,
};

/* ---- violations ---- */

/* Ends the connection for a violation, and owes the peer a Close that says so. */
static void
end_for(cpika_engine *e, const cpika_ending *why)
{
    const cpika_reason *reason = &why->reason;
    if (reason->code != 0 && e->state >= CONNECTION_TUNE) {
        uint8_t arguments[2 + 1 + CPIKA_REASON_MAX + 4] = {
            0};  // the class and method that caused it are not told
        cpika_put16(arguments, (uint16_t)reason->code);
        arguments[2] = (uint8_t)reason->len;
        memcpy(arguments + 3, reason->text, reason->len);
        cpika_engine_owe(e, 0, CPIKA_ID_connection_close, arguments, 2 + 1 + reason->len + 4);
    }
    cpika_engine_end(e, why);
}

void
cpika_engine_violation(cpika_engine *e, int status, long detail)
{
    cpika_ending why = {0};
    cpika_ending_set_violation(&why, status, detail);
    end_for(e, &why);
}

static void
content_violation(cpika_engine *e, const cpika_channel *ch, int status, size_t n)
{
    cpika_ending why = {0};
    const cpika_content *c = &ch->content;
    switch (status) {
    case CPIKA_E_HEADER_UNDUE:
        cpika_ending_set_unexpected(&why, REPLY_UNEXPECTED_FRAME,
                                    "content header where none was due on channel %d", ch->number);
        break;
    case CPIKA_E_BODY_UNDUE:
        cpika_ending_set_unexpected(&why, REPLY_UNEXPECTED_FRAME,
                                    "content body where none was due on channel %d", ch->number);
        break;
    case CPIKA_E_BODY_TOO_LONG:
        cpika_ending_set_unexpected(
            &why, REPLY_FRAME_ERROR, "content of %llu bytes on channel %d where its header said %llu",
            (unsigned long long)(c->received + n), ch->number, (unsigned long long)c->size);
        why.exception = CPIKA_EXC_BodyTooLongError;
        why.numbers[0] = c->received + n;
        why.numbers[1] = c->size;
        break;
    default:
        cpika_ending_set_violation(&why, status, (long)n);
        break;
    }
    end_for(e, &why);
}

/* What allocating or splitting gave: nothing to do for CPIKA_OK. */
static void
check(cpika_engine *e, int status, size_t frame_size)
{
    if (status < 0) {
        cpika_engine_violation(e, status, (long)frame_size);
    }
}

/* ---- events ---- */

static int
queue(cpika_engine *e, cpika_channel *ch, cpika_event_kind kind, cpika_message *message, int number)
{
    cpika_event *event = cpika_event_new(kind, ch, ch->owner, message);
    if (event == NULL) {
        return CPIKA_E_NOMEM;
    }
    event->number = number;
    cpika_events_append(&e->events, &ch->events, event);
    e->changes++;
    return CPIKA_OK;
}

/* The same where everything is told: behind all others, and in no list of the channel's, which may end before it is run. */
static int
tell(cpika_engine *e, cpika_channel *ch, cpika_event_kind kind, cpika_message *message)
{
    cpika_event *event = cpika_event_new(kind, ch, ch == NULL ? NULL : ch->owner, message);
    if (event == NULL) {
        return CPIKA_E_NOMEM;
    }
    cpika_events_append(&e->events, NULL, event);
    return CPIKA_OK;
}

/* Takes `message` over. */
static int
notice(cpika_engine *e, cpika_channel *ch, cpika_event_kind kind, cpika_message *message, int number)
{
    cpika_event *event = cpika_event_new(kind, ch, ch == NULL ? NULL : ch->owner, message);
    if (event == NULL) {
        return CPIKA_E_NOMEM;
    }
    event->number = number;
    cpika_events_append(&e->notices, NULL, event);
    return CPIKA_OK;
}

/* ---- whole messages ---- */

static int
accept_delivery(cpika_engine *e, cpika_channel *ch, cpika_message *m)
{
    cpika_deliver_fields d;
    int rc = cpika_deliver_split(m->bytes, m->method_len, &d);
    if (rc != CPIKA_OK || ch->state != CHANNEL_OPEN) {
        cpika_message_decref(m);
        return rc;
    }
    if (e->tells_all) {
        return tell(e, ch, CPIKA_EVENT_DELIVERY, m);
    }
    const cpika_consumer *consumer =
        cpika_consumers_find(&ch->consumers, &(cpika_consumer_tag){d.tag, d.tag_len});
    if (consumer == NULL && e->notices.count < MOST_NOTICES) {
        return notice(e, ch, CPIKA_NOTICE_UNEXPECTED, m, 0);
    }
    if (consumer == NULL || consumer->refused) {
        rc = consumer == NULL ? CPIKA_OK : cpika_engine_owe_reject(e, ch, cpika_get64(d.fixed));
        cpika_message_decref(m);
        return rc;
    }
    return queue(e, ch, CPIKA_EVENT_DELIVERY, m, 0);
}

static int
accept_get(cpika_engine *e, cpika_channel *ch, cpika_message *m)
{
    if (cpika_requests_match(&ch->requests, CPIKA_ID_basic_get_ok) != NULL) {
        return cpika_engine_answer(e, ch, m);
    }
    cpika_message_decref(m);
    return CPIKA_OK;
}

static int
accept_return(cpika_engine *e, cpika_channel *ch, cpika_message *m)
{
    int rc = CPIKA_OK;
    if (ch->confirming) {
        rc = cpika_channel_note_return(ch, m);
        if (rc == CPIKA_OK && e->notices.count < MOST_NOTICES) {
            rc = notice(e, ch, CPIKA_NOTICE_RETURNED, cpika_message_incref(m), 0);
        }
    }
    for (int i = 0; i < ch->return_callbacks && rc == CPIKA_OK && ch->state == CHANNEL_OPEN; i++) {
        rc = queue(e, ch, CPIKA_EVENT_RETURN, cpika_message_incref(m), i);
    }
    cpika_message_decref(m);
    return rc;
}

/* The content of the channel is whole. */
static int
complete(cpika_engine *e, cpika_channel *ch)
{
    uint32_t id = ch->content.method_id;
    cpika_message *m = cpika_content_take(&ch->content);
    if (m == NULL) {
        return CPIKA_E_NOMEM;
    }
    return id == CPIKA_ID_basic_deliver  ? accept_delivery(e, ch, m)
           : e->tells_all                ? tell(e, ch, CPIKA_EVENT_CONTENT, m)
           : id == CPIKA_ID_basic_get_ok ? accept_get(e, ch, m)
                                         : accept_return(e, ch, m);
}

/* ---- methods ---- */

/* Basic.Ack and Basic.Nack of the broker: its word for publishes. */
static int
handle_verdict(cpika_engine *e, cpika_channel *ch, const cpika_frame *frame, bool nack)
{
    if (frame->size != 4 + 9) {
        return frame->size < 4 + 9 ? CPIKA_E_TRUNCATED : CPIKA_E_TRAILING;
    }
    uint8_t bits = frame->payload[12];
    const cpika_verdict verdict = {.tag = cpika_get64(frame->payload + 4),
                                   .multiple = (bits & 1) != 0,
                                   .nack = nack,
                                   .requeue = (bits & 2) != 0};
    e->changes++;
    int rc = cpika_channel_settle(ch, &verdict);
    if (rc != CPIKA_OK || !ch->tells_verdicts || e->notices.count >= MOST_NOTICES) {
        return rc;
    }
    cpika_message *m = cpika_message_new(frame->payload, frame->size, NULL, 0, NULL);
    return m == NULL ? CPIKA_E_NOMEM : notice(e, ch, CPIKA_NOTICE_METHOD, m, 0);
}

/* Reply code and text of a Close; the walk over its arguments has passed. */
static void
read_reason(const cpika_frame *frame, cpika_reason *reason)
{
    const uint8_t *text = frame->payload;
    size_t n = 0;
    size_t at = 6;
    cpika_payload_shortstr(frame->payload, frame->size, &at, &text, &n);
    cpika_reason_set(reason, cpika_get16(frame->payload + 4), text, n);
}

static int
handle_connection_close(cpika_engine *e, const cpika_frame *frame)
{
    cpika_ending why = {.kind = CPIKA_ENDING_BY_BROKER};
    read_reason(frame, &why.reason);
    int rc = cpika_engine_owe(e, 0, CPIKA_ID_connection_close_ok, NULL, 0);
    cpika_engine_end(e, &why);
    return rc == CPIKA_E_NOMEM ? CPIKA_OK : rc;  // it has ended, and the peer will not wait for long
}

static int
handle_channel_close(cpika_engine *e, cpika_channel *ch, const cpika_frame *frame)
{
    int before = ch->state;
    if (ch->reason == NULL) {
        ch->reason = PyMem_Malloc(sizeof *ch->reason);
    }
    if (ch->reason == NULL) {
        return CPIKA_E_NOMEM;
    }
    read_reason(frame, ch->reason);
    int rc = ch->close_sent ? cpika_engine_cross(e, ch)
                            : cpika_engine_owe(e, (uint16_t)ch->number, CPIKA_ID_channel_close_ok, NULL, 0);
    if (rc == CPIKA_OK) {
        rc = notice(e, ch, CPIKA_NOTICE_CHANNEL_CLOSED, NULL, before);
    }
    cpika_engine_close_channel(e, ch, CPIKA_CLOSED_BY_BROKER);
    return rc;
}

static void
note_blocked(cpika_engine *e, uint32_t id)
{
    if (id == CPIKA_ID_connection_unblocked) {
        e->blocked_until_ns = 0;
    } else if (id == CPIKA_ID_connection_blocked && e->blocked_timeout_ns > 0 && e->blocked_until_ns == 0) {
        e->blocked_until_ns = cpika_now_ns() + e->blocked_timeout_ns;
    }
}

/* The broker has cancelled a consumer. */
static int
handle_cancel(cpika_engine *e, cpika_channel *ch, cpika_message *m)
{
    cpika_consumer_tag tag;
    size_t at = 4;
    if (cpika_payload_shortstr(m->bytes, m->method_len, &at, &tag.bytes, &tag.n)) {
        cpika_consumers_remove(&ch->consumers, &tag);
    }
    return queue(e, ch, CPIKA_EVENT_CANCEL, cpika_message_incref(m), 0);
}

/* What nobody awaits. */
static int
handle_unasked(cpika_engine *e, cpika_channel *ch, uint32_t id, cpika_message *m)
{
    int rc = CPIKA_OK;
    if (ch == NULL) {
        note_blocked(e, id);
    } else if (id == CPIKA_ID_basic_cancel && ch->state == CHANNEL_OPEN) {
        rc = handle_cancel(e, ch, m);
    } else if (id == CPIKA_ID_channel_flow && cpika_channel_may_send(ch)) {
        rc = cpika_engine_owe(e, (uint16_t)ch->number, CPIKA_ID_channel_flow_ok, m->bytes + 4, 1);
    }
    if (rc == CPIKA_OK && e->notices.count < MOST_NOTICES) {
        return notice(e, ch, CPIKA_NOTICE_METHOD, m, 0);
    }
    cpika_message_decref(m);
    return rc;
}

static int
handle_cold_method(cpika_engine *e, cpika_channel *ch, const cpika_frame *frame)
{
    uint32_t id = cpika_get32(frame->payload);
    const cpika_method_spec *spec = cpika_method_find(id);
    if (spec == NULL) {
        cpika_engine_violation(e, CPIKA_E_METHOD_ID, (long)id);
        return CPIKA_OK;
    }
    cpika_value values[CPIKA_METHOD_MAX_FIELDS];
    size_t used;
    int rc = cpika_method_decode_args(spec, frame->payload + 4, frame->size - 4, values, &used);
    if (rc != CPIKA_OK || used != frame->size - 4) {
        return rc != CPIKA_OK ? rc : CPIKA_E_TRAILING;
    }
    if (id == CPIKA_ID_connection_close && !e->tells_all) {
        return handle_connection_close(e, frame);
    }
    if (id == CPIKA_ID_channel_close && ch != NULL && !e->tells_all) {
        return handle_channel_close(e, ch, frame);
    }
    cpika_message *m = cpika_message_new(frame->payload, frame->size, NULL, 0, NULL);
    if (m == NULL) {
        return CPIKA_E_NOMEM;
    }
    if (e->tells_all) {
        return tell(e, ch, CPIKA_EVENT_METHOD, m);
    }
    return cpika_requests_match(cpika_engine_requests(e, ch), id) != NULL ? cpika_engine_answer(e, ch, m)
                                                                          : handle_unasked(e, ch, id, m);
}

/* The method of a message whose content is still to come: refused before that where it is malformed. */
static int
begin_content(cpika_channel *ch, const cpika_frame *frame, uint32_t id)
{
    cpika_deliver_fields deliver;
    cpika_origin_fields origin;
    int rc = id == CPIKA_ID_basic_deliver  ? cpika_deliver_split(frame->payload, frame->size, &deliver)
             : id == CPIKA_ID_basic_get_ok ? cpika_get_ok_split(frame->payload, frame->size, &origin)
                                           : cpika_return_split(frame->payload, frame->size, &origin);
    return rc != CPIKA_OK ? rc : cpika_content_begin(&ch->content, frame);
}

static int
handle_method(cpika_engine *e, cpika_channel *ch, const cpika_frame *frame)
{
    if (ch == NULL) {
        return handle_cold_method(e, NULL, frame);
    }
    if (ch->content.method_id != 0) {
        cpika_ending why = {0};
        cpika_ending_set_unexpected(&why, REPLY_UNEXPECTED_FRAME,
                                    "method frame on channel %d where content was due", ch->number);
        end_for(e, &why);
        return CPIKA_OK;
    }
    uint32_t id = cpika_get32(frame->payload);
    switch (id) {
    case CPIKA_ID_basic_deliver:
    case CPIKA_ID_basic_get_ok:
    case CPIKA_ID_basic_return:
        return begin_content(ch, frame, id);
    case CPIKA_ID_basic_ack:
    case CPIKA_ID_basic_nack:
        return e->tells_all ? handle_cold_method(e, ch, frame)
                            : handle_verdict(e, ch, frame, id == CPIKA_ID_basic_nack);
    default:
        return handle_cold_method(e, ch, frame);
    }
}

/* ---- frames ---- */

static bool
is_close_ok(const cpika_frame *frame)
{
    return frame->type == CPIKA_FRAME_METHOD && frame->size >= 4
           && cpika_get32(frame->payload) == CPIKA_ID_channel_close_ok;
}

/* A frame for a channel that is not there: dropped when the channel was open once, else a violation. */
static void
handle_stray(cpika_engine *e, const cpika_frame *frame)
{
    if (is_close_ok(frame)) {
        check(e, cpika_engine_answer_crossed(e, frame->channel), frame->size);
    }
    if (frame->channel > e->channel_seen) {
        cpika_ending why = {0};
        cpika_ending_set_unexpected(&why, REPLY_CHANNEL_ERROR,
                                    "frame of type %d for channel %d, which was never opened",
                                    (int)frame->type, (int)frame->channel);
        end_for(e, &why);
    }
}

static void
handle_content(cpika_engine *e, cpika_channel *ch, const cpika_frame *frame)
{
    bool header = frame->type == CPIKA_FRAME_HEADER;
    int rc = header ? cpika_content_header(&ch->content, frame)
                    : cpika_content_body(&ch->content, frame->payload, frame->size);
    if (rc < 0) {
        content_violation(e, ch, rc, frame->size);
    } else if (cpika_content_is_whole(&ch->content)) {
        check(e, complete(e, ch), frame->size);
    }
}

static void
handle_frame(cpika_engine *e, const cpika_frame *frame)
{
    if (frame->type == CPIKA_FRAME_HEARTBEAT) {
        return;
    }
    cpika_channel *ch = NULL;
    if (frame->channel != 0) {
        ch = cpika_engine_channel(e, frame->channel);
        if (ch == NULL) {
            handle_stray(e, frame);
            return;
        }
    }
    if (frame->type == CPIKA_FRAME_METHOD) {
        check(e, handle_method(e, ch, frame), frame->size);
    } else if (ch != NULL) {
        handle_content(e, ch, frame);
    } else {
        cpika_ending why = {0};
        cpika_ending_set_unexpected(&why, REPLY_CHANNEL_ERROR, "frame of type %d on channel 0",
                                    (int)frame->type);
        end_for(e, &why);
    }
}

/* ---- a body received in place ---- */

/* Takes what has come of a large body frame; the rest is received straight into the body. */
static cpika_step
begin_in_place(cpika_engine *e, const cpika_frame *frame)
{
    cpika_channel *ch = frame->channel == 0 ? NULL : cpika_engine_channel(e, frame->channel);
    if (!e->in_place_allowed || frame->missing < IN_PLACE_LEAST || ch == NULL) {
        return CPIKA_STEP_MORE;  // dropped or refused once it is whole
    }
    size_t come = cpika_input_available(&e->in) - CPIKA_FRAME_HEAD_SIZE;
    int rc = cpika_content_check_body(&ch->content, frame->size);
    if (rc == CPIKA_OK) {
        rc = cpika_content_body(&ch->content, frame->payload, come);
    }
    if (rc < 0) {
        content_violation(e, ch, rc, frame->size);
        return CPIKA_STEP_DONE;
    }
    e->in.pos = e->in.len;
    e->in_place = (cpika_in_place){ch, frame->size - come};
    return CPIKA_STEP_MORE;
}

bool
cpika_engine_in_place_target(cpika_engine *e, uint8_t **target, size_t *room)
{
    *room = e->in_place.left < IN_PLACE_AHEAD ? e->in_place.left : IN_PLACE_AHEAD;
    if (*room > 0 && cpika_content_room(&e->in_place.channel->content, *room, target) < 0) {
        cpika_engine_violation(e, CPIKA_E_NOMEM, 0);
        return false;
    }
    return true;
}

void
cpika_engine_in_place_received(cpika_engine *e, size_t n)
{
    if (n > 0) {
        e->in_place.channel->content.received += n;
        e->in_place.left -= n;
    }
}

static cpika_step
end_in_place(cpika_engine *e)
{
    if (e->in_place.left > 0 || cpika_input_available(&e->in) == 0) {
        return CPIKA_STEP_MORE;
    }
    cpika_channel *ch = e->in_place.channel;
    e->in_place = (cpika_in_place){NULL, 0};
    if (*cpika_input_begin(&e->in) != CPIKA_FRAME_END) {
        cpika_engine_violation(e, CPIKA_E_FRAME_END, 0);
        return CPIKA_STEP_DONE;
    }
    e->in.pos++;
    e->frames_received++;
    if (cpika_content_is_whole(&ch->content)) {
        cpika_debug_begin_handling();
        check(e, complete(e, ch), 0);
        cpika_debug_end_handling();
    }
    return CPIKA_STEP_DONE;
}

/* ---- a delivery that was taken whole, and kept after all ---- */

void
cpika_engine_queue_delivery(cpika_engine *e, const cpika_raw_delivery *d)
{
    PyObject *body = PyBytes_FromStringAndSize((const char *)d->body, (Py_ssize_t)d->body_len);
    cpika_message *m = NULL;
    if (body == NULL) {
        PyErr_Clear();
    } else {
        m = cpika_message_new(d->method, d->method_len, d->properties, d->properties_len, body);
    }
    check(e, m == NULL ? CPIKA_E_NOMEM : accept_delivery(e, d->channel, m), d->method_len);
    cpika_input_unpin(d->chunk);
}

/* ---- one step ---- */

static cpika_step
no_more(cpika_engine *e)
{
    if (e->input_over) {
        cpika_engine_end(e, &e->over);
    }
    return CPIKA_STEP_MORE;
}

bool
cpika_engine_frame_ready(const cpika_engine *e)
{
    size_t available = cpika_input_available(&e->in);
    if (e->in_place.channel != NULL || e->in.skip > 0 || available < CPIKA_FRAME_OVERHEAD) {
        return false;
    }
    return available - CPIKA_FRAME_OVERHEAD >= cpika_get32(cpika_input_begin(&e->in) + 3);
}

cpika_step
cpika_engine_step(cpika_engine *e, cpika_raw_delivery *direct)
{
    if (cpika_engine_ended(e)) {
        return CPIKA_STEP_MORE;
    }
    if (e->in_place.channel != NULL) {
        cpika_step step = end_in_place(e);
        return step == CPIKA_STEP_MORE ? no_more(e) : step;
    }
    cpika_input_drop_skipped(&e->in);
    size_t available = cpika_input_available(&e->in);
    if (available == 0) {
        return no_more(e);
    }
    cpika_frame frame;
    int rc = cpika_frame_split(cpika_input_begin(&e->in), available, e->frame_max, &frame);
    if (rc == CPIKA_AGAIN) {
        cpika_step step =
            frame.total > 0 && frame.type == CPIKA_FRAME_BODY ? begin_in_place(e, &frame) : CPIKA_STEP_MORE;
        return step == CPIKA_STEP_MORE ? no_more(e) : step;
    }
    if (rc < 0) {
        cpika_engine_violation(e, rc, rc == CPIKA_E_FRAME_TYPE ? (long)frame.type : (long)frame.size);
        return CPIKA_STEP_DONE;
    }
    if (direct != NULL && frame.type == CPIKA_FRAME_METHOD
        && cpika_take_whole(e, &frame, available, direct)) {
        return CPIKA_STEP_DELIVERY;
    }
    if (e->tells_all && direct != NULL && cpika_take_verdict(e, &frame, direct)) {
        return CPIKA_STEP_VERDICT;
    }
    e->in.pos += frame.total;
    e->frames_received++;
    cpika_debug_begin_handling();
    handle_frame(e, &frame);
    cpika_debug_end_handling();
    return CPIKA_STEP_DONE;
}

void
cpika_engine_finish(cpika_engine *e, const cpika_ending *why)
{
    if (e->input_over) {  // the first reason stays
        Py_XDECREF(why->error);
    } else {
        e->input_over = true;
        e->over = *why;
    }
    while (cpika_engine_step(e, NULL) == CPIKA_STEP_DONE) {
    }
}
