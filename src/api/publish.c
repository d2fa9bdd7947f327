/* publish.c - see publish.h.
 * Layer: api.  Owns: see publish.h.  Threads: see publish.h.  Errors: see publish.h. */
#include "publish.h"

#include "drivers/ended.h"
#include "drivers/settle.h"
#include "drivers/wait.h"
#include "engine/frames.h"
#include "wire/frame.h"

enum {
    // From here on a body is not copied but sent from the caller's bytes: below, building an iovec costs more than the
    // copy (measured: see docs/architecture.md).
    BORROW_LEAST = 16384,
};

/* Queues method and header (in `head`) and the body's frames, the body itself by reference.  0, or a negative status
 * and nothing queued. */
static int
push_by_reference_locked(const CpikaChannel *ch, const cpika_buf *head, const publish_body *body)
{
    cpika_outq *q = &ch->conn->io.link->out;
    size_t most = ch->conn->engine.frame_max - CPIKA_FRAME_OVERHEAD;
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
        cpika_frame_put_head(frame_head, CPIKA_FRAME_BODY, (uint16_t)ch->engine.number, (uint32_t)n);
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

/* A frame that is counted could not be queued, or not be kept: better no connection than one out of step. */
static int
end_without_memory(CpikaConnection *conn)
{
    const cpika_ending why = {.kind = CPIKA_ENDING_NO_MEMORY};
    cpika_engine_finish(&conn->engine, &why);
    return CPIKA_IO_ENDED;
}

/* Copies what is still unsent of the caller's bytes: a frame once begun is always finished (rule 12).  Where there is no
 * memory for that the connection is over, whatever exception is on its way: the bytes are the caller's again. */
static int
adopt_rest(CpikaConnection *conn, int rc)
{
    if (cpika_transport_forked(&conn->io)) {
        return rc;
    }
    int adopted = cpika_transport_adopt(&conn->io);
    return adopted == CPIKA_OK || rc < 0 ? rc : cpika_raise_io(conn, adopted);
}

/* Those three for a caller who has the lock; they give it back.  0 or -1. */
static int
send_by_reference_unlock(CpikaChannel *ch, const cpika_buf *head, const publish_body *body)
{
    CpikaConnection *conn = ch->conn;
    cpika_engine_leaving(&conn->engine, head->data, head->len);
    int rc = push_by_reference_locked(ch, head, body);
    cpika_transport_unlock(&conn->io);
    rc = rc < 0 ? end_without_memory(conn) : cpika_transport_flush(&conn->io);
    rc = cpika_raise_io(conn, rc);
    if (rc == CPIKA_AGAIN) {
        rc = cpika_wait_output(conn);
    }
    // Also when another thread's output stands before ours, or the wait was interrupted.
    return adopt_rest(conn, rc);
}

static int
send_message_unlock(CpikaChannel *ch, const cpika_buf *message)
{
    cpika_transport *io = &ch->conn->io;
    int rc = cpika_transport_send_unlock(io, message->data, message->len, io->clock_ns);
    return rc == CPIKA_OK      ? 0
           : rc == CPIKA_AGAIN ? cpika_wait_output(ch->conn)
                               : cpika_raise_io(ch->conn, rc);
}

/* Leaves the message in the queue until it holds enough, or the keeper's time has come. */
static int
hold_message_unlock(CpikaChannel *ch, const cpika_buf *message, const publish_mode *mode)
{
    CpikaConnection *conn = ch->conn;
    size_t queued;
    int rc = cpika_transport_hold_unlock(&conn->io, message->data, message->len, mode->hold_ns, &queued);
    if (rc == CPIKA_OK && queued >= mode->hold_bytes) {
        rc = cpika_transport_flush(&conn->io);
    }
    rc = cpika_raise_io(conn, rc);
    return rc == CPIKA_AGAIN ? cpika_wait_output(conn) : rc;  // a full socket: memory is not without end
}

/* The publish gets the channel's next delivery tag: everybody who awaits confirms has to know.  0 or -1. */
static int
count_publish_locked(cpika_channel *ch, const cpika_identity *identity, const publish_mode *mode,
                     bool mandatory)
{
    uint64_t hash = mode->window != NULL && mandatory ? cpika_identity_hash(identity) : 0;
    // Room in all of them before one counts it: none awaits what is not sent.
    for (cpika_window *w = ch->windows; w != NULL; w = w->outer) {
        if (cpika_window_reserve(w) < 0) {
            PyErr_NoMemory();
            return -1;
        }
    }
    for (cpika_window *w = ch->windows; w != NULL; w = w->outer) {
        bool ours = w == mode->window;
        cpika_window_add(w, ours ? hash : 0, !ours);
    }
    ch->published++;
    cpika_confirm *confirm = mode->confirm;
    if (confirm != NULL) {
        confirm->delivery_tag = ch->published;
        confirm->identity = *identity;
        confirm->mandatory = mandatory;
        confirm->next = ch->confirms;
        ch->confirms = confirm;
    }
    return 0;
}

/* Most bodies take one: a division costs as much as all the rest of a small message's bookkeeping. */
static uint64_t
body_frames(const CpikaConnection *conn, size_t size)
{
    size_t most = conn->engine.frame_max - CPIKA_FRAME_OVERHEAD;
    return size == 0 ? 0 : size <= most ? 1 : (size + most - 1) / most;
}

static int
send_encoded(CpikaChannel *ch, const publish_args *a, const publish_body *body, const publish_mode *mode,
             const cpika_buf *message, const cpika_identity *identity)
{
    CpikaConnection *conn = ch->conn;
    bool by_reference = body->size >= BORROW_LEAST;
    // Taking the lock may let another thread publish, or close the channel: the tag is given when nobody can come in
    // between any more.
    int rc = cpika_transport_lock_output(&conn->io);
    if (rc != CPIKA_OK) {
        return cpika_raise_io(conn, rc);
    }
    if (!cpika_channel_may_send(&ch->engine)) {
        cpika_transport_unlock(&conn->io);
        return cpika_raise_not_open(ch);
    }
    if (mode->confirm != NULL && ch->engine.confirms != NULL) {
        cpika_transport_unlock(&conn->io);
        return PUBLISH_NOT_YET;
    }
    if (ch->engine.confirming && count_publish_locked(&ch->engine, identity, mode, a->mandatory) < 0) {
        cpika_transport_unlock(&conn->io);
        return -1;
    }
    conn->io.frames_sent += 2 + body_frames(conn, body->size);
    return by_reference           ? send_by_reference_unlock(ch, message, body)
           : mode->hold_bytes > 0 ? hold_message_unlock(ch, message, mode)
                                  : send_message_unlock(ch, message);
}

int
publish_message(CpikaChannel *ch, const publish_args *a, const publish_body *body, const publish_mode *mode)
{
    CpikaConnection *conn = ch->conn;
    // User code may publish from within (a properties' encode()): it finds no scratch, and makes its own.
    cpika_buf message = conn->scratch;
    conn->scratch = (cpika_buf)CPIKA_BUF_INIT;
    message.len = 0;
    cpika_identity identity = {.body = body->data, .body_len = body->size};
    int rc = publish_encode_head(ch, a, body->size, &message, &identity);
    if (rc == 0 && body->size < BORROW_LEAST) {
        rc = publish_encode_body(ch, body, &message);
    }
    if (rc == 0) {
        rc = cpika_look(conn);
    }
    if (rc == 0) {
        rc = send_encoded(ch, a, body, mode, &message, &identity);
    }
    if (conn->scratch.data == NULL) {
        conn->scratch = message;
    } else {
        cpika_buf_free(&message);
    }
    return rc;
}

int
publish_now(CpikaChannel *ch, const publish_args *a, const publish_mode *mode)
{
    publish_body body;
    if (publish_body_take(&ch->st->values, a->body, &body) < 0) {
        return -1;
    }
    bool compared = mode->window != NULL && a->mandatory;
    int rc = compared && publish_body_freeze(&body) < 0 ? -1 : publish_message(ch, a, &body, mode);
    publish_body_free(&body);
    return rc;
}
