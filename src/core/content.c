/* content.c - method, header, body: putting a message together.
 * Layer: core.
 * Owns: the content of each channel.  Threads: with the GIL.
 * Errors: -1 with an exception; content out of order ends the connection (rule 6). */
#include "engine.h"

#include <string.h>

#include "wire/method.h"

enum {
    BODY_AHEAD = 1024 * 1024,  // an announced size alone allocates no more than this beyond what has come
    DIRECT_LEAST = 4096,       // below, a copy costs less than another place in readv()
    REPLY_FRAME_ERROR = 501,
    REPLY_UNEXPECTED_FRAME = 505,
};

void
engine_clear_content(CpikaChannel *ch)
{
    cpika_content old = ch->content;
    ch->content = (cpika_content){0};
    if (ch->conn != NULL && ch->conn->direct == ch) {
        // The rest of the frame is still to come, and its end: they are dropped as they do.
        ch->conn->skip = ch->conn->direct_left + 1;
        ch->conn->direct_left = 0;
        ch->conn->direct = NULL;
    }
    Py_XDECREF(old.tag);
    Py_XDECREF(old.method);
    Py_XDECREF(old.properties);
    Py_XDECREF(old.body);
}

int
engine_begin_content(CpikaChannel *ch, uint32_t id, PyObject *method, PyObject *tag)
{
    ch->content.method_id = id;
    ch->content.method = method;
    ch->content.tag = tag;
    return 1;
}

static int
unexpected(CpikaConnection *conn, CpikaChannel *ch, const char *what)
{
    return engine_refuse(
        conn, REPLY_UNEXPECTED_FRAME,
        cpika_exc_new(conn->st, CPIKA_EXC_UnexpectedFrameError, "%s on channel %d", what, ch->number));
}

/* The message is whole: off to its consumer, waiter or handler.  1 or -1. */
static int
complete(CpikaConnection *conn, CpikaChannel *ch, cpika_event *direct)
{
    cpika_content c = ch->content;
    ch->content = (cpika_content){0};
    int rc = 1;
    if (c.method_id == CPIKA_ID_basic_deliver) {
        return engine_accept_message(conn, ch, &c, direct);
    }
    if (c.method_id == CPIKA_ID_basic_get_ok) {
        // The waiter is looked for when nothing can run in between that would free it.
        PyObject *answer = PyTuple_Pack(3, c.method, c.properties, c.body);
        cpika_waiter *waiter = answer == NULL ? NULL : engine_waiter_for(conn, ch, CPIKA_ID_basic_get_ok);
        conn->decoding = false;
        if (waiter != NULL) {
            engine_answer(conn, ch, waiter, answer);
        } else {
            rc = answer == NULL ? -1 : 1;
            Py_XDECREF(answer);
        }
    } else {
        conn->decoding = false;
        PyObject *args[] = {c.method, c.properties, c.body};
        engine_hook((PyObject *)ch, conn->st->names._on_return, args, 3);
        rc = channel_note_return(ch, &c) < 0 ? -1 : 1;
    }
    Py_XDECREF(c.tag);
    Py_DECREF(c.method);
    Py_DECREF(c.properties);
    Py_DECREF(c.body);
    return rc;
}

int
engine_check_header(const cpika_frame *frame, uint32_t method_id)
{
    const uint8_t *p = frame->payload;  // class, weight, body size, property flags and list
    if (frame->size < 14 || cpika_get16(p) != method_id >> 16) {
        return CPIKA_E_TRUNCATED;
    }
    bool empty = frame->size == 14 && cpika_get16(p + 12) == 0;
    return empty ? CPIKA_OK : cpika_props_check(p + 12, frame->size - 12);
}

int
engine_content_header(CpikaConnection *conn, CpikaChannel *ch, const cpika_frame *frame, cpika_event *direct)
{
    cpika_content *c = &ch->content;
    if (c->method_id == 0 || c->header_seen) {
        return unexpected(conn, ch, "content header where none was due");
    }
    int status = engine_check_header(frame, c->method_id);
    if (status < 0) {
        return engine_violation(conn, status, (long)frame->size);
    }
    const uint8_t *p = frame->payload;
    c->size = cpika_get64(p + 4);
    c->properties = cpika_props_from_raw(&conn->st->values, p + 12, frame->size - 12);
    if (c->properties == NULL) {
        return -1;
    }
    if (c->method_id == 0) {  // a finalizer that ran meanwhile has closed the channel
        Py_CLEAR(c->properties);
        return 1;
    }
    c->header_seen = true;
    if (c->size == 0) {
        c->body = Py_NewRef(conn->st->empty_bytes);
        return complete(conn, ch, direct);
    }
    return 1;
}

/* Makes room for `n` more bytes of the body, and for some of what was announced.  0 or -1. */
static int
grow_body(CpikaConnection *conn, cpika_content *c, size_t n)
{
    size_t have = c->body == NULL ? 0 : (size_t)PyBytes_GET_SIZE(c->body);
    if (c->body != NULL && have - c->received >= n) {
        return 0;
    }
    uint64_t want = c->received + (n > BODY_AHEAD ? n : BODY_AHEAD);
    want = want < c->size ? want : c->size;
    if (want <= PY_SSIZE_T_MAX) {
        if (c->body == NULL) {
            c->body = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)want);
        } else {
            _PyBytes_Resize(&c->body, (Py_ssize_t)want);  // NULL after a failure
        }
        if (c->body != NULL) {
            return 0;
        }
    }
    PyErr_Clear();
    return engine_violation(conn, CPIKA_E_NOMEM, 0);
}

/* Whether `n` more bytes of body may come now: 0, or -1 after refusing them. */
static int
check_body(CpikaConnection *conn, CpikaChannel *ch, size_t n)
{
    cpika_content *c = &ch->content;
    if (!c->header_seen) {
        return unexpected(conn, ch, "content body where none was due");
    }
    if (n > c->size - c->received) {
        PyObject *error =
            PyObject_CallFunction(conn->st->exceptions[CPIKA_EXC_BodyTooLongError], "KK",
                                  (unsigned long long)(c->received + n), (unsigned long long)c->size);
        return engine_refuse(conn, REPLY_FRAME_ERROR, error);
    }
    return 0;
}

int
engine_content_body(CpikaConnection *conn, CpikaChannel *ch, const cpika_frame *frame, cpika_event *direct)
{
    cpika_content *c = &ch->content;
    if (check_body(conn, ch, frame->size) < 0 || grow_body(conn, c, frame->size) < 0) {
        return -1;
    }
    memcpy(PyBytes_AS_STRING(c->body) + c->received, frame->payload, frame->size);
    c->received += frame->size;
    return c->received == c->size ? complete(conn, ch, direct) : 1;
}

/* ---- a body received in place ---- */

int
engine_begin_direct(CpikaConnection *conn, const cpika_frame *frame, size_t available)
{
    if (conn->sock != NULL || frame->missing < DIRECT_LEAST) {
        return 0;
    }
    CpikaChannel *ch = frame->channel == 0 ? NULL : engine_channel(conn, frame->channel);
    if (ch == NULL) {
        return 0;  // dropped or refused once it is whole
    }
    size_t come = available - CPIKA_FRAME_HEAD_SIZE;
    cpika_content *c = &ch->content;
    if (check_body(conn, ch, frame->size) < 0 || grow_body(conn, c, come) < 0) {
        return -1;
    }
    memcpy(PyBytes_AS_STRING(c->body) + c->received, frame->payload, come);
    c->received += come;
    conn->in_pos += available;
    conn->direct = ch;
    conn->direct_left = frame->size - come;
    return 0;
}

int
engine_direct_target(CpikaConnection *conn, uint8_t **target, size_t *room)
{
    cpika_content *c = &conn->direct->content;
    size_t least = conn->direct_left < BODY_AHEAD ? conn->direct_left : BODY_AHEAD;
    if (grow_body(conn, c, least) < 0) {
        return -1;
    }
    *target = (uint8_t *)PyBytes_AS_STRING(c->body) + c->received;
    *room = least;
    return 0;
}

void
engine_direct_received(CpikaConnection *conn, size_t n)
{
    if (n > 0) {
        conn->direct->content.received += n;
        conn->direct_left -= n;
    }
}

int
engine_end_direct(CpikaConnection *conn, cpika_event *direct)
{
    if (conn->direct_left > 0 || conn->in_pos == conn->in.len) {
        return 0;
    }
    if (conn->in.data[conn->in_pos] != CPIKA_FRAME_END) {
        return engine_violation(conn, CPIKA_E_FRAME_END, 0);
    }
    CpikaChannel *ch = conn->direct;
    conn->direct = NULL;
    conn->in_pos++;
    if (ch->content.received < ch->content.size) {
        return 1;
    }
    conn->decoding = true;
    Py_INCREF(ch);
    int rc = complete(conn, ch, direct);
    Py_DECREF(ch);
    return rc;
}
