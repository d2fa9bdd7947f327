/* reader.c - from bytes to methods and contents: what each frame means, never waiting.
 * Layer: core.
 * Owns: nothing.  Threads: with the GIL; handling one frame is atomic until user code runs, and then the state is whole.
 * Errors: -1 with an exception; a violation of the wire ends the connection with the reply code that the
 *         specification names (rule 6). */
#include "delivery.h"

#include <string.h>

#include "wire/method.h"

enum {
    INPUT_CAPACITY = 256 * 1024,  // two frames of the largest size that pika allows, so that one always fits
    REPLY_CHANNEL_ERROR = 504,
    REPLY_UNEXPECTED_FRAME = 505,
};

int
engine_input_room(CpikaConnection *conn, size_t n)
{
    cpika_buf *in = &conn->in;
    if (in->cap < INPUT_CAPACITY && cpika_buf_reserve(in, INPUT_CAPACITY - in->len) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    if (conn->in_pos == in->len) {
        conn->in_pos = in->len = 0;
    }
    // Moving is for what remains of one frame: not before the free end is smaller than that may grow.
    if (conn->in_pos > 0 && (in->cap - in->len < n || in->cap - in->len < INPUT_CAPACITY / 2)) {
        memmove(in->data, in->data + conn->in_pos, in->len - conn->in_pos);
        in->len -= conn->in_pos;
        conn->in_pos = 0;
    }
    if (cpika_buf_reserve(in, n) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static int
append_input(CpikaConnection *conn, const void *bytes, size_t n)
{
    if (engine_input_room(conn, n) < 0) {
        return -1;
    }
    memcpy(conn->in.data + conn->in.len, bytes, n);
    conn->in.len += n;
    return 0;
}

static int
append_late(CpikaConnection *conn)
{
    if (conn->late.len == 0) {
        return 0;
    }
    int rc = append_input(conn, conn->late.data, conn->late.len);
    conn->late.len = rc == 0 ? 0 : conn->late.len;
    return rc;
}

int
engine_input_append(CpikaConnection *conn, const void *bytes, size_t n)
{
    // recv() of a Python socket gives the GIL away, and another thread may have begun to decode a frame meanwhile.
    if (!conn->decoding) {
        return append_late(conn) < 0 ? -1 : append_input(conn, bytes, n);
    }
    if (cpika_buf_append(&conn->late, bytes, n) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* ---- the hot methods ---- */

static int
handle_get_ok(CpikaConnection *conn, CpikaChannel *ch, const cpika_frame *frame)
{
    cpika_fields f = {frame->payload + 4, frame->payload + frame->size};
    const uint8_t *fixed, *exchange, *key, *count;
    size_t exchange_len, key_len;
    if (!cpika_take(&f, 9, &fixed) || !cpika_take_shortstr(&f, &exchange, &exchange_len)
        || !cpika_take_shortstr(&f, &key, &key_len) || !cpika_take(&f, 4, &count)) {
        return engine_violation(conn, CPIKA_E_TRUNCATED, (long)frame->size);
    }
    if (f.at != f.end) {
        return engine_violation(conn, CPIKA_E_TRAILING, (long)frame->size);
    }
    cpika_origin from = {NULL, NULL};
    PyObject *method = NULL;
    if (cpika_origin_make(conn, exchange, exchange_len, key, key_len, &from) == 0) {
        method = cpika_getok_new(&conn->st->values, cpika_get64(fixed), (fixed[8] & 1) != 0, from.exchange,
                                 from.key, cpika_get32(count));
    }
    cpika_origin_free(&from);
    return method == NULL ? -1 : engine_begin_content(ch, CPIKA_ID_basic_get_ok, method, NULL);
}

static int
handle_return(CpikaConnection *conn, CpikaChannel *ch, const cpika_frame *frame)
{
    cpika_fields f = {frame->payload + 4, frame->payload + frame->size};
    const uint8_t *code, *text, *exchange, *key;
    size_t text_len, exchange_len, key_len;
    if (!cpika_take(&f, 2, &code) || !cpika_take_shortstr(&f, &text, &text_len)
        || !cpika_take_shortstr(&f, &exchange, &exchange_len) || !cpika_take_shortstr(&f, &key, &key_len)) {
        return engine_violation(conn, CPIKA_E_TRUNCATED, (long)frame->size);
    }
    if (f.at != f.end) {
        return engine_violation(conn, CPIKA_E_TRAILING, (long)frame->size);
    }
    cpika_origin from = {NULL, NULL};
    PyObject *method = NULL;
    PyObject *reply = cpika_text_decode(text, text_len);
    if (reply != NULL && cpika_origin_make(conn, exchange, exchange_len, key, key_len, &from) == 0) {
        method = cpika_return_new(&conn->st->values, cpika_get16(code), reply, from.exchange, from.key);
    }
    cpika_origin_free(&from);
    Py_XDECREF(reply);
    return method == NULL ? -1 : engine_begin_content(ch, CPIKA_ID_basic_return, method, NULL);
}

/* Basic.Ack and Basic.Nack of the broker: confirms. */
static int
handle_confirm(CpikaConnection *conn, CpikaChannel *ch, const cpika_frame *frame, bool nack)
{
    if (frame->size != 4 + 9) {
        return engine_violation(conn, frame->size < 4 + 9 ? CPIKA_E_TRUNCATED : CPIKA_E_TRAILING,
                                (long)frame->size);
    }
    uint64_t tag = cpika_get64(frame->payload + 4);
    bool multiple = (frame->payload[12] & 1) != 0;
    PyObject *method = NULL;
    if (nack) {
        uint32_t id;
        int status;
        method = cpika_method_decode(&conn->st->values, frame->payload, frame->size, &id, &status);
        if (method == NULL) {
            return status < 0 ? engine_violation(conn, status, (long)frame->size) : -1;
        }
    }
    int rc = engine_confirmed(ch, tag, multiple, method);
    Py_XDECREF(method);
    return rc < 0 ? -1 : 1;
}

/* ---- methods that end something ---- */

static PyObject *
method_field(PyObject *method, const char *name)
{
    PyObject *value = PyObject_GetAttrString(method, name);
    if (value == NULL) {
        PyErr_Clear();
        value = Py_NewRef(Py_None);
    }
    return value;
}

/* New exception (reply_code, reply_text) of what the broker's Close says; NULL with an exception. */
static PyObject *
close_reason(CpikaConnection *conn, cpika_exc which, PyObject *method)
{
    PyObject *code = method_field(method, "reply_code");
    PyObject *text = method_field(method, "reply_text");
    PyObject *reason = PyObject_CallFunctionObjArgs(conn->st->exceptions[which], code, text, NULL);
    Py_DECREF(code);
    Py_DECREF(text);
    return reason;
}

/* Answers with a method that has no arguments. */
static int
send_bare(CpikaConnection *conn, uint16_t channel, uint32_t id)
{
    uint8_t frame[CPIKA_FRAME_OVERHEAD + 4];
    cpika_frame_put_head(frame, CPIKA_FRAME_METHOD, channel, 4);
    cpika_put32(frame + CPIKA_FRAME_HEAD_SIZE, id);
    frame[sizeof frame - 1] = CPIKA_FRAME_END;
    return engine_send(conn, frame, sizeof frame) < 0 ? -1 : 0;
}

static int
handle_connection_close(CpikaConnection *conn, PyObject *method)
{
    PyObject *reason = close_reason(conn, CPIKA_EXC_ConnectionClosedByBroker, method);
    if (reason == NULL) {
        return -1;
    }
    conn->decoding = false;
    conn->state = conn->state == CONNECTION_OPEN ? CONNECTION_CLOSING : conn->state;
    if (send_bare(conn, 0, CPIKA_ID_connection_close_ok) < 0) {
        PyErr_Clear();  // it has hung up already: what it said before is the reason
    }
    if (conn->state == CONNECTION_CLOSED) {
        Py_XSETREF(conn->error, Py_NewRef(reason));
        Py_DECREF(reason);
        return engine_raise_closed(conn);
    }
    return engine_fail(conn, reason);
}

static int
handle_channel_close(CpikaConnection *conn, CpikaChannel *ch, PyObject *method)
{
    PyObject *reason = close_reason(conn, CPIKA_EXC_ChannelClosedByBroker, method);
    if (reason == NULL) {
        return -1;
    }
    conn->decoding = false;
    int rc = send_bare(conn, (uint16_t)ch->number, CPIKA_ID_channel_close_ok);
    if (rc == 0) {
        Py_XSETREF(ch->closing_reason, Py_NewRef(reason));
        conn->return_asked = true;
        PyObject *before = PyLong_FromLong(ch->state);  // small: it is there
        // Both sides may close at once: then our Close is answered all the same, and that ends it.
        if (ch->state != CHANNEL_CLOSING) {
            channel_set_closed(ch, Py_NewRef(reason));
        }
        PyObject *args[] = {reason, before};
        engine_hook((PyObject *)ch, conn->st->names._on_closed_by_broker, args, 2);
        Py_DECREF(before);
    }
    Py_DECREF(reason);
    return rc < 0 ? -1 : 1;
}

static void
note_blocked(CpikaConnection *conn, uint32_t id)
{
    if (id == CPIKA_ID_connection_unblocked) {
        conn->blocked_until_ns = 0;
    } else if (conn->blocked_timeout_ns > 0 && conn->blocked_until_ns == 0) {
        conn->blocked_until_ns = cpika_now_ns() + conn->blocked_timeout_ns;
    }
}

/* Methods that no waiter took: Python decides what they mean (blocked, cancel, flow) and logs the rest. */
static int
hand_to_python(CpikaConnection *conn, CpikaChannel *ch, PyObject *method)
{
    conn->decoding = false;
    PyObject *args[] = {ch == NULL ? Py_None : (PyObject *)ch, method};
    engine_hook((PyObject *)conn, conn->st->names._on_method, args, 2);
    return 1;
}

static int
handle_cold_method(CpikaConnection *conn, CpikaChannel *ch, const cpika_frame *frame)
{
    uint32_t id = 0;
    int status = 0;
    PyObject *method = cpika_method_decode(&conn->st->values, frame->payload, frame->size, &id, &status);
    if (method == NULL) {
        long detail = status == CPIKA_E_METHOD_ID && frame->size >= 4 ? (long)id : (long)frame->size;
        return status < 0 ? engine_violation(conn, status, detail) : -1;
    }
    int rc = 1;
    cpika_waiter *waiter;
    if (id == CPIKA_ID_connection_close) {
        rc = handle_connection_close(conn, method);
    } else if (id == CPIKA_ID_channel_close && ch != NULL) {
        rc = handle_channel_close(conn, ch, method);
    } else if ((waiter = engine_waiter_for(conn, ch, id)) != NULL) {
        if (id == CPIKA_ID_channel_open_ok && ch != NULL && ch->state == CHANNEL_OPENING) {
            ch->state = CHANNEL_OPEN;
        }
        // What an interrupted call has begun all the same: a consumer, the end of a channel.
        bool unwanted =
            waiter->abandoned && (id == CPIKA_ID_basic_consume_ok || id == CPIKA_ID_channel_close_ok);
        engine_answer(conn, ch, waiter, Py_NewRef(method));
        if (unwanted) {
            rc = hand_to_python(conn, ch, method);
        }
    } else {
        if (id == CPIKA_ID_connection_blocked || id == CPIKA_ID_connection_unblocked) {
            note_blocked(conn, id);
        }
        rc = hand_to_python(conn, ch, method);
    }
    Py_DECREF(method);
    return rc;
}

/* ---- frames ---- */

static int
handle_method(CpikaConnection *conn, CpikaChannel *ch, const cpika_frame *frame)
{
    if (ch != NULL) {
        if (ch->content.method_id != 0) {
            return engine_refuse(conn, REPLY_UNEXPECTED_FRAME,
                                 cpika_exc_new(conn->st, CPIKA_EXC_UnexpectedFrameError,
                                               "method frame on channel %d where content was due",
                                               ch->number));
        }
        switch (cpika_get32(frame->payload)) {
        case CPIKA_ID_basic_deliver:
            return delivery_begin(conn, ch, frame);
        case CPIKA_ID_basic_get_ok:
            return handle_get_ok(conn, ch, frame);
        case CPIKA_ID_basic_return:
            return handle_return(conn, ch, frame);
        case CPIKA_ID_basic_ack:
            return handle_confirm(conn, ch, frame, false);
        case CPIKA_ID_basic_nack:
            return handle_confirm(conn, ch, frame, true);
        default:
            break;
        }
    }
    return handle_cold_method(conn, ch, frame);
}

/* A frame for a channel that is not there: dropped when the channel was open once, else a violation. */
static int
handle_stray(CpikaConnection *conn, const cpika_frame *frame)
{
    if (frame->channel <= conn->channel_seen) {
        return 1;
    }
    return engine_refuse(conn, REPLY_CHANNEL_ERROR,
                         cpika_exc_new(conn->st, CPIKA_EXC_UnexpectedFrameError,
                                       "frame of type %d for channel %d, which was never opened",
                                       (int)frame->type, (int)frame->channel));
}

static int
handle_frame_of(CpikaConnection *conn, CpikaChannel *ch, const cpika_frame *frame, cpika_event *direct)
{
    if (frame->type == CPIKA_FRAME_METHOD) {
        return handle_method(conn, ch, frame);
    }
    if (ch == NULL) {
        return engine_refuse(conn, REPLY_CHANNEL_ERROR,
                             cpika_exc_new(conn->st, CPIKA_EXC_UnexpectedFrameError,
                                           "frame of type %d on channel 0", (int)frame->type));
    }
    return frame->type == CPIKA_FRAME_HEADER ? engine_content_header(conn, ch, frame, direct)
                                             : engine_content_body(conn, ch, frame, direct);
}

static int
handle_frame(CpikaConnection *conn, const cpika_frame *frame, cpika_event *direct)
{
    if (frame->type == CPIKA_FRAME_HEARTBEAT) {
        return 1;
    }
    CpikaChannel *ch = NULL;
    if (frame->channel != 0) {
        ch = engine_channel(conn, frame->channel);
        if (ch == NULL) {
            return handle_stray(conn, frame);
        }
    }
    Py_XINCREF(ch);  // Python code that the frame runs may close the channel
    int rc = handle_frame_of(conn, ch, frame, direct);
    Py_XDECREF(ch);
    return rc;
}

bool
engine_frame_ready(const CpikaConnection *conn)
{
    size_t available = conn->in.len - conn->in_pos;
    if (conn->direct != NULL || conn->skip > 0 || available < CPIKA_FRAME_OVERHEAD) {
        return false;
    }
    return available - CPIKA_FRAME_OVERHEAD >= cpika_get32(conn->in.data + conn->in_pos + 3);
}

static int
handle_next(CpikaConnection *conn, cpika_event *direct)
{
    if (conn->state == CONNECTION_CLOSED) {
        return engine_raise_closed(conn);
    }
    if (conn->direct != NULL) {
        return engine_end_direct(conn, direct);
    }
    if (append_late(conn) < 0) {
        return -1;
    }
    size_t available = conn->in.len - conn->in_pos;
    if (conn->skip > 0) {
        size_t dropped = conn->skip < available ? conn->skip : available;
        conn->skip -= dropped;
        conn->in_pos += dropped;
        available -= dropped;
    }
    if (available == 0) {
        return 0;
    }
    cpika_frame frame;
    int rc = cpika_frame_split(conn->in.data + conn->in_pos, available, conn->frame_max, &frame);
    if (rc == CPIKA_AGAIN) {
        return frame.total > 0 && frame.type == CPIKA_FRAME_BODY
                   ? engine_begin_direct(conn, &frame, available)
                   : 0;
    }
    if (rc < 0) {
        return engine_violation(conn, rc, rc == CPIKA_E_FRAME_TYPE ? (long)frame.type : (long)frame.size);
    }
    if (direct != NULL && frame.type == CPIKA_FRAME_METHOD) {
        rc = delivery_whole(conn, &frame, available, direct);
        if (rc != 0) {
            return rc;
        }
    }
    conn->in_pos += frame.total;
    conn->decoding = true;
    return handle_frame(conn, &frame, direct);
}

int
engine_next_frame(CpikaConnection *conn, cpika_event *direct)
{
    // What a frame means may run Python code, which can lose the GIL: the frame behind it waits until it is done with,
    // or an ack would overtake the return that belongs to it.
    unsigned long self = PyThread_get_thread_ident();
    unsigned long before = conn->handler;
    if (before != 0 && before != self) {
        conn->turned_away = true;
        return 0;
    }
    if (conn->decoding) {
        return 0;  // from within: a finalizer that the garbage collector ran, or a replaced __init__
    }
    conn->handler = self;
    int rc;
    do {
        rc = handle_next(conn, direct);
        conn->decoding = false;
        // For a dispatching call a message is the step, not each of its frames.
    } while (rc > 0 && direct != NULL && direct->channel == NULL && conn->events.count == 0
             && conn->state != CONNECTION_CLOSED);
    conn->handler = before;
    if (conn->turned_away && before == 0) {
        conn->turned_away = false;
        engine_wake_others(conn);
    }
    return rc;
}
