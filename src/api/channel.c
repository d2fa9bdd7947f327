/* channel.c - _core.Channel: the base of BlockingChannel, with its hot methods.
 * Layer: api.
 * Owns: the channel's consumers and blocks.  Threads: with the GIL.
 * Errors: NULL or -1 with an exception. */
#include "channel.h"

#include <stddef.h>
#include <structmember.h>

#include "ack.h"
#include "buffered.h"
#include "confirmed.h"
#include "consuming.h"
#include "drivers/deliver.h"
#include "drivers/dispatch.h"
#include "drivers/ended.h"
#include "drivers/rpc.h"
#include "drivers/settle.h"
#include "drivers/wait.h"
#include "inner.h"
#include "many.h"
#include "publish.h"
#include "store.h"
#include "type.h"
#include "values/args.h"
#include "values/errors.h"
#include "values/gate.h"
#include "values/values.h"
#include "wire/frame.h"
#include "wire/method.h"

/* ---- publishing ---- */

static PyObject *
channel_basic_publish(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    CPIKA_GATE;
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
    if (mandatory < 0 || cpika_check_channel(ch) < 0) {
        return NULL;
    }
    publish_args a = {given[0], given[1], given[2], given[3], mandatory != 0};
    static const publish_mode at_once = {0};
    publish_strings held = {NULL, NULL};
    int rc = publish_take_strings(&ch->st->values, &a, &held);  // a str's own encode() may end a block
    cpika_block *block = ch->blocks == NULL ? NULL : buffered_block(ch);
    if (rc == 0) {
        rc = block != NULL           ? buffered_publish(ch, block, &a)
             : ch->engine.confirming ? publish_confirmed(ch, &a)
                                     : publish_now(ch, &a, &at_once);
    }
    publish_release(&held);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- methods and answers ---- */

/* Whether a method may be sent, in whatever state but closed.  0 or -1. */
static int
check_not_closed(CpikaChannel *ch)
{
    if (ch->conn == NULL) {
        return cpika_check_channel(ch);
    }
    if (cpika_check_connection(ch->conn) < 0) {
        return -1;
    }
    return ch->engine.state == CHANNEL_CLOSED ? cpika_check_channel(ch) : 0;
}

PyDoc_STRVAR(rpc_doc, "_rpc($self, method, reply_id, timeout=None, /)\n--\n\n"
                      "Send a method and return its answer, a method object.  reply_id is the INDEX of the answer,\n"
                      "timeout a number of seconds (TimeoutError), None: none.  Deliveries are queued meanwhile.");

static PyObject *
channel_rpc(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    CPIKA_GATE;
    CpikaChannel *ch = (CpikaChannel *)op;
    if (nargs < 2 || nargs > 3) {
        PyErr_SetString(PyExc_TypeError, "_rpc() takes a method, a reply id and a timeout");
        return NULL;
    }
    unsigned long reply = PyLong_AsUnsignedLong(args[1]);
    uint64_t deadline;
    if (PyErr_Occurred() || cpika_deadline(nargs > 2 ? args[2] : Py_None, &deadline) < 0
        || check_not_closed(ch) < 0) {
        return NULL;
    }
    return cpika_call_method(ch->conn, ch, args[0], (uint32_t)reply, deadline, NULL);
}

/* The bit of its number in the connection's bytearray: a channel clears only what it has set. */
static void
reserve(CpikaChannel *ch, bool on)
{
    if (ch->reserves == on) {
        return;
    }
    ch->reserves = on;
    char *byte = PyByteArray_AS_STRING(ch->conn->reserved) + ch->engine.number / 8;
    char bit = (char)(1 << (ch->engine.number % 8));
    *byte = (char)(on ? *byte | bit : *byte & ~bit);
}

PyDoc_STRVAR(check_open_doc, "_check_open($self, /)\n--\n\n"
                             "Raise pika's ChannelWrongStateError if the channel is not open; where nobody has been told why\n"
                             "the connection has ended, that.");

static PyObject *
channel_check_open(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    if (cpika_check_channel((CpikaChannel *)op) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(open_doc, "_open($self, /)\n--\n\n"
                       "Open the channel (AMQP Channel.Open).  Interrupted, it is closed again and its number is free.");

static PyObject *
channel_open(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaChannel *ch = (CpikaChannel *)op;
    if (ch->conn == NULL) {
        cpika_check_channel(ch);
        return NULL;
    }
    if (cpika_check_connection(ch->conn) < 0 || cpika_check_may_wait(ch->conn) < 0) {
        return NULL;
    }
    if (ch->engine.engine != NULL || cpika_engine_channel(&ch->conn->engine, ch->engine.number) != NULL) {
        return PyErr_Format(PyExc_ValueError, "channel number %d is in use", ch->engine.number);
    }
    uint8_t frame[CPIKA_FRAME_OVERHEAD + 4 + 1];
    cpika_frame_put_head(frame, CPIKA_FRAME_METHOD, (uint16_t)ch->engine.number, 4 + 1);
    cpika_put32(frame + 7, CPIKA_ID_channel_open);
    frame[11] = 0;  // a reserved short string
    frame[12] = CPIKA_FRAME_END;
    cpika_request *request = cpika_request_new(CPIKA_ID_channel_open_ok, 0);
    if (request == NULL || cpika_engine_answer_crossed(&ch->conn->engine, ch->engine.number) < 0
        || cpika_engine_add_channel(&ch->conn->engine, &ch->engine) < 0) {
        PyMem_Free(request);
        return PyErr_NoMemory();
    }
    reserve(ch, false);  // from now on it is in use
    cpika_message *answer = cpika_call_bytes(ch->conn, ch, request, frame, sizeof frame, CPIKA_FOREVER);
    if (answer == NULL) {
        return NULL;
    }
    cpika_message_decref(answer);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(close_for_nobody_doc, "_close_for_nobody($self, /)\n--\n\n"
                                   "Give the number back, have the engine close the channel if it is open, and wait for nothing:\n"
                                   "for a call that was interrupted while or after it opened it.");

static PyObject *
channel_close_for_nobody(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaChannel *ch = (CpikaChannel *)op;
    if (ch->conn == NULL) {
        Py_RETURN_NONE;
    }
    reserve(ch, false);
    if (ch->engine.engine == NULL || cpika_transport_forked(&ch->conn->io)) {
        Py_RETURN_NONE;
    }
    if (cpika_engine_close_for_nobody(&ch->conn->engine, &ch->engine) < 0) {
        // No connection is better than a channel that nobody can close.
        cpika_engine_input_over(&ch->conn->engine, CPIKA_ENDING_NO_MEMORY, 0);
        return PyErr_NoMemory();
    }
    return cpika_settle(ch->conn) < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---- what the Python half tells ---- */

PyDoc_STRVAR(set_closed_doc, "_set_closed($self, reason, /)\n--\n\nThe channel is closed, for this reason (an exception).");

static PyObject *
channel_set_closed(PyObject *op, PyObject *reason)
{
    CPIKA_GATE;
    CpikaChannel *ch = (CpikaChannel *)op;
    if (ch->conn == NULL) {
        cpika_check_channel(ch);
        return NULL;
    }
    Py_XSETREF(ch->closing_reason, Py_NewRef(reason));
    if (ch->engine.engine == NULL) {
        ch->engine.state = CHANNEL_CLOSED;
    } else {
        cpika_engine_close_channel(&ch->conn->engine, &ch->engine, CPIKA_CLOSED_BY_CLIENT);
        if (cpika_settle(ch->conn) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

/* ---- attributes ---- */

static PyObject *
get_number(PyObject *op, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    return PyLong_FromLong(((CpikaChannel *)op)->engine.number);
}

static int
current_state(CpikaChannel *ch)
{
    return ch->conn != NULL && cpika_transport_forked(&ch->conn->io) ? CHANNEL_CLOSED : ch->engine.state;
}

static PyObject *
get_state(PyObject *op, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    return PyLong_FromLong(current_state((CpikaChannel *)op));
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
    CpikaChannel *ch = (CpikaChannel *)op;
    if (state != CHANNEL_CLOSED && ch->engine.engine == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the channel was never opened");
        return -1;
    }
    if (ch->engine.state == CHANNEL_CLOSED
        && state != CHANNEL_CLOSED) {  // perhaps meanwhile, by another thread
        return cpika_raise_not_open(ch);
    }
    ch->engine.state = (uint8_t)state;
    return 0;
}

static PyObject *
is_state(PyObject *op, void *state)
{
    CPIKA_GATE;
    return PyBool_FromLong(current_state((CpikaChannel *)op) == (int)(intptr_t)state);
}

static PyObject *
get_consumer_infos(PyObject *op, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    PyObject *infos = Py_NewRef(((CpikaChannel *)op)->consumer_infos);
    cpika_forget_found((CpikaChannel *)op);  // the caller may change it
    return infos;
}

static int
set_consumer_infos(PyObject *op, PyObject *value, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    if (value == NULL || !PyDict_Check(value)) {
        PyErr_Format(PyExc_TypeError, "_consumer_infos must be a dict, not %R",
                     value == NULL ? Py_None : value);
        return -1;
    }
    Py_XSETREF(((CpikaChannel *)op)->consumer_infos, Py_NewRef(value));
    cpika_forget_found((CpikaChannel *)op);
    return 0;
}

static PyObject *
get_confirming(PyObject *op, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    return PyBool_FromLong(((CpikaChannel *)op)->engine.confirming);
}

static int
set_confirming(PyObject *op, PyObject *value, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    int on = value == NULL ? -1 : PyObject_IsTrue(value);
    if (on < 0) {
        if (value == NULL) {
            PyErr_SetString(PyExc_AttributeError, "_delivery_confirmation cannot be deleted");
        }
        return -1;
    }
    ((CpikaChannel *)op)->engine.confirming = on != 0;
    return 0;
}

static PyObject *
get_closing_reason(PyObject *op, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    return cpika_closing_reason((CpikaChannel *)op);
}

static PyMemberDef channel_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(CpikaChannel, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef channel_getset[] = {
    {"_return_callback_count", cpika_field_get, cpika_field_set,
     "How many callbacks are to see a message that comes back.",
     CPIKA_FIELD("_return_callback_count", T_INT, offsetof(CpikaChannel, engine.return_callbacks))},
    {"_published", cpika_field_get, NULL, "Delivery tag of the last publish in confirm mode.",
     CPIKA_FIELD("_published", T_ULONGLONG, offsetof(CpikaChannel, engine.published))},
    {"_tells_verdicts", cpika_field_get, cpika_field_set,
     "Whether _on_method is told of each confirm of the broker.",
     CPIKA_FIELD("_tells_verdicts", T_BOOL, offsetof(CpikaChannel, engine.tells_verdicts))},
    {"channel_number", get_number, NULL, "Channel number", NULL},
    {"is_open", is_state, NULL, "Returns True if the channel is open.", (void *)(intptr_t)CHANNEL_OPEN},
    {"is_closed", is_state, NULL, "Returns True if the channel is closed.", (void *)(intptr_t)CHANNEL_CLOSED},
    {"_state", get_state, set_state, "CLOSED 0, OPENING 1, OPEN 2, CLOSING 3", NULL},
    {"_consumer_infos", get_consumer_infos, set_consumer_infos, "Consumers by tag: dict of _ConsumerInfo",
     NULL},
    {"_queue_consumer_generator", cpika_get_generator, cpika_set_generator,
     "What consume() goes by, or None.", NULL},
    {"_delivery_confirmation", get_confirming, set_confirming, "Whether basic_publish awaits confirms", NULL},
    {"_closing_reason", get_closing_reason, NULL, "Why the channel is closed, or None.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* ---- life ---- */

/* Python's own look at abstract methods is in object.__new__, which names them.  0 or -1. */
static int
refuse_abstract(PyTypeObject *type)
{
    if ((type->tp_flags & Py_TPFLAGS_IS_ABSTRACT) == 0) {
        return 0;
    }
    PyObject *none = PyTuple_New(0);
    PyObject *made = none == NULL ? NULL : PyBaseObject_Type.tp_new(type, none, NULL);
    int rc = made == NULL ? -1 : 0;  // what is abstract no more is made below
    Py_XDECREF(made);
    Py_XDECREF(none);
    return rc;
}

PyObject *
cpika_channel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    CPIKA_GATE;
    (void)args;
    (void)kwargs;
    cpika_state *st = refuse_abstract(type) < 0 ? NULL : cpika_state_of_type(type);
    CpikaChannel *ch = st == NULL ? NULL : (CpikaChannel *)type->tp_alloc(type, 0);
    if (ch == NULL) {
        return NULL;
    }
    ch->st = st;
    ch->engine.owner = (PyObject *)ch;
    ch->consumer_infos = PyDict_New();
    if (ch->consumer_infos == NULL) {
        Py_DECREF(ch);
        return NULL;
    }
    return (PyObject *)ch;
}

int
cpika_channel_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    CPIKA_GATE;
    static char *names[] = {"connection", "channel_number", NULL};
    CpikaChannel *ch = (CpikaChannel *)op;
    PyObject *conn;
    int number;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!i:Channel", names, ch->st->connection_type, &conn,
                                     &number)) {
        return -1;
    }
    if ((PyObject *)ch->conn == conn && ch->engine.number == number) {
        return 0;  // initialised again, as by two bases of one class: the broker has it as before
    }
    if (ch->conn != NULL || ((CpikaConnection *)conn)->io.link == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "a channel is initialised once, with a connection that is");
        return -1;
    }
    if (cpika_check_connection((CpikaConnection *)conn) < 0) {
        return -1;
    }
    if (number < 1 || number > UINT16_MAX
        || cpika_engine_channel(&((CpikaConnection *)conn)->engine, number) != NULL) {
        PyErr_Format(PyExc_ValueError, "channel number %d is out of range or in use", number);
        return -1;
    }
    ch->conn = (CpikaConnection *)Py_NewRef(conn);
    ch->engine.number = (uint16_t)number;
    ch->engine.state = CHANNEL_OPENING;
    reserve(ch, true);  // until it is opened, or forgotten
    return 0;
}

int
cpika_channel_traverse(PyObject *op, visitproc visit, void *arg)
{
    CpikaChannel *ch = (CpikaChannel *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(ch->conn);
    Py_VISIT(ch->consumer_infos);
    Py_VISIT(ch->found_tag);
    Py_VISIT(ch->found_info);
    Py_VISIT(ch->refused_in_hand);
    Py_VISIT(ch->closing_reason);
    Py_VISIT(ch->generator);
    return 0;
}

int
cpika_channel_clear(PyObject *op)
{
    CPIKA_GATE;
    CpikaChannel *ch = (CpikaChannel *)op;
    cpika_forget_found(ch);
    Py_CLEAR(ch->refused_in_hand);
    Py_CLEAR(ch->closing_reason);
    Py_CLEAR(ch->generator);
    if (ch->consumer_infos != NULL) {
        PyDict_Clear(ch->consumer_infos);  // stays a dict: methods that still run may look
    }
    return 0;
}

void
cpika_channel_dealloc(PyObject *op)
{
    CPIKA_GATE;
    CpikaChannel *ch = (CpikaChannel *)op;
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    cpika_clear_weakrefs(op, &ch->weakrefs);
    cpika_channel_clear(op);
    cpika_channel_free(&ch->engine);
    if (ch->conn != NULL) {
        reserve(ch, false);
    }
    Py_CLEAR(ch->consumer_infos);
    Py_CLEAR(ch->conn);
    type->tp_free(op);
    Py_DECREF(type);
}

/* ---- type ---- */

PyDoc_STRVAR(publish_doc,
             "basic_publish($self, exchange, routing_key, body, properties=None,\n"
             "              mandatory=False)\n--\n\n"
             "Publish a message (AMQP Basic.Publish), in one send.\n\n"
             "exchange, routing_key: str, at most 255 bytes of UTF-8.\n"
             "body: bytes, str (sent as UTF-8), bytearray or memoryview.\n"
             "properties: pika.BasicProperties or None.\n"
             "mandatory: have the broker return a message that it cannot route.\n\n"
             "Without confirm_delivery() it returns when the message has been handed to the\n"
             "socket; what the broker objects to surfaces in a later call.  With it, it awaits\n"
             "the broker's confirm and raises UnroutableError for a message that came back, or\n"
             "NackError.  Raises ChannelWrongStateError, ChannelClosedByBroker,\n"
             "ShortStringTooLong, UnsupportedAMQPFieldException, AssertionError for a name that\n"
             "is no string, and the connection's errors.");
PyDoc_STRVAR(many_doc,
             "publish_many($self, messages, window=1024)\n--\n\n"
             "Publish what an iterable gives (AMQP Basic.Publish), many messages to one send.\n\n"
             "messages: iterable of (exchange, routing_key, body), (..., properties) or\n"
             "(..., properties, mandatory); it is read as it goes, so it may be endless.\n"
             "window: with confirm_delivery(), how many of its publishes may be unconfirmed at a\n"
             "time.\n\n"
             "Returns the number of messages; with confirm_delivery() all of them are confirmed.\n"
             "At the first message that the broker refuses it takes no more, awaits the rest and\n"
             "raises NackError, or UnroutableError when all it refused came back, with .messages\n"
             "(those that came back) and the .indexes of all that it refused.  A lost connection's\n"
             "AMQPConnectionError has .confirmed, how many from the first on are confirmed, and\n"
             ".unconfirmed, the indexes of those that are not.  An exception of the iterable is\n"
             "raised once what it gave has been sent and confirmed.");
PyDoc_STRVAR(ack_doc, "basic_ack($self, delivery_tag=0, multiple=False)\n--\n\n"
                      "Acknowledge a message (AMQP Basic.Ack).\n\n"
                      "delivery_tag: int, from the delivery.\n"
                      "multiple: all messages of this channel up to and including that tag; with tag 0,\n"
                      "all outstanding ones.\n\n"
                      "Given in a callback while more messages stand ready, it leaves together with the\n"
                      "acks of those, at most 1 ms later.  Raises ChannelWrongStateError.");
PyDoc_STRVAR(nack_doc, "basic_nack($self, delivery_tag=0, multiple=False, requeue=True)\n--\n\n"
                       "Refuse messages (RabbitMQ's Basic.Nack).\n\n"
                       "delivery_tag, multiple: as for basic_ack.\n"
                       "requeue: back to the queue; else they are dropped or dead-lettered.\n\n"
                       "Raises ChannelWrongStateError.");
PyDoc_STRVAR(reject_doc, "basic_reject($self, delivery_tag=0, requeue=True)\n--\n\n"
                         "Refuse one message (AMQP Basic.Reject).\n\n"
                         "delivery_tag: int, from the delivery; TypeError for anything else.\n"
                         "requeue: back to the queue; else it is dropped or dead-lettered.\n\n"
                         "Raises ChannelWrongStateError.");
PyDoc_STRVAR(get_doc, "basic_get($self, queue, auto_ack=False)\n--\n\n"
                      "Get one message (AMQP Basic.Get).\n\n"
                      "queue: str.  auto_ack: the broker expects no acknowledgement.\n\n"
                      "Returns (spec.Basic.GetOk, spec.BasicProperties, bytes), or (None, None, None) when\n"
                      "the queue is empty.  Raises ChannelClosedByBroker, ChannelWrongStateError.");

static PyMethodDef channel_methods[] = {
    {"basic_publish", (PyCFunction)(void (*)(void))channel_basic_publish, METH_FASTCALL | METH_KEYWORDS,
     publish_doc},
    {"publish_many", (PyCFunction)(void (*)(void))channel_publish_many, METH_FASTCALL | METH_KEYWORDS,
     many_doc},
    {"basic_ack", (PyCFunction)(void (*)(void))channel_basic_ack, METH_FASTCALL | METH_KEYWORDS, ack_doc},
    {"basic_nack", (PyCFunction)(void (*)(void))channel_basic_nack, METH_FASTCALL | METH_KEYWORDS, nack_doc},
    {"basic_reject", (PyCFunction)(void (*)(void))channel_basic_reject, METH_FASTCALL | METH_KEYWORDS,
     reject_doc},
    {"basic_get", (PyCFunction)(void (*)(void))channel_basic_get, METH_FASTCALL | METH_KEYWORDS, get_doc},
    {"_rpc", (PyCFunction)(void (*)(void))channel_rpc, METH_FASTCALL, rpc_doc},
    {"_check_open", channel_check_open, METH_NOARGS, check_open_doc},
    {"_open", channel_open, METH_NOARGS, open_doc},
    {"_close_for_nobody", channel_close_for_nobody, METH_NOARGS, close_for_nobody_doc},
    {"_set_closed", channel_set_closed, METH_O, set_closed_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(channel_doc, "Channel(connection, channel_number)\n--\n\n"
                          "One channel of a connection: the hot half of BlockingChannel.");

static PyType_Slot channel_slots[] = {
    {Py_tp_doc, (void *)channel_doc},   {Py_tp_new, cpika_channel_new},
    {Py_tp_init, cpika_channel_init},   {Py_tp_traverse, cpika_channel_traverse},
    {Py_tp_clear, cpika_channel_clear}, {Py_tp_dealloc, cpika_channel_dealloc},
    {Py_tp_methods, channel_methods},   {Py_tp_members, channel_members},
    {Py_tp_getset, channel_getset},     {0, NULL},
};

static PyType_Spec channel_spec = {
    .name = "cpika._core.Channel",
    .basicsize = sizeof(CpikaChannel),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = channel_slots,
};

int
cpika_channel_exec(PyObject *module, cpika_state *st)
{
    st->channel_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &channel_spec, NULL);
    return st->channel_type == NULL || cpika_add_methods(st->channel_type, cpika_consuming_methods) < 0
                   || cpika_add_methods(st->channel_type, cpika_store_methods) < 0
                   || cpika_add_methods(st->channel_type, cpika_inner_channel_methods) < 0
               ? -1
               : PyModule_AddType(module, st->channel_type);
}
