/* methods.c - answers the client's methods.
 * Layer: benchmark tool.  Owns: the channels of a connection.  Threads: the connection's own.
 * Errors: negative when the connection is to be dropped at once; what the client did wrong is answered by
 * Connection.Close or Channel.Close. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server.h"

enum { MAX_STRINGS = 4 };

/* What all ordinary methods share: an optional reserved short, some short strings, one octet of bits. */
typedef struct {
    uint16_t class_id, method_id;
    uint16_t answer;   // its method id
    uint8_t reserved;  // bytes before the first string
    uint8_t strings;
    int8_t nowait_bit;  // in the octet after the strings; -1: always answered
} shape;

static const shape SHAPES[] = {
    {CLASS_CHANNEL, 20, 21, 0, 0, -1},  // flow
    {CLASS_EXCHANGE, 10, 11, 2, 2, 4},  // declare
    {CLASS_EXCHANGE, 20, 21, 2, 1, 1},  // delete
    {CLASS_EXCHANGE, 30, 31, 2, 3, 0},  // bind
    {CLASS_EXCHANGE, 40, 51, 2, 3, 0},  // unbind
    {CLASS_QUEUE, 10, 11, 2, 1, 4},     // declare
    {CLASS_QUEUE, 20, 21, 2, 3, 0},     // bind
    {CLASS_QUEUE, 30, 31, 2, 1, 0},     // purge
    {CLASS_QUEUE, 40, 41, 2, 1, 2},     // delete
    {CLASS_QUEUE, 50, 51, 2, 3, -1},    // unbind
    {CLASS_BASIC, 10, 11, 6, 0, -1},    // qos
    {CLASS_BASIC, 20, 21, 2, 2, 3},     // consume
    {CLASS_BASIC, 30, 31, 0, 1, 0},     // cancel
    {CLASS_BASIC, 70, 0, 2, 1, -1},     // get
    {CLASS_BASIC, 80, 0, 8, 0, -1},     // ack
    {CLASS_BASIC, 90, 0, 8, 0, -1},     // reject
    {CLASS_BASIC, 100, 0, 0, 0, -1},    // recover-async
    {CLASS_BASIC, 110, 111, 0, 0, -1},  // recover
    {CLASS_BASIC, 120, 0, 8, 0, -1},    // nack
    {CLASS_CONFIRM, 10, 11, 0, 0, 0},   // select
    {CLASS_TX, 10, 11, 0, 0, -1},       // select
    {CLASS_TX, 20, 21, 0, 0, -1},       // commit
    {CLASS_TX, 30, 31, 0, 0, -1},       // rollback
};

typedef struct {
    const char *at;
    size_t len;
} text;

typedef struct {
    const shape *shape;
    const uint8_t *args;  // the reserved bytes
    text strings[MAX_STRINGS];
    uint8_t bits;
} method;

/* Finds the shape and splits the arguments; false when unknown or too short. */
static bool
method_split(method *m, const uint8_t *payload, size_t size)
{
    uint16_t class_id = cpika_get16(payload);
    uint16_t method_id = cpika_get16(payload + 2);
    const uint8_t *p = payload + 4;
    const uint8_t *end = payload + size;
    for (size_t i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++) {
        if (SHAPES[i].class_id == class_id && SHAPES[i].method_id == method_id) {
            m->shape = &SHAPES[i];
            break;
        }
    }
    if (m->shape == NULL || (size_t)(end - p) < m->shape->reserved) {
        return false;
    }
    m->args = p;
    p += m->shape->reserved;
    for (size_t i = 0; i < m->shape->strings; i++) {
        if (p == end || (size_t)(end - p) < 1U + *p) {
            return false;
        }
        m->strings[i] = (text){(const char *)p + 1, *p};
        p += 1 + *p;
    }
    m->bits = p < end ? *p : 0;
    return true;
}

static int
answer_empty(conn *c, uint16_t number, uint16_t class_id, uint16_t method_id)
{
    return frame_end(&c->out, frame_begin(&c->out, number, class_id, method_id));
}

static int
refuse(conn *c, uint16_t number, uint16_t code, const char *why)
{
    return put_close(&c->out, number, code, why);
}

static void
channel_free(conn *c, channel *ch)
{
    queue_drop_channel(c, ch);
    c->channels[ch->number] = NULL;
    free(ch->settled);
    free(ch);
}

static int
connection_method(conn *c, uint16_t method_id, const uint8_t *args, size_t size)
{
    size_t begun;
    switch (method_id) {
    case 11:  // start-ok: any user is welcome
        begun = frame_begin(&c->out, 0, CLASS_CONNECTION, 30);
        (void)cpika_buf_put16(&c->out, CHANNEL_MAX);
        (void)cpika_buf_put32(&c->out, FRAME_MAX);
        (void)cpika_buf_put16(&c->out, HEARTBEAT_SECONDS);
        return frame_end(&c->out, begun);
    case 31:  // tune-ok
        if (size < 8) {
            return refuse(c, 0, REPLY_FRAME_ERROR, "FRAME_ERROR - short Tune-Ok");
        }
        c->frame_max = cpika_get32(args + 2);
        if (c->frame_max < 4096 || c->frame_max > FRAME_MAX) {
            c->frame_max = FRAME_MAX;
        }
        c->heartbeat = cpika_get16(args + 6);
        return 0;
    case 40:  // open
        begun = frame_begin(&c->out, 0, CLASS_CONNECTION, 41);
        (void)put_shortstr(&c->out, "", 0);
        return frame_end(&c->out, begun);
    case 50:  // close
        c->closing = true;
        return answer_empty(c, 0, CLASS_CONNECTION, 51);
    case 51:  // close-ok
        c->closing = true;
        return 0;
    case 70:  // update-secret
        return answer_empty(c, 0, CLASS_CONNECTION, 71);
    default:
        return refuse(c, 0, REPLY_COMMAND_INVALID, "COMMAND_INVALID");
    }
}

static int
channel_open(conn *c, uint16_t number)
{
    channel *ch = calloc(1, sizeof *ch);
    if (ch == NULL) {
        return -1;
    }
    ch->number = number;
    c->channels[number] = ch;
    size_t begun = frame_begin(&c->out, number, CLASS_CHANNEL, 11);
    (void)put_longstr(&c->out, "", 0);
    return frame_end(&c->out, begun);
}

static int
settle(conn *c, channel *ch, const method *m)
{
    uint16_t id = m->shape->method_id;
    bool multiple = id != 90 && (m->bits & 1);
    if (id == 80) {
        *(multiple ? &c->n.acks_multiple : &c->n.acks) += 1;
    } else {
        c->n.nacks++;
    }
    int code = queue_settle(c, ch, cpika_get64(m->args), multiple);
    return code == 0 ? 0 : refuse(c, ch->number, (uint16_t)code, "PRECONDITION_FAILED - unknown delivery tag");
}

static int
consume(conn *c, channel *ch, const method *m)
{
    char made[32];
    text tag = m->strings[1];
    if (tag.len == 0) {
        int n = snprintf(made, sizeof made, "bench-ctag-%u", ++c->names_made);
        tag = (text){made, (size_t)n};
    }
    if (queue_consume(c, ch, m->strings[0].at, m->strings[0].len, tag.at, tag.len, (m->bits & 2) != 0) < 0) {
        return -1;
    }
    if (m->bits & 8) {
        return 0;
    }
    size_t begun = frame_begin(&c->out, ch->number, CLASS_BASIC, 21);
    (void)put_shortstr(&c->out, tag.at, tag.len);
    return frame_end(&c->out, begun);
}

/* What the method does, before its answer; the arguments that are its answer's own are put by method_answer. */
static int
basic_method(conn *c, channel *ch, const method *m)
{
    switch (m->shape->method_id) {
    case 10:
        ch->prefetch = cpika_get16(m->args + 4);
        return 0;
    case 30:
        queue_cancel(c, ch, m->strings[0].at, m->strings[0].len);
        return 0;
    case 70:
        return queue_get(c, ch, m->strings[0].at, m->strings[0].len, (m->bits & 1) != 0);
    case 80:
    case 90:
    case 120:
        return settle(c, ch, m);
    default:
        return 0;
    }
}

static void
put_queue_declared(conn *c, text name)
{
    char made[32];
    if (name.len == 0) {
        int n = snprintf(made, sizeof made, "amq.gen-%u", ++c->names_made);
        name = (text){made, (size_t)n};
    }
    queue *q = queue_find(c, name.at, name.len, false);
    (void)put_shortstr(&c->out, name.at, name.len);
    (void)cpika_buf_put32(&c->out, (uint32_t)queue_message_count(c, name.at, name.len));
    (void)cpika_buf_put32(&c->out, q != NULL ? (uint32_t)q->n_consumers : 0);
}

static int
method_answer(conn *c, channel *ch, const method *m)
{
    const shape *s = m->shape;
    if (s->answer == 0 || (s->nowait_bit >= 0 && (m->bits >> s->nowait_bit & 1))) {
        return 0;
    }
    size_t begun = frame_begin(&c->out, ch->number, s->class_id, s->answer);
    if (s->class_id == CLASS_CHANNEL) {
        (void)cpika_buf_put8(&c->out, m->bits & 1);
    } else if (s->class_id == CLASS_BASIC && s->answer == 31) {
        (void)put_shortstr(&c->out, m->strings[0].at, m->strings[0].len);
    } else if (s->class_id == CLASS_QUEUE && s->answer == 11) {
        put_queue_declared(c, m->strings[0]);
    } else if (s->class_id == CLASS_QUEUE && (s->answer == 31 || s->answer == 41)) {
        (void)cpika_buf_put32(&c->out, queue_empty(c, m->strings[0].at, m->strings[0].len, s->answer == 41));
    }
    return frame_end(&c->out, begun);
}

static int
channel_method(conn *c, channel *ch, const uint8_t *payload, size_t size)
{
    method m = {0};
    uint16_t class_id = cpika_get16(payload);
    uint16_t method_id = cpika_get16(payload + 2);
    if (class_id == CLASS_CHANNEL && method_id == 40) {
        uint16_t number = ch->number;
        channel_free(c, ch);
        return answer_empty(c, number, CLASS_CHANNEL, 41);
    }
    if (class_id == CLASS_CHANNEL && method_id == 41) {
        channel_free(c, ch);
        return 0;
    }
    if (!method_split(&m, payload, size)) {
        return refuse(c, 0, REPLY_NOT_IMPLEMENTED, "NOT_IMPLEMENTED");
    }
    if (class_id == CLASS_BASIC && method_id == 20) {
        return consume(c, ch, &m);
    }
    if (class_id == CLASS_BASIC && basic_method(c, ch, &m) < 0) {
        return -1;
    }
    if (class_id == CLASS_CONFIRM) {
        ch->confirming = true;
    }
    return method_answer(c, ch, &m);
}

int
method_handle(conn *c, uint16_t channel_number, const uint8_t *payload, size_t size)
{
    if (size < 4) {
        return refuse(c, 0, REPLY_FRAME_ERROR, "FRAME_ERROR - short method");
    }
    uint16_t class_id = cpika_get16(payload);
    uint16_t method_id = cpika_get16(payload + 2);
    if (channel_number == 0) {
        return class_id == CLASS_CONNECTION ? connection_method(c, method_id, payload + 4, size - 4)
                                            : refuse(c, 0, REPLY_COMMAND_INVALID, "COMMAND_INVALID");
    }
    channel *ch = channel_number <= CHANNEL_MAX ? c->channels[channel_number] : NULL;
    if (class_id == CLASS_CHANNEL && method_id == 10) {
        return channel_number <= CHANNEL_MAX && ch == NULL
                   ? channel_open(c, channel_number)
                   : refuse(c, 0, REPLY_CHANNEL_ERROR, "CHANNEL_ERROR - cannot open this channel");
    }
    if (ch == NULL) {
        return refuse(c, 0, REPLY_CHANNEL_ERROR, "CHANNEL_ERROR - expected 'channel.open'");
    }
    if (ch->content != CONTENT_NONE) {
        return refuse(c, 0, REPLY_UNEXPECTED_FRAME, "UNEXPECTED_FRAME - a method inside content");
    }
    if (class_id == CLASS_BASIC && method_id == 40) {
        ch->content = CONTENT_HEADER;
        return 0;
    }
    return channel_method(c, ch, payload, size);
}
