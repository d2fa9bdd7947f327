/* ack.c - basic_ack, basic_nack, basic_reject, basic_get: the small methods that go with every message.
 * Layer: core.
 * Owns: nothing.  Threads: any, with the GIL.
 * Errors: NULL or -1 with an exception; nothing is sent then. */
#include "engine.h"

#include "values/args.h"
#include "wire/method.h"

/* Every acknowledgement is a frame of one size: id, delivery tag, bits. */
enum { ACK_FRAME = CPIKA_FRAME_OVERHEAD + 4 + 8 + 1 };

static void
encode_ack(uint8_t *frame, int channel, uint32_t id, uint64_t tag, unsigned bits)
{
    cpika_frame_put_head(frame, CPIKA_FRAME_METHOD, (uint16_t)channel, ACK_FRAME - CPIKA_FRAME_OVERHEAD);
    cpika_put32(frame + 7, id);
    cpika_put64(frame + 11, tag);
    frame[19] = (uint8_t)bits;
    frame[20] = CPIKA_FRAME_END;
}

int
engine_reject(CpikaConnection *conn, CpikaChannel *ch, uint64_t delivery_tag)
{
    uint8_t frame[ACK_FRAME];
    encode_ack(frame, ch->number, CPIKA_ID_basic_reject, delivery_tag, 1);
    return engine_send(conn, frame, sizeof frame) < 0 ? -1 : 0;
}

/* A delivery tag as pika takes it: what struct.pack('>Q', value) takes, and its error otherwise. */
static int
delivery_tag_arg(CpikaChannel *ch, PyObject *value, uint64_t *tag)
{
    *tag = 0;
    if (value == NULL) {
        return 0;
    }
    PyObject *number = PyNumber_Index(value);
    if (number != NULL) {
        *tag = PyLong_AsUnsignedLongLong(number);
        Py_DECREF(number);
        if (!PyErr_Occurred()) {
            return 0;
        }
    }
    PyErr_Clear();
    PyObject *packed = PyObject_CallFunction(ch->st->values.struct_pack, "sO", ">Q", value);
    if (packed != NULL) {
        PyErr_Format(PyExc_ValueError, "delivery_tag must be an unsigned 64-bit integer, not %R", value);
        Py_DECREF(packed);
    }
    return -1;
}

/* Sends, or holds: an ack that a callback gives may wait while more messages stand ready (rule 4). */
static PyObject *
send_ack(CpikaChannel *ch, uint32_t id, uint64_t tag, unsigned bits)
{
    CpikaConnection *conn = ch->conn;
    uint8_t frame[ACK_FRAME];
    encode_ack(frame, ch->number, id, tag, bits);
    size_t queued;
    int rc;
    if (ch->state != CHANNEL_OPEN) {  // an argument's __index__ or __bool__ has closed it
        channel_raise_not_open(ch);
        return NULL;
    }
    if (conn->may_hold && conn->dispatcher == PyThread_get_thread_ident()) {
        rc = engine_hold(conn, frame, sizeof frame, CPIKA_HOLD_ACKS_NS, &queued);
    } else {
        rc = channel_look(ch);
        if (rc == 0) {
            rc = engine_send(conn, frame, sizeof frame);
        }
        if (rc == CPIKA_AGAIN) {
            rc = engine_wait_output(conn);
        }
    }
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
channel_basic_ack(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const cpika_signature signature = {
        "BlockingChannel.basic_ack()", {"delivery_tag", "multiple"}, 2, 0};
    CpikaChannel *ch = (CpikaChannel *)op;
    PyObject *given[2];
    uint64_t tag;
    if (cpika_args_parse(&signature, args, nargs, kwnames, given) < 0 || channel_check_open(ch) < 0
        || delivery_tag_arg(ch, given[0], &tag) < 0) {
        return NULL;
    }
    int multiple = cpika_arg_true(given[1], 0);
    return multiple < 0 ? NULL : send_ack(ch, CPIKA_ID_basic_ack, tag, (unsigned)multiple);
}

PyObject *
channel_basic_nack(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const cpika_signature signature = {
        "BlockingChannel.basic_nack()", {"delivery_tag", "multiple", "requeue"}, 3, 0};
    CpikaChannel *ch = (CpikaChannel *)op;
    PyObject *given[3];
    uint64_t tag;
    if (cpika_args_parse(&signature, args, nargs, kwnames, given) < 0 || channel_check_open(ch) < 0
        || delivery_tag_arg(ch, given[0], &tag) < 0) {
        return NULL;
    }
    int multiple = cpika_arg_true(given[1], 0);
    int requeue = multiple < 0 ? -1 : cpika_arg_true(given[2], 1);
    return requeue < 0 ? NULL : send_ack(ch, CPIKA_ID_basic_nack, tag, (unsigned)(multiple | requeue << 1));
}

PyObject *
channel_basic_reject(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const cpika_signature signature = {
        "BlockingChannel.basic_reject()", {"delivery_tag", "requeue"}, 2, 0};
    CpikaChannel *ch = (CpikaChannel *)op;
    PyObject *given[2];
    uint64_t tag;
    if (cpika_args_parse(&signature, args, nargs, kwnames, given) < 0 || channel_check_open(ch) < 0) {
        return NULL;
    }
    if (given[0] != NULL && !PyLong_Check(given[0])) {
        PyErr_SetString(PyExc_TypeError, "delivery_tag must be an integer");
        return NULL;
    }
    if (delivery_tag_arg(ch, given[0], &tag) < 0) {
        return NULL;
    }
    int requeue = cpika_arg_true(given[1], 1);
    return requeue < 0 ? NULL : send_ack(ch, CPIKA_ID_basic_reject, tag, (unsigned)requeue);
}

/* ---- basic_get ---- */

/* New reference to the answer, or NULL with an exception. */
static PyObject *
send_get(CpikaChannel *ch, PyObject *queue, int no_ack)
{
    const uint8_t *name;
    Py_ssize_t n;
    if (cpika_shortstr_check(&ch->st->values, queue, "queue", &name, &n) < 0) {
        return NULL;
    }
    uint8_t frame[CPIKA_FRAME_OVERHEAD + 4 + 2 + 1 + 255 + 1];
    size_t payload = 4 + 2 + 1 + (size_t)n + 1;
    cpika_frame_put_head(frame, CPIKA_FRAME_METHOD, (uint16_t)ch->number, (uint32_t)payload);
    cpika_put32(frame + 7, CPIKA_ID_basic_get);
    cpika_put16(frame + 11, 0);  // ticket: reserved
    frame[13] = (uint8_t)n;
    memcpy(frame + 14, name, (size_t)n);
    frame[14 + n] = (uint8_t)no_ack;
    frame[15 + n] = CPIKA_FRAME_END;
    cpika_waiter *waiter = engine_new_waiter(CPIKA_ID_basic_get_ok, CPIKA_ID_basic_get_empty);
    if (waiter == NULL) {
        return NULL;
    }
    waiter->no_ack = no_ack != 0;
    return engine_request(ch->conn, ch, waiter, frame, payload + CPIKA_FRAME_OVERHEAD, ENGINE_FOREVER);
}

PyObject *
channel_basic_get(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const cpika_signature signature = {"BlockingChannel.basic_get()", {"queue", "auto_ack"}, 2, 1};
    CpikaChannel *ch = (CpikaChannel *)op;
    PyObject *given[2];
    if (cpika_args_parse(&signature, args, nargs, kwnames, given) < 0) {
        return NULL;
    }
    if (!PyUnicode_Check(given[0])) {
        PyErr_Format(PyExc_TypeError, "queue must be a str or unicode str, but got %R", given[0]);
        return NULL;
    }
    int no_ack = cpika_arg_true(given[1], 0);
    if (no_ack < 0 || channel_check_open(ch) < 0) {
        return NULL;
    }
    PyObject *answer = send_get(ch, given[0], no_ack);
    if (answer != NULL && !PyTuple_Check(answer)) {
        Py_DECREF(answer);  // Basic.GetEmpty
        return PyTuple_Pack(3, Py_None, Py_None, Py_None);
    }
    return answer;
}
