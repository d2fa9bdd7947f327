/* rpc.c - see rpc.h.
 * Layer: drivers.  Owns: nothing.  Threads: with the GIL.  Errors: see rpc.h. */
#include "rpc.h"

#include "ended.h"
#include "made.h"
#include "settle.h"
#include "values/errors.h"
#include "values/values.h"
#include "wait.h"
#include "wire/frame.h"

int
cpika_encode_method(CpikaConnection *conn, int channel, PyObject *method, cpika_buf *out)
{
    size_t start = 0;
    size_t before = out->len;
    if (cpika_frame_begin(out, CPIKA_FRAME_METHOD, (uint16_t)channel, &start) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    int rc = -1;
    if (cpika_method_encode(&conn->st->values, method, out) == 0) {
        size_t size = out->len - start - CPIKA_FRAME_HEAD_SIZE;
        rc = cpika_frame_end(out, start, conn->engine.frame_max);
        if (rc == CPIKA_E_FRAME_SIZE) {
            PyErr_Format(PyExc_ValueError,
                         "the arguments of %R take %zu bytes, more than the negotiated frame_max %u",
                         (PyObject *)Py_TYPE(method), size, (unsigned)conn->engine.frame_max);
        } else if (rc < 0) {
            PyErr_NoMemory();
        }
    }
    if (rc < 0) {
        out->len = before;
        return -1;
    }
    return 0;
}

/* Why there is no answer.  Always -1. */
static int
raise_unanswered(CpikaConnection *conn, CpikaChannel *ch)
{
    if (ch != NULL && !cpika_engine_ended(&conn->engine)) {
        return cpika_raise_not_open(ch);
    }
    return cpika_raise_ended(conn);
}

enum { NOT_WANTED = 2 };

/* Joins those that wait on the channel, and sends when it is the first.  0, NOT_WANTED or -1. */
static int
send_request(CpikaConnection *conn, CpikaChannel *ch, cpika_request *request, const cpika_joining *joining,
             const uint8_t *bytes, size_t n)
{
    cpika_transport *io = &conn->io;
    int rc =
        cpika_transport_lock_output(io);  // which may let others run: only behind it is the order settled
    if (rc != CPIKA_OK) {
        return cpika_raise_io(conn, rc);
    }
    if (joining != NULL && !joining->is_wanted(joining->arg)) {
        cpika_transport_unlock(io);
        return NOT_WANTED;
    }
    rc = cpika_engine_request(&conn->engine, ch == NULL ? NULL : &ch->engine, request, bytes, n);
    if (rc != CPIKA_OK || n == 0) {
        cpika_transport_unlock(io);
        if (rc == CPIKA_E_NOMEM) {
            PyErr_NoMemory();
        }
        return rc >= 0 ? 0 : rc == CPIKA_E_NOMEM ? -1 : raise_unanswered(conn, ch);
    }
    io->frames_sent++;
    return cpika_raise_io(conn, cpika_transport_send_unlock(io, bytes, n, cpika_now_ns())) < 0 ? -1 : 0;
}

static bool
is_settled(void *arg)
{
    const cpika_request *request = arg;
    return request->state >= CPIKA_REQUEST_ANSWERED;
}

/* The request, which has been answered; or NULL, and it is not the caller's any more. */
static cpika_request *
call(CpikaConnection *conn, CpikaChannel *ch, cpika_request *request, const cpika_joining *joining,
     const uint8_t *bytes, size_t n, uint64_t deadline_ns)
{
    cpika_channel *engine_channel = ch == NULL ? NULL : &ch->engine;
    if (cpika_check_may_wait(conn) < 0) {
        cpika_request_free(request);
        return NULL;
    }
    request->state = CPIKA_REQUEST_FAILED;  // until it has joined
    int rc = send_request(conn, ch, request, joining, bytes, n);
    if (rc == NOT_WANTED) {
        cpika_request_free(request);
        return NULL;
    }
    if (rc == 0) {
        rc = cpika_wait(conn, is_settled, request, deadline_ns, false);
    }
    if (rc == 0 && request->state == CPIKA_REQUEST_ANSWERED) {
        return request;
    }
    if (cpika_transport_forked(&conn->io)) {
        request->abandoned = true;  // it is the parent's: nobody looks at it here
        return NULL;
    }
    if (rc == 0) {
        raise_unanswered(conn, ch);
    } else if (rc == 1) {
        cpika_raise(conn->st, CPIKA_EXC__AnswerTimeout, "the broker did not answer in time");
    }
    cpika_engine_abandon(&conn->engine, engine_channel, request);
    return NULL;
}

cpika_message *
cpika_call_bytes(CpikaConnection *conn, CpikaChannel *ch, cpika_request *request, const uint8_t *bytes,
                 size_t n, uint64_t deadline_ns)
{
    request = call(conn, ch, request, NULL, bytes, n, deadline_ns);
    if (request == NULL) {
        return NULL;
    }
    cpika_message *answer = request->answer;
    request->answer = NULL;
    cpika_request_free(request);
    return answer;
}

PyObject *
cpika_call_method(CpikaConnection *conn, CpikaChannel *ch, PyObject *method, uint32_t reply,
                  uint64_t deadline_ns, const cpika_joining *joining)
{
    // Encoding may run user code, which may send requests of its own: they go first.
    cpika_buf frame = CPIKA_BUF_INIT;
    if (method != Py_None
        && cpika_encode_method(conn, ch == NULL ? 0 : ch->engine.number, method, &frame) < 0) {
        cpika_buf_free(&frame);
        return NULL;
    }
    cpika_request *request = cpika_request_new(reply, 0);
    if (request == NULL) {
        PyErr_NoMemory();
    } else {
        request = call(conn, ch, request, joining, frame.data, frame.len, deadline_ns);
    }
    cpika_buf_free(&frame);
    PyObject *object = request == NULL ? NULL : cpika_make_method(conn, request->answer);
    if (object != NULL) {
        cpika_request_free(request);
    } else if (request != NULL) {  // what it has begun is undone: the caller will not hear of it
        cpika_engine_abandon(&conn->engine, ch == NULL ? NULL : &ch->engine, request);
    }
    return object;
}

int
cpika_send_bytes(CpikaConnection *conn, CpikaChannel *ch, const uint8_t *bytes, size_t n, unsigned frames)
{
    cpika_transport *io = &conn->io;
    int rc = cpika_transport_lock_output(io);
    if (rc != CPIKA_OK) {
        return cpika_raise_io(conn, rc);
    }
    if (ch != NULL && !cpika_channel_may_send(&ch->engine)) {
        cpika_transport_unlock(io);
        return cpika_raise_not_open(ch);
    }
    io->frames_sent += frames;
    rc = cpika_transport_send_unlock(io, bytes, n, cpika_now_ns());
    return cpika_raise_io(conn, rc) < 0 ? -1 : rc == CPIKA_AGAIN ? cpika_wait_output(conn) : 0;
}

int
cpika_send_method(CpikaConnection *conn, CpikaChannel *ch, PyObject *method)
{
    cpika_buf frame = CPIKA_BUF_INIT;
    int rc = cpika_encode_method(conn, ch == NULL ? 0 : ch->engine.number, method, &frame);
    if (rc == 0) {
        rc = cpika_send_bytes(conn, ch, frame.data, frame.len, 1);
    }
    cpika_buf_free(&frame);
    return rc;
}
