/* rpc.c - methods and their answers: who waits for what, in order (rule 13).
 * Layer: core.
 * Owns: the waiters.  Threads: with the GIL.
 * Errors: -1 or NULL with an exception. */
#include "engine.h"

#include "wire/method.h"

static cpika_waiter **
waiters_of(CpikaConnection *conn, CpikaChannel *ch, cpika_waiter ****end)
{
    *end = ch != NULL ? &ch->waiters_end : &conn->waiters_end;
    return ch != NULL ? &ch->waiters : &conn->waiters;
}

cpika_waiter *
engine_new_waiter(uint32_t reply, uint32_t other_reply)
{
    cpika_waiter *waiter = PyMem_Calloc(1, sizeof *waiter);
    if (waiter == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    waiter->replies[0] = reply;
    waiter->replies[1] = other_reply;
    return waiter;
}

void
engine_join_waiters(CpikaConnection *conn, CpikaChannel *ch, cpika_waiter *waiter)
{
    cpika_waiter ***end;
    cpika_waiter **head = waiters_of(conn, ch, &end);
    if (*head == NULL) {
        *end = head;
    }
    **end = waiter;
    *end = &waiter->next;
    if (ch != NULL && waiter->replies[0] == CPIKA_ID_confirm_select_ok) {
        ch->confirming = true;  // the broker counts whatever another thread sends behind this
    }
}

void
engine_forget_waiter(CpikaConnection *conn, CpikaChannel *ch, cpika_waiter *waiter)
{
    cpika_waiter ***end;
    cpika_waiter **at = waiters_of(conn, ch, &end);
    while (*at != NULL && *at != waiter) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        *at = waiter->next;
        if (*end == &waiter->next) {
            *end = at;
        }
    }
    Py_XDECREF(waiter->result);
    PyMem_Free(waiter);
}

cpika_waiter *
engine_waiter_for(CpikaConnection *conn, CpikaChannel *ch, uint32_t id)
{
    cpika_waiter ***end;
    cpika_waiter *waiter = *waiters_of(conn, ch, &end);
    while (waiter != NULL && waiter->done) {
        waiter = waiter->next;  // answered, but its thread has not looked yet
    }
    return waiter != NULL && (waiter->replies[0] == id || waiter->replies[1] == id) ? waiter : NULL;
}

/* A message that was got for nobody goes back to its queue. */
static void
give_back(CpikaConnection *conn, CpikaChannel *ch, PyObject *message)
{
    if (!PyTuple_Check(message)) {
        return;
    }
    PyObject *tag = PyObject_GetAttrString(PyTuple_GET_ITEM(message, 0), "delivery_tag");
    uint64_t number = tag == NULL ? 0 : PyLong_AsUnsignedLongLong(tag);
    Py_XDECREF(tag);
    if (PyErr_Occurred() || engine_reject(conn, ch, number) < 0) {
        PyErr_WriteUnraisable((PyObject *)ch);
    }
}

void
engine_answer(CpikaConnection *conn, CpikaChannel *ch, cpika_waiter *waiter, PyObject *result)
{
    if (!waiter->abandoned) {
        waiter->result = result;
        waiter->done = true;
        engine_wake_others(conn);
        return;
    }
    bool unwanted_message = ch != NULL && !waiter->no_ack;
    engine_forget_waiter(conn, ch, waiter);
    if (unwanted_message) {
        give_back(conn, ch, result);
    }
    Py_DECREF(result);
}

void
engine_fail_waiters(CpikaConnection *conn, CpikaChannel *ch)
{
    cpika_waiter ***end;
    cpika_waiter **head = waiters_of(conn, ch, &end);
    cpika_waiter *next;
    for (cpika_waiter *waiter = *head; waiter != NULL; waiter = next) {
        next = waiter->next;
        if (waiter->abandoned) {
            engine_forget_waiter(conn, ch, waiter);
        } else if (!waiter->done) {
            waiter->failed = true;
        }
    }
}

static bool
settled(CpikaConnection *conn, void *arg)
{
    (void)conn;
    const cpika_waiter *waiter = arg;
    return waiter->done || waiter->failed;
}

/* Why a waiter got no answer.  Always NULL. */
static PyObject *
raise_unanswered(CpikaConnection *conn, CpikaChannel *ch)
{
    if (conn->state == CONNECTION_CLOSED) {
        engine_raise_closed(conn);
    } else if (ch != NULL && channel_raise_closed_by_broker(ch) == 0) {
        channel_check_open(ch);
    }
    return NULL;
}

/* Waits for the answer: new reference, or NULL with an exception.  The waiter is gone or a tombstone afterwards. */
static PyObject *
await_answer(CpikaConnection *conn, CpikaChannel *ch, cpika_waiter *waiter, uint64_t deadline_ns)
{
    int rc = engine_wait_answer(conn, settled, waiter, deadline_ns);
    if (rc == 0 && waiter->done) {
        PyObject *result = waiter->result;
        waiter->result = NULL;
        engine_forget_waiter(conn, ch, waiter);
        return result;
    }
    if (waiter->done || waiter->failed) {
        engine_forget_waiter(conn, ch, waiter);
    } else {
        waiter->abandoned = true;  // its answer still comes, and must not be taken for another's
    }
    if (rc == 0) {
        return raise_unanswered(conn, ch);
    }
    if (rc == 1) {
        PyErr_SetString(PyExc_TimeoutError, "the broker did not answer in time");
    }
    return NULL;
}

PyObject *
engine_request(CpikaConnection *conn, CpikaChannel *ch, cpika_waiter *waiter, const uint8_t *bytes, size_t n,
               uint64_t deadline_ns)
{
    if (n == 0) {
        engine_join_waiters(conn, ch, waiter);
    } else if (engine_send_request(conn, ch, waiter, bytes, n) < 0) {
        engine_forget_waiter(conn, ch, waiter);
        return NULL;
    }
    return await_answer(conn, ch, waiter, deadline_ns);
}

int
engine_encode_method(CpikaConnection *conn, int channel, PyObject *method, cpika_buf *out)
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
        rc = cpika_frame_end(out, start, conn->frame_max);
        if (rc == CPIKA_E_FRAME_SIZE) {
            PyErr_Format(PyExc_ValueError,
                         "the arguments of %R take %zu bytes, more than the negotiated frame_max %u",
                         (PyObject *)Py_TYPE(method), size, (unsigned)conn->frame_max);
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

int
engine_send_method(CpikaConnection *conn, int channel, PyObject *method)
{
    cpika_buf frame = CPIKA_BUF_INIT;
    int rc = engine_encode_method(conn, channel, method, &frame);
    if (rc == 0) {
        rc = engine_send(conn, frame.data, frame.len);
    }
    cpika_buf_free(&frame);
    return rc < 0 ? -1 : 0;
}

PyObject *
engine_rpc(CpikaConnection *conn, CpikaChannel *ch, PyObject *method, uint32_t reply, uint64_t deadline_ns)
{
    // Encoding may run user code, which may send requests of its own: they go first.
    cpika_buf frame = CPIKA_BUF_INIT;
    if (method != Py_None && engine_encode_method(conn, ch == NULL ? 0 : ch->number, method, &frame) < 0) {
        return NULL;
    }
    cpika_waiter *waiter = engine_new_waiter(reply, 0);
    PyObject *answer =
        waiter == NULL ? NULL : engine_request(conn, ch, waiter, frame.data, frame.len, deadline_ns);
    cpika_buf_free(&frame);
    return answer;
}
