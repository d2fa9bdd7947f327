/* ack.c - see ack.h.
 * Layer: api.  Owns: nothing.  Threads: any, with the GIL.  Errors: see ack.h. */
#include "ack.h"

#include <string.h>

#include "drivers/ended.h"
#include "drivers/made.h"
#include "drivers/rpc.h"
#include "drivers/settle.h"
#include "drivers/wait.h"
#include "values/args.h"
#include "values/gate.h"
#include "values/values.h"
#include "wire/frame.h"
#include "wire/method.h"

void
channel_encode_ack(uint8_t *frame, int channel, uint32_t id, uint64_t tag, unsigned bits)
{
    cpika_frame_put_head(frame, CPIKA_FRAME_METHOD, (uint16_t)channel,
                         CHANNEL_ACK_FRAME - CPIKA_FRAME_OVERHEAD);
    cpika_put32(frame + 7, id);
    cpika_put64(frame + 11, tag);
    frame[19] = (uint8_t)bits;
    frame[20] = CPIKA_FRAME_END;
}

/* A delivery tag as pika takes it: what struct.pack('>Q', value) takes, and its error otherwise.  0 or -1. */
static int
channel_delivery_tag(CpikaChannel *ch, PyObject *value, uint64_t *tag)
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
    if (!PyErr_ExceptionMatches(PyExc_TypeError) && !PyErr_ExceptionMatches(PyExc_OverflowError)) {
        return -1;  // of its __index__, or of a signal handler in there
    }
    PyErr_Clear();
    PyObject *packed = PyObject_CallFunction(ch->st->values.struct_pack, "sO", ">Q", value);
    if (packed != NULL) {
        PyErr_Format(PyExc_ValueError, "delivery_tag must be an unsigned 64-bit integer, not %R", value);
        Py_DECREF(packed);
    }
    return -1;
}

/* Holds it: an ack that a callback gives may wait while more messages stand ready (rule 4). */
static int
hold_ack(CpikaChannel *ch, const uint8_t *frame)
{
    CpikaConnection *conn = ch->conn;
    size_t queued;
    int rc = cpika_transport_lock_output(&conn->io);
    if (rc != CPIKA_OK) {
        return cpika_raise_io(conn, rc);
    }
    if (!cpika_channel_may_send(&ch->engine)) {
        cpika_transport_unlock(&conn->io);
        return cpika_raise_not_open(ch);
    }
    conn->io.frames_sent++;
    rc = cpika_transport_hold_unlock(&conn->io, frame, CHANNEL_ACK_FRAME, CPIKA_HOLD_ACKS_NS, &queued);
    return cpika_raise_io(conn, rc);
}

static PyObject *
send_ack(CpikaChannel *ch, uint32_t id, uint64_t tag, unsigned bits)
{
    CpikaConnection *conn = ch->conn;
    uint8_t frame[CHANNEL_ACK_FRAME];
    channel_encode_ack(frame, ch->engine.number, id, tag, bits);
    const cpika_call *holder = conn->roles.holder;
    int rc;
    if (holder != NULL && cpika_user_is_here(ch->st, &holder->user)) {
        rc = hold_ack(ch, frame);
    } else {
        rc = cpika_look(conn);
        if (rc == 0) {
            rc = cpika_send_bytes(conn, ch, frame, sizeof frame, 1);
        }
    }
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

int
channel_parse_ack(const cpika_signature *signature, CpikaChannel *ch, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames, channel_ack *out)
{
    PyObject *given[2];
    if (cpika_args_parse(signature, args, nargs, kwnames, given) < 0 || cpika_check_channel(ch) < 0
        || channel_delivery_tag(ch, given[0], &out->tag) < 0) {
        return -1;
    }
    int multiple = cpika_arg_true(given[1], 0);
    out->id = CPIKA_ID_basic_ack;
    out->bits = (unsigned)multiple;
    return multiple < 0 ? -1 : 0;
}

int
channel_parse_nack(const cpika_signature *signature, CpikaChannel *ch, PyObject *const *args,
                   Py_ssize_t nargs, PyObject *kwnames, channel_ack *out)
{
    PyObject *given[3];
    if (cpika_args_parse(signature, args, nargs, kwnames, given) < 0 || cpika_check_channel(ch) < 0
        || channel_delivery_tag(ch, given[0], &out->tag) < 0) {
        return -1;
    }
    int multiple = cpika_arg_true(given[1], 0);
    int requeue = multiple < 0 ? -1 : cpika_arg_true(given[2], 1);
    out->id = CPIKA_ID_basic_nack;
    out->bits = (unsigned)(multiple | requeue << 1);
    return requeue < 0 ? -1 : 0;
}

int
channel_parse_reject(const cpika_signature *signature, CpikaChannel *ch, PyObject *const *args,
                     Py_ssize_t nargs, PyObject *kwnames, channel_ack *out)
{
    PyObject *given[2];
    if (cpika_args_parse(signature, args, nargs, kwnames, given) < 0 || cpika_check_channel(ch) < 0) {
        return -1;
    }
    int is = given[0] == NULL ? 1 : cpika_passes_for(given[0], &PyLong_Type);
    if (is <= 0) {
        if (is == 0) {
            PyErr_SetString(PyExc_TypeError, "delivery_tag must be an integer");
        }
        return -1;
    }
    if (channel_delivery_tag(ch, given[0], &out->tag) < 0) {
        return -1;
    }
    int requeue = cpika_arg_true(given[1], 1);
    out->id = CPIKA_ID_basic_reject;
    out->bits = (unsigned)requeue;
    return requeue < 0 ? -1 : 0;
}

PyObject *
channel_basic_ack(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    CPIKA_GATE;
    static const cpika_signature signature = {
        "BlockingChannel.basic_ack()", {"delivery_tag", "multiple"}, 2, 0};
    CpikaChannel *ch = (CpikaChannel *)op;
    channel_ack a;
    return channel_parse_ack(&signature, ch, args, nargs, kwnames, &a) < 0
               ? NULL
               : send_ack(ch, a.id, a.tag, a.bits);
}

PyObject *
channel_basic_nack(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    CPIKA_GATE;
    static const cpika_signature signature = {
        "BlockingChannel.basic_nack()", {"delivery_tag", "multiple", "requeue"}, 3, 0};
    CpikaChannel *ch = (CpikaChannel *)op;
    channel_ack a;
    return channel_parse_nack(&signature, ch, args, nargs, kwnames, &a) < 0
               ? NULL
               : send_ack(ch, a.id, a.tag, a.bits);
}

PyObject *
channel_basic_reject(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    CPIKA_GATE;
    static const cpika_signature signature = {
        "BlockingChannel.basic_reject()", {"delivery_tag", "requeue"}, 2, 0};
    CpikaChannel *ch = (CpikaChannel *)op;
    channel_ack a;
    return channel_parse_reject(&signature, ch, args, nargs, kwnames, &a) < 0
               ? NULL
               : send_ack(ch, a.id, a.tag, a.bits);
}

/* ---- basic_get ---- */

/* Counted answer, or NULL with an exception. */
static cpika_message *
send_get(CpikaChannel *ch, PyObject *queue, int no_ack)
{
    const uint8_t *name;
    Py_ssize_t n;
    PyObject *held = Py_NewRef(queue);
    if (cpika_shortstr_take(&ch->st->values, &held, "queue", &name, &n) < 0) {
        Py_DECREF(held);
        return NULL;
    }
    uint8_t frame[CPIKA_FRAME_OVERHEAD + 4 + 2 + 1 + 255 + 1];
    size_t payload = 4 + 2 + 1 + (size_t)n + 1;
    cpika_frame_put_head(frame, CPIKA_FRAME_METHOD, (uint16_t)ch->engine.number, (uint32_t)payload);
    cpika_put32(frame + 7, CPIKA_ID_basic_get);
    cpika_put16(frame + 11, 0);  // ticket: reserved
    frame[13] = (uint8_t)n;
    memcpy(frame + 14, name, (size_t)n);
    Py_DECREF(held);
    frame[14 + n] = (uint8_t)no_ack;
    frame[15 + n] = CPIKA_FRAME_END;
    cpika_request *request = cpika_request_new(CPIKA_ID_basic_get_ok, CPIKA_ID_basic_get_empty);
    if (request == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    request->no_ack = no_ack != 0;
    return cpika_call_bytes(ch->conn, ch, request, frame, payload + CPIKA_FRAME_OVERHEAD, CPIKA_FOREVER);
}

/* (method, properties, body) of the answer, which is taken.  What cannot be made goes back to its queue. */
static PyObject *
message_tuple(CpikaChannel *ch, cpika_message *answer, bool no_ack)
{
    cpika_made made = {0};
    PyObject *message = NULL;
    if (cpika_make_message(ch->conn, answer, &made) == 0) {
        message = PyTuple_Pack(3, made.method, made.properties, made.body);
    }
    if (message == NULL && !no_ack) {
        cpika_engine_owe_reject(&ch->conn->engine, &ch->engine, cpika_message_delivery_tag(answer));
    }
    cpika_made_clear(&made);
    cpika_message_decref(answer);
    return message;
}

PyObject *
channel_basic_get(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    CPIKA_GATE;
    static const cpika_signature signature = {"BlockingChannel.basic_get()", {"queue", "auto_ack"}, 2, 1};
    CpikaChannel *ch = (CpikaChannel *)op;
    PyObject *given[2];
    if (cpika_args_parse(&signature, args, nargs, kwnames, given) < 0) {
        return NULL;
    }
    int is = cpika_passes_for(given[0], &PyUnicode_Type);
    if (is <= 0) {
        if (is == 0) {
            PyErr_Format(PyExc_TypeError, "queue must be a str or unicode str, but got %R", given[0]);
        }
        return NULL;
    }
    int no_ack = cpika_arg_true(given[1], 0);
    if (no_ack < 0 || cpika_check_channel(ch) < 0) {
        return NULL;
    }
    cpika_message *answer = send_get(ch, given[0], no_ack);
    if (answer == NULL) {
        return NULL;
    }
    if (answer->body == NULL) {  // Basic.GetEmpty
        cpika_message_decref(answer);
        return PyTuple_Pack(3, Py_None, Py_None, Py_None);
    }
    return message_tuple(ch, answer, no_ack != 0);
}
