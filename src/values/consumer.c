/* consumer.c - _ConsumerInfo and _ConsumerDeliveryEvt.
 * Layer: values.
 * Owns: the attributes of each object.  Threads: with the GIL.
 * Errors: NULL or -1 with an exception.
 *
 * Both are pika's private names that tracers use: a callback is replaced on the one, isinstance() asks for the other. */
#include "consumer.h"

#include <stddef.h>
#include <structmember.h>

#include "gate.h"

/* ---- _ConsumerInfo ---- */

static int
info_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    CPIKA_GATE;
    static char *names[] = {"consumer_tag", "auto_ack", "on_message_callback", "alternate_event_sink", NULL};
    CpikaConsumerInfo *info = (CpikaConsumerInfo *)self;
    PyObject *tag;
    PyObject *callback = Py_None;
    PyObject *sink = Py_None;
    int auto_ack;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Op|OO:_ConsumerInfo", names, &tag, &auto_ack, &callback,
                                     &sink)) {
        return -1;
    }
    if ((callback == Py_None) == (sink == Py_None)) {
        PyObject *detail =
            Py_BuildValue("(sOO)", "exactly one of on_message_callback/alternate_event_sink must be non-None",
                          callback, sink);
        PyErr_SetObject(PyExc_AssertionError, detail);
        Py_XDECREF(detail);
        return -1;
    }
    Py_XSETREF(info->consumer_tag, Py_NewRef(tag));
    Py_XSETREF(info->on_message_callback, Py_NewRef(callback));
    Py_XSETREF(info->alternate_event_sink, Py_NewRef(sink));
    info->auto_ack = (char)auto_ack;
    info->state = CONSUMER_SETTING_UP;
    return 0;
}

static int
info_traverse(PyObject *self, visitproc visit, void *arg)
{
    CpikaConsumerInfo *info = (CpikaConsumerInfo *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(info->consumer_tag);
    Py_VISIT(info->on_message_callback);
    Py_VISIT(info->alternate_event_sink);
    Py_VISIT(info->store);
    Py_VISIT(info->sink_of_store);
    Py_VISIT(info->refused_before);
    return 0;
}

static int
info_clear(PyObject *self)
{
    CPIKA_GATE;
    CpikaConsumerInfo *info = (CpikaConsumerInfo *)self;
    Py_CLEAR(info->consumer_tag);
    Py_CLEAR(info->on_message_callback);
    Py_CLEAR(info->alternate_event_sink);
    Py_CLEAR(info->store);
    Py_CLEAR(info->sink_of_store);
    Py_CLEAR(info->refused_before);
    return 0;
}

static void
info_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, info_dealloc);  // a callback may lead to another such object, and so on
    info_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END;
}

static PyObject *
info_in_state(PyObject *self, void *state)
{
    CPIKA_GATE;
    return PyBool_FromLong(((CpikaConsumerInfo *)self)->state == (int)(intptr_t)state);
}

PyDoc_STRVAR(keep_in_doc, "_keep_in($self, store, /)\n--\n\n"
                          "Have messages appended to store.pending_events where alternate_event_sink, which does the same,\n"
                          "would be called: no signal handler runs between the two.");

static PyObject *
info_keep_in(PyObject *self, PyObject *store)
{
    CPIKA_GATE;
    CpikaConsumerInfo *info = (CpikaConsumerInfo *)self;
    Py_XSETREF(info->store, Py_NewRef(store));
    Py_XSETREF(info->sink_of_store, Py_XNewRef(info->alternate_event_sink));
    Py_RETURN_NONE;
}

static PyMethodDef info_methods[] = {
    {"_keep_in", info_keep_in, METH_O, keep_in_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef info_getset[] = {
    {"consumer_tag", cpika_field_get, cpika_field_set, "The consumer's tag.",
     CPIKA_FIELD("consumer_tag", T_OBJECT_EX, offsetof(CpikaConsumerInfo, consumer_tag))},
    {"auto_ack", cpika_field_get, cpika_field_set, "Whether the broker expects no acknowledgement.",
     CPIKA_FIELD("auto_ack", T_BOOL, offsetof(CpikaConsumerInfo, auto_ack))},
    {"on_message_callback", cpika_field_get, cpika_field_set,
     "Called with (channel, method, properties, body); read anew for each message.",
     CPIKA_FIELD("on_message_callback", T_OBJECT, offsetof(CpikaConsumerInfo, on_message_callback))},
    {"alternate_event_sink", cpika_field_get, cpika_field_set,
     "Called with each event instead, as it arrives; or None.",
     CPIKA_FIELD("alternate_event_sink", T_OBJECT, offsetof(CpikaConsumerInfo, alternate_event_sink))},
    {"state", cpika_field_get, cpika_field_set,
     "One of SETTING_UP, ACTIVE, TEARING_DOWN, CANCELLED_BY_BROKER.",
     CPIKA_FIELD("state", T_INT, offsetof(CpikaConsumerInfo, state))},
    {"setting_up", info_in_state, NULL, "True before Basic.ConsumeOk.",
     (void *)(intptr_t)CONSUMER_SETTING_UP},
    {"active", info_in_state, NULL, "True while the broker may deliver.", (void *)(intptr_t)CONSUMER_ACTIVE},
    {"tearing_down", info_in_state, NULL, "True once this side has cancelled.",
     (void *)(intptr_t)CONSUMER_TEARING_DOWN},
    {"cancelled_by_broker", info_in_state, NULL, "True once the broker has cancelled.",
     (void *)(intptr_t)CONSUMER_CANCELLED_BY_BROKER},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(info_doc, "_ConsumerInfo(consumer_tag, auto_ack, on_message_callback=None, alternate_event_sink=None)\n--\n\n"
                       "What a channel knows of a consumer.  Exactly one of the two callables is given.");

static PyType_Slot info_slots[] = {
    {Py_tp_doc, (void *)info_doc},   {Py_tp_new, PyType_GenericNew}, {Py_tp_init, info_init},
    {Py_tp_traverse, info_traverse}, {Py_tp_clear, info_clear},      {Py_tp_dealloc, info_dealloc},
    {Py_tp_getset, info_getset},     {Py_tp_methods, info_methods},  {0, NULL},
};

static PyType_Spec info_spec = {
    .name = "cpika._core._ConsumerInfo",
    .basicsize = sizeof(CpikaConsumerInfo),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = info_slots,
};

/* ---- _ConsumerDeliveryEvt ---- */

typedef struct {
    PyObject_HEAD
    PyObject *method;
    PyObject *properties;
    PyObject *body;
} delivery_evt;

static int
evt_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    CPIKA_GATE;
    static char *names[] = {"method", "properties", "body", NULL};
    delivery_evt *evt = (delivery_evt *)self;
    PyObject *method, *properties, *body;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO:_ConsumerDeliveryEvt", names, &method, &properties,
                                     &body)) {
        return -1;
    }
    Py_XSETREF(evt->method, Py_NewRef(method));
    Py_XSETREF(evt->properties, Py_NewRef(properties));
    Py_XSETREF(evt->body, Py_NewRef(body));
    return 0;
}

static void evt_dealloc(PyObject *self);

/* Drops a field; if it was the last reference to another event, that is returned instead, dead. */
static delivery_evt *
evt_drop(PyObject *value, delivery_evt *last)
{
    if (last == NULL && value != NULL && cpika_is_only_reference(value)
        && Py_TYPE(value)->tp_dealloc == evt_dealloc) {
        Py_SET_REFCNT(value, 0);
        return (delivery_evt *)value;
    }
    Py_XDECREF(value);
    return last;
}

/* A chain of events dies in a loop: without the collector there is no trashcan for them. */
static void
evt_dealloc(PyObject *self)
{
    for (delivery_evt *evt = (delivery_evt *)self; evt != NULL;) {
        PyTypeObject *type = Py_TYPE(evt);
        delivery_evt *next = evt_drop(evt->method, NULL);
        next = evt_drop(evt->properties, next);
        next = evt_drop(evt->body, next);
        type->tp_free(evt);
        Py_DECREF(type);
        evt = next;
    }
}

PyObject *
cpika_delivery_evt_new(cpika_state *st, PyObject *method, PyObject *properties, PyObject *body)
{
    delivery_evt *evt = (delivery_evt *)st->delivery_evt_type->tp_alloc(st->delivery_evt_type, 0);
    if (evt != NULL) {
        evt->method = Py_NewRef(method);
        evt->properties = Py_NewRef(properties);
        evt->body = Py_NewRef(body);
    }
    return (PyObject *)evt;
}

PyObject *
cpika_delivery_evt_message(const cpika_state *st, PyObject *evt)
{
    const delivery_evt *d = (const delivery_evt *)evt;
    if (!Py_IS_TYPE(evt, st->delivery_evt_type) || d->method == NULL || d->properties == NULL
        || d->body == NULL) {
        return Py_NewRef(evt);
    }
    return PyTuple_Pack(3, d->method, d->properties, d->body);
}

static PyMemberDef evt_members[] = {
    {"method", T_OBJECT_EX, offsetof(delivery_evt, method), 0, "spec.Basic.Deliver"},
    {"properties", T_OBJECT_EX, offsetof(delivery_evt, properties), 0, "spec.BasicProperties"},
    {"body", T_OBJECT_EX, offsetof(delivery_evt, body), 0, "bytes"},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(evt_doc, "_ConsumerDeliveryEvt(method, properties, body)\n--\n\nA delivered message that waits for consume().");

static PyType_Slot evt_slots[] = {
    {Py_tp_doc, (void *)evt_doc}, {Py_tp_new, PyType_GenericNew}, {Py_tp_init, evt_init},
    {Py_tp_dealloc, evt_dealloc}, {Py_tp_members, evt_members},   {0, NULL},
};

/* Without the collector: a read brings some thousand of them, and going through those again and again took a fifth of
 * consume()'s time.  An event lives from its arrival until consume() takes it; nothing refers back to it. */
static PyType_Spec evt_spec = {
    .name = "cpika._core._ConsumerDeliveryEvt",
    .basicsize = sizeof(delivery_evt),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = evt_slots,
};

/* ---- */

static int
add_state_constant(PyTypeObject *type, const char *name, long value)
{
    PyObject *number = PyLong_FromLong(value);
    int rc = number == NULL ? -1 : PyObject_SetAttrString((PyObject *)type, name, number);
    Py_XDECREF(number);
    return rc;
}

int
cpika_consumer_exec(PyObject *module, cpika_state *st)
{
    st->consumer_info_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &info_spec, NULL);
    st->delivery_evt_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &evt_spec, NULL);
    if (st->consumer_info_type == NULL || st->delivery_evt_type == NULL
        || add_state_constant(st->consumer_info_type, "SETTING_UP", CONSUMER_SETTING_UP) < 0
        || add_state_constant(st->consumer_info_type, "ACTIVE", CONSUMER_ACTIVE) < 0
        || add_state_constant(st->consumer_info_type, "TEARING_DOWN", CONSUMER_TEARING_DOWN) < 0
        || add_state_constant(st->consumer_info_type, "CANCELLED_BY_BROKER", CONSUMER_CANCELLED_BY_BROKER)
               < 0) {
        return -1;
    }
    return PyModule_AddType(module, st->consumer_info_type) < 0
                   || PyModule_AddType(module, st->delivery_evt_type) < 0
               ? -1
               : 0;
}
