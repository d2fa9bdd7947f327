/* publish.c - basic_publish: one message, encoded whole, in one send.
 * Layer: core.
 * Owns: nothing beyond a call.  Threads: with the GIL; delivery tags are given under the link's lock, in the order
 *       of the stream.
 * Errors: NULL or -1 with an exception; everything is validated before the first byte is queued. */
#include "publish.h"

#include "values/args.h"
#include "wire/method.h"

enum {
    // From here on a body is not copied but sent from the caller's bytes: below, building an iovec costs more than the
    // copy (measured: see docs/architecture.md).
    BORROW_LEAST = 16384,
    LOOK_EVERY_NS = CPIKA_NS_PER_MS,
};

/* ---- encoding ---- */

/* The body of a message: bytes of the caller, held by a buffer or by a str's own UTF-8. */
typedef struct {
    const uint8_t *data;
    size_t size;
    Py_buffer view;   // of bytearray, memoryview and the like
    PyObject *owner;  // owned; NULL while `view` holds the bytes
} body_bytes;

static void
free_body(body_bytes *body)
{
    if (body->owner != NULL) {
        Py_CLEAR(body->owner);
    } else if (body->view.obj != NULL) {
        PyBuffer_Release(&body->view);
    }
}

static int
take_body(cpika_values *v, PyObject *value, body_bytes *body)
{
    Py_ssize_t size;
    if (PyBytes_Check(value)) {
        body->data = (const uint8_t *)PyBytes_AS_STRING(value);
        size = PyBytes_GET_SIZE(value);
        body->owner = Py_NewRef(value);
    } else if (PyUnicode_Check(value)) {
        body->data = (const uint8_t *)PyUnicode_AsUTF8AndSize(value, &size);
        if (body->data == NULL) {
            return -1;
        }
        body->owner = Py_NewRef(value);
    } else if (PyObject_CheckBuffer(value)) {
        if (PyObject_GetBuffer(value, &body->view, PyBUF_SIMPLE) < 0) {
            return -1;
        }
        body->data = body->view.buf;
        size = body->view.len;
    } else {
        // What pika does with anything else: value.encode('UTF-8').
        PyObject *utf8 = PyUnicode_FromString("UTF-8");
        PyObject *encoded = utf8 == NULL ? NULL : PyObject_CallMethodOneArg(value, v->str_encode, utf8);
        Py_XDECREF(utf8);
        if (encoded == NULL) {
            return -1;
        }
        if (!PyBytes_Check(encoded)) {
            PyErr_Format(PyExc_TypeError, "body must be str or bytes, not %R", (PyObject *)Py_TYPE(value));
            Py_DECREF(encoded);
            return -1;
        }
        body->data = (const uint8_t *)PyBytes_AS_STRING(encoded);
        size = PyBytes_GET_SIZE(encoded);
        body->owner = encoded;
    }
    body->size = (size_t)size;
    return 0;
}

static int
no_memory(void)
{
    PyErr_NoMemory();
    return -1;
}

/* Basic.Publish: two short strings between fixed bytes. */
static int
encode_publish(CpikaChannel *ch, const publish_args *a, cpika_buf *out)
{
    cpika_values *values = &ch->st->values;
    const uint8_t *exchange, *key;
    Py_ssize_t exchange_len, key_len;
    if (cpika_shortstr_check(values, a->exchange, "exchange", &exchange, &exchange_len) < 0
        || cpika_shortstr_check(values, a->routing_key, "routing_key", &key, &key_len) < 0) {
        return -1;
    }
    size_t payload = 4 + 2 + 1 + (size_t)exchange_len + 1 + (size_t)key_len + 1;
    if (cpika_buf_reserve(out, CPIKA_FRAME_OVERHEAD + payload) < 0) {
        return no_memory();
    }
    uint8_t *p = out->data + out->len;
    cpika_frame_put_head(p, CPIKA_FRAME_METHOD, (uint16_t)ch->number, (uint32_t)payload);
    p += CPIKA_FRAME_HEAD_SIZE;
    cpika_put32(p, CPIKA_ID_basic_publish);
    cpika_put16(p + 4, 0);  // ticket: reserved
    p += 6;
    *p++ = (uint8_t)exchange_len;
    memcpy(p, exchange, (size_t)exchange_len);
    p += exchange_len;
    *p++ = (uint8_t)key_len;
    memcpy(p, key, (size_t)key_len);
    p += key_len;
    *p++ = a->mandatory ? 1 : 0;
    *p = CPIKA_FRAME_END;
    out->len += CPIKA_FRAME_OVERHEAD + payload;
    return 0;
}

static int
encode_header(CpikaChannel *ch, const publish_args *a, size_t body_size, cpika_buf *out)
{
    size_t start = 0;
    if (cpika_frame_begin(out, CPIKA_FRAME_HEADER, (uint16_t)ch->number, &start) < 0
        || cpika_buf_reserve(out, 12) < 0) {
        return no_memory();
    }
    uint8_t *p = out->data + out->len;
    cpika_put32(p, (uint32_t)(CPIKA_ID_basic_publish >> 16) << 16);  // class; weight 0
    cpika_put64(p + 4, body_size);
    out->len += 12;
    // pika: `properties or BasicProperties()`
    int given = a->properties == NULL ? 0 : cpika_arg_true(a->properties, 0);
    if (given < 0 || cpika_props_encode(&ch->st->values, given ? a->properties : Py_None, out) < 0) {
        return -1;
    }
    size_t size = out->len - start - CPIKA_FRAME_HEAD_SIZE;
    int rc = cpika_frame_end(out, start, ch->conn->frame_max);
    if (rc == CPIKA_E_FRAME_SIZE) {
        PyErr_Format(
            PyExc_ValueError,
            "properties take a content header of %zu bytes, more than the negotiated frame_max %u allows",
            size, (unsigned)ch->conn->frame_max);
        return -1;
    }
    return rc < 0 ? no_memory() : 0;
}

static int
encode_body(CpikaChannel *ch, const body_bytes *body, cpika_buf *out)
{
    size_t most = ch->conn->frame_max - CPIKA_FRAME_OVERHEAD;
    for (size_t at = 0; at < body->size;) {
        size_t n = body->size - at < most ? body->size - at : most;
        if (cpika_buf_reserve(out, n + CPIKA_FRAME_OVERHEAD) < 0) {
            return no_memory();
        }
        uint8_t *p = out->data + out->len;
        cpika_frame_put_head(p, CPIKA_FRAME_BODY, (uint16_t)ch->number, (uint32_t)n);
        memcpy(p + CPIKA_FRAME_HEAD_SIZE, body->data + at, n);
        p[CPIKA_FRAME_HEAD_SIZE + n] = CPIKA_FRAME_END;
        out->len += n + CPIKA_FRAME_OVERHEAD;
        at += n;
    }
    return 0;
}

/* ---- sending ---- */

/* Queues method and header (in `head`) and the body's frames, the body itself by reference.  0, or a negative status
 * and nothing queued. */
static int
push_by_reference_locked(CpikaChannel *ch, const cpika_buf *head, const body_bytes *body)
{
    cpika_outq *q = &ch->conn->link->out;
    size_t most = ch->conn->frame_max - CPIKA_FRAME_OVERHEAD;
    size_t frames = body->size / most + 1;
    int rc = cpika_outq_reserve(q, 3 * frames + 1);
    size_t pushed = 0;
    if (rc == CPIKA_OK) {
        rc = cpika_outq_push(q, head->data, head->len);
        pushed += rc == CPIKA_OK ? head->len : 0;
    }
    for (size_t at = 0; rc == CPIKA_OK && at < body->size;) {
        size_t n = body->size - at < most ? body->size - at : most;
        uint8_t frame_head[CPIKA_FRAME_HEAD_SIZE];
        static const uint8_t frame_end = CPIKA_FRAME_END;
        cpika_frame_put_head(frame_head, CPIKA_FRAME_BODY, (uint16_t)ch->number, (uint32_t)n);
        rc = cpika_outq_push(q, frame_head, sizeof frame_head);
        pushed += rc == CPIKA_OK ? sizeof frame_head : 0;
        if (rc == CPIKA_OK) {
            rc = cpika_outq_push_borrowed(q, body->data + at, n);
            pushed += rc == CPIKA_OK ? n : 0;
        }
        if (rc == CPIKA_OK) {
            rc = cpika_outq_push(q, &frame_end, 1);
            pushed += rc == CPIKA_OK ? 1 : 0;
        }
        at += n;
    }
    if (rc != CPIKA_OK) {
        cpika_outq_unpush(q, pushed);
    }
    return rc;
}

/* Copies what is still unsent of the caller's bytes: a frame once begun is always finished (rule 12). */
static void
adopt_rest(CpikaConnection *conn)
{
    if (conn->link == NULL || cpika_link_forked(conn->link)) {
        return;
    }
    engine_lock(conn);
    int rc = cpika_outq_adopt(&conn->link->out);
    engine_unlock(conn);
    if (rc < 0) {
        // The stream cannot be continued in step: better no connection than a broken one.
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        engine_terminate(conn, PyObject_CallNoArgs(PyExc_MemoryError));
        PyErr_Restore(type, value, traceback);
    }
}

/* Like the next two, for a caller who has the lock; gives it back. */
static int
send_by_reference_unlock(CpikaChannel *ch, const cpika_buf *head, const body_bytes *body)
{
    CpikaConnection *conn = ch->conn;
    int rc = push_by_reference_locked(ch, head, body);
    engine_unlock(conn);
    if (rc < 0) {
        return engine_fail(conn,
                           PyObject_CallNoArgs(PyExc_MemoryError));  // it was counted: nothing may follow it
    }
    rc = engine_flush_some(conn);
    if (rc == CPIKA_AGAIN) {
        rc = engine_wait_output(conn);
    }
    // Also when another thread's output stands before ours, or the wait was interrupted.
    adopt_rest(conn);
    return rc < 0 ? -1 : 0;
}

static int
send_message_unlock(CpikaChannel *ch, const cpika_buf *message)
{
    int rc = engine_send_unlock(ch->conn, message->data, message->len, ch->conn->clock_ns);
    return rc == CPIKA_AGAIN ? engine_wait_output(ch->conn) : rc;
}

int
channel_look(CpikaChannel *ch)
{
    CpikaConnection *conn = ch->conn;
    uint64_t now = cpika_now_ns();
    conn->clock_ns = now;
    if (now - conn->last_look_ns < LOOK_EVERY_NS || (conn->reader != 0 && conn->sock != NULL)
        || engine_inside_socket(conn)) {
        // Also what the caller's own objects did while they were encoded counts.
        return ch->state == CHANNEL_OPEN ? 0 : channel_raise_not_open(ch);
    }
    bool may_read = !conn->decoding;  // else nothing is read, and a silence means nothing
    Py_ssize_t n = engine_read_some(conn);
    int handled = n < 0 ? -1 : 1;
    while (handled > 0) {
        handled = engine_next_frame(conn, NULL);
    }
    if (handled < 0 || (may_read && engine_check_deadlines(conn) < 0)) {
        return -1;
    }
    if (n > 0) {
        engine_wake_others(conn);  // what came may be another's
    }
    return ch->state == CHANNEL_OPEN ? 0 : channel_raise_not_open(ch);
}

/* What a mandatory message is known by when it comes back.  0 or -1. */
static int
hash_message(CpikaChannel *ch, const publish_args *a, const body_bytes *body, uint64_t *hash)
{
    const uint8_t *exchange, *key;
    Py_ssize_t exchange_len, key_len;
    if (cpika_shortstr_check(&ch->st->values, a->exchange, "exchange", &exchange, &exchange_len) < 0
        || cpika_shortstr_check(&ch->st->values, a->routing_key, "routing_key", &key, &key_len) < 0) {
        return -1;
    }
    *hash = cpika_message_hash(exchange, (size_t)exchange_len, key, (size_t)key_len, body->data, body->size);
    return 0;
}

/* The publish gets the channel's next delivery tag: everybody who awaits confirms has to know.  0 or -1. */
static int
count_publish_locked(CpikaChannel *ch, uint64_t hash, const publish_mode *mode)
{
    for (cpika_window *w = ch->windows; w != NULL; w = w->outer) {
        bool ours = w == mode->window;
        if (cpika_window_add(w, ours ? hash : 0, !ours) < 0) {
            return -1;
        }
    }
    ch->published++;
    if (mode->confirm != NULL) {
        mode->confirm->delivery_tag = ch->published;
        mode->confirm->hash = hash;
        mode->confirm->next = ch->confirms;
        ch->confirms = mode->confirm;
    }
    return 0;
}

/* Leaves the message in the queue until it holds enough, or the keeper's time has come. */
static int
hold_message_unlock(CpikaChannel *ch, const cpika_buf *message, const publish_mode *mode)
{
    CpikaConnection *conn = ch->conn;
    size_t queued;
    if (engine_hold_unlock(conn, message->data, message->len, mode->hold_ns, &queued) < 0) {
        return -1;
    }
    if (queued < mode->hold_bytes) {
        return 0;
    }
    int rc = engine_flush_some(conn);
    return rc == CPIKA_AGAIN ? engine_wait_output(conn) : rc;  // a full socket: memory is not without end
}

int
channel_publish(CpikaChannel *ch, const publish_args *a, const publish_mode *mode)
{
    CpikaConnection *conn = ch->conn;
    body_bytes body = {0};
    // User code may publish from within (a properties' encode()): it finds no scratch, and makes its own.
    cpika_buf message = conn->scratch;
    conn->scratch = (cpika_buf)CPIKA_BUF_INIT;
    message.len = 0;
    int rc = take_body(&ch->st->values, a->body, &body);
    if (rc == 0) {
        rc = encode_publish(ch, a, &message);
    }
    if (rc == 0) {
        rc = encode_header(ch, a, body.size, &message);
    }
    bool by_reference = body.size >= BORROW_LEAST;
    if (rc == 0 && !by_reference) {
        rc = encode_body(ch, &body, &message);
    }
    if (rc == 0) {
        rc = channel_look(ch);
    }
    uint64_t hash = 0;
    if (rc == 0 && a->mandatory && ch->confirming) {
        rc = hash_message(ch, a, &body, &hash);
    }
    if (rc == 0) {
        // Taking the lock may let another thread publish, or close the channel: the tag is given when nobody can come in
        // between any more.
        engine_lock(conn);
        bool open = ch->state == CHANNEL_OPEN;
        rc = !open ? -1 : ch->confirming ? count_publish_locked(ch, hash, mode) : 0;
        if (rc < 0) {
            engine_unlock(conn);
            if (!open) {
                channel_raise_not_open(ch);
            }
        }
    }
    if (rc == 0) {
        rc = by_reference           ? send_by_reference_unlock(ch, &message, &body)
             : mode->hold_bytes > 0 ? hold_message_unlock(ch, &message, mode)
                                    : send_message_unlock(ch, &message);
    }
    free_body(&body);
    if (conn->scratch.data == NULL) {
        conn->scratch = message;
    } else {
        cpika_buf_free(&message);
    }
    return rc;
}

PyObject *
channel_basic_publish(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const cpika_signature signature = {"BlockingChannel.basic_publish()",
                                              {"exchange", "routing_key", "body", "properties", "mandatory"},
                                              5,
                                              3};
    CpikaChannel *ch = (CpikaChannel *)op;
    PyObject *given[5];
    if (cpika_args_parse(&signature, args, nargs, kwnames, given) < 0) {
        return NULL;
    }
    int mandatory = cpika_arg_true(given[4], 0);
    if (mandatory < 0 || channel_check_open(ch) < 0) {
        return NULL;
    }
    publish_args a = {given[0], given[1], given[2], given[3], mandatory != 0};
    static const publish_mode at_once = {0};
    cpika_block *block = channel_block(ch);
    int rc = block != NULL    ? channel_publish_buffered(ch, block, &a)
             : ch->confirming ? channel_publish_confirmed(ch, &a)
                              : channel_publish(ch, &a, &at_once);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}
