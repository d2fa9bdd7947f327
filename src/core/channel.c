/* channel.c - _core.Channel: the base of BlockingChannel, with its hot methods.
 * Layer: core.
 * Owns: the channel's consumers, waiters and content.  Threads: with the GIL.
 * Errors: NULL or -1 with an exception. */
#include "consumer.h"
#include "engine.h"

#include <stddef.h>
#include <structmember.h>

#include "publish.h"
#include "values/args.h"
#include "wire/method.h"

/* ---- state ---- */

int
channel_raise_closed_by_broker(CpikaChannel *ch)
{
    PyObject *type = ch->st->exceptions[CPIKA_EXC_ChannelClosedByBroker];
    if (ch->state != CHANNEL_CLOSED || ch->closing_reason == NULL
        || PyObject_IsInstance(ch->closing_reason, type) != 1) {
        return 0;
    }
    return cpika_raise_again(ch->closing_reason);
}

static int
raise_wrong_state(CpikaChannel *ch)
{
    const char *text = ch->state == CHANNEL_OPENING   ? "Channel is opening, but is not usable yet."
                       : ch->state == CHANNEL_CLOSING ? "Channel is closing."
                                                      : "Channel is closed.";
    cpika_raise(ch->st, CPIKA_EXC_ChannelWrongStateError, "%s", text);
    return -1;
}

int
channel_raise_not_open(CpikaChannel *ch)
{
    return channel_raise_closed_by_broker(ch) < 0 ? -1 : raise_wrong_state(ch);
}

/* Whether __init__ was called: a subclass may forget it.  0 or -1. */
static int
check_initialised(CpikaChannel *ch)
{
    if (ch->conn != NULL) {
        return 0;
    }
    PyErr_SetString(PyExc_RuntimeError, "the channel's __init__ was not called");
    return -1;
}

int
channel_check_open(CpikaChannel *ch)
{
    if (check_initialised(ch) < 0) {
        return -1;
    }
    if (cpika_link_forked(ch->conn->link)) {
        return engine_check(ch->conn);
    }
    return ch->state == CHANNEL_OPEN ? 0 : raise_wrong_state(ch);
}

void
channel_set_closed(CpikaChannel *ch, PyObject *reason)
{
    if (ch->state == CHANNEL_CLOSED) {
        Py_XDECREF(reason);
        return;
    }
    ch->state = CHANNEL_CLOSED;
    Py_XSETREF(ch->closing_reason, reason);
    engine_fail_waiters(ch->conn, ch);
    for (cpika_confirm *c = ch->confirms; c != NULL; c = c->next) {
        c->failed = !c->done;
    }
    engine_clear_content(ch);
    engine_discard_events(ch->conn, ch);
    engine_wake_others(ch->conn);
    engine_drop_channel(ch->conn, ch);
}

/* ---- methods of the cold half ---- */

PyDoc_STRVAR(rpc_doc, "_rpc($self, method, reply_id, timeout=None, /)\n--\n\n"
                      "Send a method and return its answer, a method object.  reply_id is the INDEX of the answer,\n"
                      "timeout a number of seconds (TimeoutError), None: none.  Deliveries are queued meanwhile.");

static PyObject *
channel_rpc(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    CpikaChannel *ch = (CpikaChannel *)op;
    if (nargs < 2 || nargs > 3) {
        PyErr_SetString(PyExc_TypeError, "_rpc() takes a method, a reply id and a timeout");
        return NULL;
    }
    unsigned long reply = PyLong_AsUnsignedLong(args[1]);
    uint64_t deadline;
    if (PyErr_Occurred() || engine_deadline(nargs > 2 ? args[2] : Py_None, &deadline) < 0) {
        return NULL;
    }
    if (check_initialised(ch) < 0 || engine_check(ch->conn) < 0) {
        return NULL;
    }
    if (ch->state == CHANNEL_CLOSED) {
        raise_wrong_state(ch);
        return NULL;
    }
    return engine_rpc(ch->conn, ch, args[0], (uint32_t)reply, deadline);
}

PyDoc_STRVAR(send_doc, "_send($self, method, /)\n--\n\nSend a method that has no answer.");

static PyObject *
channel_send(PyObject *op, PyObject *method)
{
    CpikaChannel *ch = (CpikaChannel *)op;
    if (check_initialised(ch) < 0 || engine_check(ch->conn) < 0
        || engine_send_method(ch->conn, ch->number, method) < 0 || engine_wait_output(ch->conn) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(give_back_doc, "_give_back($self, message, /)\n--\n\n"
                            "Requeue a message, (method, properties, body), by Basic.Reject, without waiting.");

static PyObject *
channel_give_back(PyObject *op, PyObject *message)
{
    CpikaChannel *ch = (CpikaChannel *)op;
    if (!PyTuple_Check(message) || PyTuple_GET_SIZE(message) != 3) {
        return PyErr_Format(PyExc_TypeError, "a message is (method, properties, body), not %R", message);
    }
    PyObject *tag = PyObject_GetAttrString(PyTuple_GET_ITEM(message, 0), "delivery_tag");
    uint64_t number = tag == NULL ? 0 : PyLong_AsUnsignedLongLong(tag);
    Py_XDECREF(tag);
    if (PyErr_Occurred() || channel_check_open(ch) < 0 || engine_reject(ch->conn, ch, number) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(take_pending_doc, "_take_pending($self, consumer_tag, /)\n--\n\n"
                               "Take the consumer's messages that wait to be dispatched: list of (method, properties, body).");

static PyObject *
channel_take_pending(PyObject *op, PyObject *tag)
{
    CpikaChannel *ch = (CpikaChannel *)op;
    return check_initialised(ch) < 0 ? NULL : engine_take_pending(ch->conn, ch, tag);
}

PyDoc_STRVAR(queue_event_doc, "_queue_event($self, event, consumer_tag=None, /)\n--\n\n"
                              "Queue an object for dispatch behind what has arrived: its dispatch() is called.");

static PyObject *
channel_queue_event(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    CpikaChannel *ch = (CpikaChannel *)op;
    if (nargs < 1 || nargs > 2) {
        PyErr_SetString(PyExc_TypeError, "_queue_event() takes an event and a consumer tag");
        return NULL;
    }
    if (check_initialised(ch) < 0) {
        return NULL;
    }
    cpika_event event = {0};
    event.channel = (CpikaChannel *)Py_NewRef(op);
    event.tag = nargs > 1 && args[1] != Py_None ? Py_NewRef(args[1]) : NULL;
    event.method = Py_NewRef(args[0]);
    if (engine_queue_event(ch->conn, &event) < 0) {
        return NULL;
    }
    ch->conn->return_asked = true;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(set_closed_doc, "_set_closed($self, reason, /)\n--\n\nThe channel is closed, for this reason (an exception).");

static PyObject *
channel_set_closed_method(PyObject *op, PyObject *reason)
{
    if (check_initialised((CpikaChannel *)op) < 0) {
        return NULL;
    }
    channel_set_closed((CpikaChannel *)op, Py_NewRef(reason));
    Py_RETURN_NONE;
}

/* ---- attributes ---- */

static PyObject *
get_number(PyObject *op, void *closure)
{
    (void)closure;
    return PyLong_FromLong(((CpikaChannel *)op)->number);
}

static int
current_state(CpikaChannel *ch)
{
    bool forked = ch->conn != NULL && ch->conn->link != NULL && cpika_link_forked(ch->conn->link);
    return forked ? CHANNEL_CLOSED : ch->state;
}

static PyObject *
get_state(PyObject *op, void *closure)
{
    (void)closure;
    return PyLong_FromLong(current_state((CpikaChannel *)op));
}

static int
set_state(PyObject *op, PyObject *value, void *closure)
{
    (void)closure;
    long state = value == NULL ? -1 : PyLong_AsLong(value);
    if (state < CHANNEL_CLOSED || state > CHANNEL_CLOSING) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "no such channel state: %ld", state);
        }
        return -1;
    }
    CpikaChannel *ch = (CpikaChannel *)op;
    if (ch->state == CHANNEL_CLOSED && state != CHANNEL_CLOSED) {  // perhaps meanwhile, by another thread
        return channel_raise_not_open(ch);
    }
    ch->state = (uint8_t)state;
    return 0;
}

static PyObject *
is_state(PyObject *op, void *state)
{
    return PyBool_FromLong(current_state((CpikaChannel *)op) == (int)(intptr_t)state);
}

static PyObject *
get_consumer_infos(PyObject *op, void *closure)
{
    (void)closure;
    engine_forget_found((CpikaChannel *)op);  // the caller may change it
    return Py_NewRef(((CpikaChannel *)op)->consumer_infos);
}

static int
set_consumer_infos(PyObject *op, PyObject *value, void *closure)
{
    (void)closure;
    if (value == NULL || !PyDict_Check(value)) {
        PyErr_Format(PyExc_TypeError, "_consumer_infos must be a dict, not %R",
                     value == NULL ? Py_None : value);
        return -1;
    }
    Py_XSETREF(((CpikaChannel *)op)->consumer_infos, Py_NewRef(value));
    engine_forget_found((CpikaChannel *)op);
    return 0;
}

static PyObject *
get_confirming(PyObject *op, void *closure)
{
    (void)closure;
    return PyBool_FromLong(((CpikaChannel *)op)->confirming);
}

static int
set_confirming(PyObject *op, PyObject *value, void *closure)
{
    (void)closure;
    int on = value == NULL ? -1 : PyObject_IsTrue(value);
    if (on < 0) {
        return -1;
    }
    ((CpikaChannel *)op)->confirming = on != 0;
    return 0;
}

static PyMemberDef channel_members[] = {
    {"_closing_reason", T_OBJECT, offsetof(CpikaChannel, closing_reason), 0,
     "Why the channel is closed, or None."},
    {"_puback_return", T_OBJECT, offsetof(CpikaChannel, returned), 0,
     "ReturnedMessage that came back for the publish in flight, or None."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(CpikaChannel, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef channel_getset[] = {
    {"channel_number", get_number, NULL, "Channel number", NULL},
    {"is_open", is_state, NULL, "Returns True if the channel is open.", (void *)(intptr_t)CHANNEL_OPEN},
    {"is_closed", is_state, NULL, "Returns True if the channel is closed.", (void *)(intptr_t)CHANNEL_CLOSED},
    {"_state", get_state, set_state, "CLOSED 0, OPENING 1, OPEN 2, CLOSING 3", NULL},
    {"_consumer_infos", get_consumer_infos, set_consumer_infos, "Consumers by tag: dict of _ConsumerInfo",
     NULL},
    {"_delivery_confirmation", get_confirming, set_confirming, "Whether basic_publish awaits confirms", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* ---- life ---- */

static PyObject *
channel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    cpika_state *st = cpika_state_of_type(type);
    CpikaChannel *ch = st == NULL ? NULL : (CpikaChannel *)type->tp_alloc(type, 0);
    if (ch == NULL) {
        return NULL;
    }
    ch->st = st;
    ch->waiters_end = &ch->waiters;
    ch->consumer_infos = PyDict_New();
    if (ch->consumer_infos == NULL) {
        Py_DECREF(ch);
        return NULL;
    }
    return (PyObject *)ch;
}

static int
channel_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"connection", "channel_number", NULL};
    CpikaChannel *ch = (CpikaChannel *)op;
    PyObject *conn;
    int number;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!i:Channel", names, ch->st->connection_type, &conn,
                                     &number)) {
        return -1;
    }
    if (ch->conn != NULL || ((CpikaConnection *)conn)->link == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "a channel is initialised once, with a connection that is");
        return -1;
    }
    if (engine_check((CpikaConnection *)conn) < 0) {
        return -1;
    }
    ch->conn = (CpikaConnection *)Py_NewRef(conn);
    ch->number = number;
    if (engine_add_channel(ch->conn, ch) < 0) {
        return -1;
    }
    ch->state = CHANNEL_OPENING;
    return 0;
}

static int
channel_traverse(PyObject *op, visitproc visit, void *arg)
{
    CpikaChannel *ch = (CpikaChannel *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(ch->conn);
    Py_VISIT(ch->consumer_infos);
    Py_VISIT(ch->found_tag);
    Py_VISIT(ch->found_info);
    Py_VISIT(ch->closing_reason);
    Py_VISIT(ch->returned);
    Py_VISIT(ch->content.tag);
    Py_VISIT(ch->content.method);
    Py_VISIT(ch->content.properties);
    Py_VISIT(ch->content.body);
    for (cpika_waiter *w = ch->waiters; w != NULL; w = w->next) {
        Py_VISIT(w->result);
    }
    return 0;
}

static int
channel_clear(PyObject *op)
{
    CpikaChannel *ch = (CpikaChannel *)op;
    engine_clear_content(ch);
    engine_forget_found(ch);
    Py_CLEAR(ch->closing_reason);
    Py_CLEAR(ch->returned);
    if (ch->consumer_infos != NULL) {
        PyDict_Clear(ch->consumer_infos);  // stays a dict: methods that still run may look
    }
    return 0;
}

static void
channel_dealloc(PyObject *op)
{
    CpikaChannel *ch = (CpikaChannel *)op;
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    if (ch->weakrefs != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    channel_clear(op);
    channel_free_blocks(ch);
    while (ch->waiters != NULL) {
        engine_forget_waiter(ch->conn, ch, ch->waiters);
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
PyDoc_STRVAR(begin_buffered_doc, "_begin_buffered($self, max_bytes, max_delay, /)\n--\n\n"
                                 "Hold publishes back from now on.  Returns what _end_buffered wants.");
PyDoc_STRVAR(end_buffered_doc, "_end_buffered($self, outer, error, /)\n--\n\n"
                               "Send what is held; the outermost block, left without an error, awaits its confirms.");
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
    {"_begin_buffered", channel_begin_buffered, METH_VARARGS, begin_buffered_doc},
    {"_end_buffered", channel_end_buffered, METH_VARARGS, end_buffered_doc},
    {"basic_ack", (PyCFunction)(void (*)(void))channel_basic_ack, METH_FASTCALL | METH_KEYWORDS, ack_doc},
    {"basic_nack", (PyCFunction)(void (*)(void))channel_basic_nack, METH_FASTCALL | METH_KEYWORDS, nack_doc},
    {"basic_reject", (PyCFunction)(void (*)(void))channel_basic_reject, METH_FASTCALL | METH_KEYWORDS,
     reject_doc},
    {"basic_get", (PyCFunction)(void (*)(void))channel_basic_get, METH_FASTCALL | METH_KEYWORDS, get_doc},
    {"_rpc", (PyCFunction)(void (*)(void))channel_rpc, METH_FASTCALL, rpc_doc},
    {"_send", channel_send, METH_O, send_doc},
    {"_give_back", channel_give_back, METH_O, give_back_doc},
    {"_take_pending", channel_take_pending, METH_O, take_pending_doc},
    {"_queue_event", (PyCFunction)(void (*)(void))channel_queue_event, METH_FASTCALL, queue_event_doc},
    {"_set_closed", channel_set_closed_method, METH_O, set_closed_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(channel_doc, "Channel(connection, channel_number)\n--\n\n"
                          "One channel of a connection: the hot half of BlockingChannel.");

static PyType_Slot channel_slots[] = {
    {Py_tp_doc, (void *)channel_doc}, {Py_tp_new, channel_new},
    {Py_tp_init, channel_init},       {Py_tp_traverse, channel_traverse},
    {Py_tp_clear, channel_clear},     {Py_tp_dealloc, channel_dealloc},
    {Py_tp_methods, channel_methods}, {Py_tp_members, channel_members},
    {Py_tp_getset, channel_getset},   {0, NULL},
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
    return st->channel_type == NULL ? -1 : PyModule_AddType(module, st->channel_type);
}
