/* loop_channel.c - see loop_channel.h.
 * Layer: api.
 * Owns: what the struct adds to a channel.  Threads: see drivers/loop.h.
 * Errors: NULL or -1 with an exception. */
#include "loop_channel.h"

#include "ack.h"
#include "channel.h"
#include "drivers/ended.h"
#include "drivers/loop.h"
#include "encode.h"
#include "values/args.h"
#include "values/gate.h"
#include "wire/frame.h"
#include "wire/method.h"

/* ---- publishing ---- */

static int
append_message(CpikaChannel *ch, const publish_args *a, const publish_body *body, uint64_t *tag)
{
    CpikaConnection *conn = ch->conn;
    // User code may publish from within (a properties' encode()): it finds no scratch, and makes its own.
    cpika_buf message = conn->scratch;
    conn->scratch = (cpika_buf)CPIKA_BUF_INIT;
    message.len = 0;
    cpika_identity identity;
    int rc = publish_encode_head(ch, a, body->size, &message, &identity);
    if (rc == 0) {
        rc = publish_encode_body(ch, body, &message);
    }
    if (rc == 0) {
        size_t most = conn->engine.frame_max - CPIKA_FRAME_OVERHEAD;
        rc = cpika_loop_append_of(ch, message.data, message.len, 2 + (body->size + most - 1) / most, tag);
    }
    if (conn->scratch.data == NULL) {
        conn->scratch = message;
    } else {
        cpika_buf_free(&message);
    }
    return rc;
}

/* *tag: its delivery tag, 0 without confirms.  0 or -1. */
static int
publish(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, uint64_t *tag)
{
    static const cpika_signature signature = {
        "Channel.basic_publish()", {"exchange", "routing_key", "body", "properties", "mandatory"}, 5, 3};
    CpikaChannel *ch = (CpikaChannel *)op;
    PyObject *given[5];
    publish_body body;
    if (cpika_args_parse(&signature, args, nargs, kwnames, given) < 0 || cpika_check_channel(ch) < 0
        || publish_body_take(&ch->st->values, given[2], &body) < 0) {
        return -1;
    }
    int mandatory = cpika_arg_true(given[4], 0);
    publish_args a = {given[0], given[1], given[2], given[3], mandatory > 0};
    publish_strings held = {NULL, NULL};
    int rc = mandatory < 0 ? -1 : publish_take_strings(&ch->st->values, &a, &held);
    if (rc == 0) {
        rc = append_message(ch, &a, &body, tag);
    }
    publish_release(&held);
    publish_body_free(&body);
    return rc;
}

static PyObject *
loop_basic_publish(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    CPIKA_GATE;
    uint64_t tag = 0;
    return publish(op, args, nargs, kwnames, &tag) < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(tagged_doc, "_publish_tagged($self, exchange, routing_key, body, properties=None,\n"
                         "                mandatory=False)\n--\n\n"
                         "basic_publish that returns the delivery tag; 0 without confirms.");

static PyObject *
loop_publish_tagged(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    CPIKA_GATE;
    uint64_t tag = 0;
    return publish(op, args, nargs, kwnames, &tag) < 0 ? NULL : PyLong_FromUnsignedLongLong(tag);
}

/* ---- acknowledging ---- */

static PyObject *
append_ack(CpikaChannel *ch, uint32_t id, uint64_t tag, unsigned bits)
{
    uint8_t frame[CHANNEL_ACK_FRAME];
    channel_encode_ack(frame, ch->engine.number, id, tag, bits);
    if (cpika_loop_append_of(ch, frame, sizeof frame, 1, NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
loop_basic_ack(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    CPIKA_GATE;
    static const cpika_signature signature = {"Channel.basic_ack()", {"delivery_tag", "multiple"}, 2, 0};
    CpikaChannel *ch = (CpikaChannel *)op;
    channel_ack a;
    return channel_parse_ack(&signature, ch, args, nargs, kwnames, &a) < 0
               ? NULL
               : append_ack(ch, a.id, a.tag, a.bits);
}

static PyObject *
loop_basic_nack(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    CPIKA_GATE;
    static const cpika_signature signature = {
        "Channel.basic_nack()", {"delivery_tag", "multiple", "requeue"}, 3, 0};
    CpikaChannel *ch = (CpikaChannel *)op;
    channel_ack a;
    return channel_parse_nack(&signature, ch, args, nargs, kwnames, &a) < 0
               ? NULL
               : append_ack(ch, a.id, a.tag, a.bits);
}

static PyObject *
loop_basic_reject(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    CPIKA_GATE;
    static const cpika_signature signature = {"Channel.basic_reject()", {"delivery_tag", "requeue"}, 2, 0};
    CpikaChannel *ch = (CpikaChannel *)op;
    channel_ack a;
    return channel_parse_reject(&signature, ch, args, nargs, kwnames, &a) < 0
               ? NULL
               : append_ack(ch, a.id, a.tag, a.bits);
}

/* ---- in the engine ---- */

/* The number's last channel may owe its Close-Ok: appended, since what a loop's engine owes would leave behind Channel.Open.
 * 0 or -1. */
static int
close_crossed(CpikaChannel *ch)
{
    cpika_engine *e = &ch->conn->engine;
    if (!cpika_engine_is_crossed(e, ch->engine.number)) {
        return 0;
    }
    uint8_t frame[CPIKA_FRAME_OVERHEAD + 4];
    cpika_frame_put_head(frame, CPIKA_FRAME_METHOD, ch->engine.number, 4);
    cpika_put32(frame + CPIKA_FRAME_HEAD_SIZE, CPIKA_ID_channel_close_ok);
    frame[CPIKA_FRAME_HEAD_SIZE + 4] = CPIKA_FRAME_END;
    if (e->state == CONNECTION_OPEN && cpika_loop_append(ch->conn, frame, sizeof frame, 1) < 0) {
        return -1;
    }
    cpika_engine_uncross(e, ch->engine.number);
    return 0;
}

PyDoc_STRVAR(attach_doc, "_attach($self, /)\n--\n\nFrames of this number are this channel's from now on.");

static PyObject *
loop_attach(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaChannel *ch = (CpikaChannel *)op;
    if (ch->conn == NULL || cpika_check_fork(ch->conn) < 0) {
        return ch->conn == NULL ? PyErr_Format(PyExc_RuntimeError, "the channel's __init__ was not called")
                                : NULL;
    }
    if (ch->engine.engine != NULL || cpika_engine_channel(&ch->conn->engine, ch->engine.number) != NULL) {
        return PyErr_Format(PyExc_ValueError, "channel number %d is in use", ch->engine.number);
    }
    if (close_crossed(ch) < 0) {
        return NULL;
    }
    if (cpika_engine_add_channel(&ch->conn->engine, &ch->engine) < 0) {
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(cross_doc, "_cross($self, /)\n--\n\n"
                        "The broker's Channel.Close has crossed ours: the engine answers it when the broker has answered ours,\n"
                        "whatever becomes of the channel. Behind this comes _detach.");

static PyObject *
loop_cross(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaChannel *ch = (CpikaChannel *)op;
    if (ch->engine.engine != NULL && cpika_engine_cross(&ch->conn->engine, &ch->engine) < 0) {
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(detach_doc, "_detach($self, /)\n--\n\nThe channel is closed, and its number free.");

static PyObject *
loop_detach(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaChannel *ch = (CpikaChannel *)op;
    if (ch->engine.engine == NULL || cpika_transport_forked(&ch->conn->io)) {
        ch->engine.state = CHANNEL_CLOSED;
    } else {
        if (ch->engine.state == CHANNEL_CLOSED) {
            ch->engine.state = CHANNEL_CLOSING;  // closed by the Python side alone
        }
        cpika_engine_close_channel(&ch->conn->engine, &ch->engine, CPIKA_CLOSED_BY_CLIENT);
        cpika_engine_bury(&ch->conn->engine);
    }
    Py_RETURN_NONE;
}

/* ---- attributes ---- */

static PyObject *
get_consumers(PyObject *op, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    return Py_NewRef(((CpikaChannel *)op)->consumer_infos);
}

static int
set_consumers(PyObject *op, PyObject *value, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    if (value == NULL || !PyDict_Check(value)) {
        PyErr_Format(PyExc_TypeError, "_consumers must be a dict, not %R", value == NULL ? Py_None : value);
        return -1;
    }
    Py_XSETREF(((CpikaChannel *)op)->consumer_infos, Py_NewRef(value));
    return 0;
}

static PyObject *
get_cancelled(PyObject *op, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    return Py_NewRef(((CpikaLoopChannel *)op)->cancelled);
}

static int
set_cancelled(PyObject *op, PyObject *value, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    if (value == NULL || !PySet_Check(value)) {
        PyErr_Format(PyExc_TypeError, "_cancelled must be a set, not %R", value == NULL ? Py_None : value);
        return -1;
    }
    Py_XSETREF(((CpikaLoopChannel *)op)->cancelled, Py_NewRef(value));
    return 0;
}

static PyObject *
get_published(PyObject *op, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    return PyLong_FromUnsignedLongLong(((CpikaChannel *)op)->engine.published);
}

static int
set_state(PyObject *op, PyObject *value, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    long state = value == NULL ? -1 : PyLong_AsLong(value);
    if (state < CHANNEL_CLOSED || state > CHANNEL_CLOSING) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "no such channel state: %ld", state);
        }
        return -1;
    }
    ((CpikaChannel *)op)->engine.state = (uint8_t)state;
    return 0;
}

static PyObject *
get_state(PyObject *op, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    CpikaChannel *ch = (CpikaChannel *)op;
    bool forked = ch->conn != NULL && cpika_transport_forked(&ch->conn->io);
    return PyLong_FromLong(forked ? CHANNEL_CLOSED : ch->engine.state);
}

static PyGetSetDef loop_channel_getset[] = {
    {"_consumers", get_consumers, set_consumers, "Callbacks of consumers by tag.", NULL},
    {"_cancelled", get_cancelled, set_cancelled, "Tags of consumers whose end was asked for.", NULL},
    {"_published", get_published, NULL, "Delivery tag of the last publish, with confirms.", NULL},
    {"_state", get_state, set_state, "CLOSED 0, OPENING 1, OPEN 2, CLOSING 3", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* ---- life ---- */

static PyObject *
loop_channel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    CPIKA_GATE;
    CpikaLoopChannel *ch = (CpikaLoopChannel *)cpika_channel_new(type, args, kwargs);
    if (ch != NULL) {
        ch->cancelled = PySet_New(NULL);
        if (ch->cancelled == NULL) {
            Py_CLEAR(ch);
        }
    }
    return (PyObject *)ch;
}

static int
loop_channel_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    CPIKA_GATE;
    CpikaLoopChannel *ch = (CpikaLoopChannel *)op;
    if (cpika_channel_init(op, args, kwargs) < 0) {
        return -1;
    }
    ch->base.engine.state = CHANNEL_CLOSED;  // until it is opened
    Py_XSETREF(ch->prefix, PyUnicode_FromFormat("%d", ch->base.engine.number));
    return ch->prefix == NULL ? -1 : 0;
}

static int
loop_channel_traverse(PyObject *op, visitproc visit, void *arg)
{
    CpikaLoopChannel *ch = (CpikaLoopChannel *)op;
    Py_VISIT(ch->cancelled);
    return cpika_channel_traverse(op, visit, arg);
}

static int
loop_channel_clear(PyObject *op)
{
    CPIKA_GATE;
    PySet_Clear(((CpikaLoopChannel *)op)->cancelled);  // stays a set: methods that still run may look
    return cpika_channel_clear(op);
}

static void
loop_channel_dealloc(PyObject *op)
{
    CPIKA_GATE;
    CpikaLoopChannel *ch = (CpikaLoopChannel *)op;
    PyObject_GC_UnTrack(op);
    Py_CLEAR(ch->cancelled);
    Py_CLEAR(ch->prefix);
    cpika_channel_dealloc(op);
}

/* ---- type ---- */

PyDoc_STRVAR(publish_doc, "basic_publish($self, exchange, routing_key, body, properties=None,\n"
                          "              mandatory=False)\n--\n\n"
                          "Queue a message (AMQP Basic.Publish); it leaves at the end of the loop's turn.");
PyDoc_STRVAR(ack_doc, "basic_ack($self, delivery_tag=0, multiple=False)\n--\n\n"
                      "Acknowledge a message (AMQP Basic.Ack).");
PyDoc_STRVAR(nack_doc, "basic_nack($self, delivery_tag=0, multiple=False, requeue=True)\n--\n\n"
                       "Refuse messages (RabbitMQ's Basic.Nack).");
PyDoc_STRVAR(reject_doc, "basic_reject($self, delivery_tag=0, requeue=True)\n--\n\n"
                         "Refuse one message (AMQP Basic.Reject).");
PyDoc_STRVAR(on_deliver_doc, "_on_deliver($self, method_frame, header_frame, body, /)\n--\n\n"
                             "A message for one of the channel's consumers has come.  Where this is replaced, what replaces it\n"
                             "is called for every message.");

static PyMethodDef loop_channel_methods[] = {
    {"basic_publish", (PyCFunction)(void (*)(void))loop_basic_publish, METH_FASTCALL | METH_KEYWORDS,
     publish_doc},
    {"_publish_tagged", (PyCFunction)(void (*)(void))loop_publish_tagged, METH_FASTCALL | METH_KEYWORDS,
     tagged_doc},
    {"basic_ack", (PyCFunction)(void (*)(void))loop_basic_ack, METH_FASTCALL | METH_KEYWORDS, ack_doc},
    {"basic_nack", (PyCFunction)(void (*)(void))loop_basic_nack, METH_FASTCALL | METH_KEYWORDS, nack_doc},
    {"basic_reject", (PyCFunction)(void (*)(void))loop_basic_reject, METH_FASTCALL | METH_KEYWORDS,
     reject_doc},
    {"_on_deliver", (PyCFunction)(void (*)(void))cpika_loop_on_deliver, METH_FASTCALL, on_deliver_doc},
    {"_attach", loop_attach, METH_NOARGS, attach_doc},
    {"_cross", loop_cross, METH_NOARGS, cross_doc},
    {"_detach", loop_detach, METH_NOARGS, detach_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(loop_channel_doc, "LoopChannel(connection, channel_number)\n--\n\n"
                               "A channel whose callbacks run on an event loop: the hot half of pika.channel.Channel.");

static PyType_Slot loop_channel_slots[] = {
    {Py_tp_doc, (void *)loop_channel_doc},
    {Py_tp_new, loop_channel_new},
    {Py_tp_init, loop_channel_init},
    {Py_tp_traverse, loop_channel_traverse},
    {Py_tp_clear, loop_channel_clear},
    {Py_tp_dealloc, loop_channel_dealloc},
    {Py_tp_methods, loop_channel_methods},
    {Py_tp_getset, loop_channel_getset},
    {0, NULL},
};

static PyType_Spec loop_channel_spec = {
    .name = "cpika._core.LoopChannel",
    .basicsize = sizeof(CpikaLoopChannel),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = loop_channel_slots,
};

int
cpika_loop_channel_exec(PyObject *module, cpika_state *st)
{
    PyObject *bases = PyTuple_Pack(1, st->channel_type);
    st->loop_channel_type =
        bases == NULL ? NULL : (PyTypeObject *)PyType_FromModuleAndSpec(module, &loop_channel_spec, bases);
    Py_XDECREF(bases);
    return st->loop_channel_type == NULL ? -1 : PyModule_AddType(module, st->loop_channel_type);
}
