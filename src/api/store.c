/* store.c - see store.h.
 * Layer: api.  Owns: nothing.  Threads: with the GIL.  Errors: see store.h. */
#include "store.h"

#include "drivers/deliver.h"
#include "drivers/dispatch.h"
#include "drivers/ended.h"
#include "drivers/settle.h"
#include "values/deque.h"
#include "values/gate.h"

PyDoc_STRVAR(next_kept_doc,
             "_next_kept($self, store, hand, /)\n--\n\n"
             "Take the first of store.pending_events: a message as (method, properties, body), any other event as\n"
             "it is.  None there: the connection's _asks, to wait for more than that.  hand, a list of one, gets\n"
             "the event: an interrupt before the message is given away loses nothing.");

/* New reference; NULL without an exception: there is none. */
static PyObject *
take_first(CpikaChannel *ch, PyObject *store)
{
    PyObject *events = PyObject_GetAttr(store, ch->st->names.pending_events);
    int any = events == NULL ? -1 : PyObject_IsTrue(events);
    PyObject *evt = any <= 0 ? NULL : cpika_deque_popleft(ch->st, events);
    Py_XDECREF(events);
    if (any > 0 && evt == NULL && PyErr_ExceptionMatches(PyExc_IndexError)) {
        PyErr_Clear();  // cancel() in another thread was first
    }
    return evt;
}

static PyObject *
channel_next_kept(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    CPIKA_GATE;
    CpikaChannel *ch = (CpikaChannel *)op;
    if (nargs != 2 || !PyList_CheckExact(args[1]) || PyList_GET_SIZE(args[1]) != 1 || ch->conn == NULL) {
        PyErr_SetString(PyExc_TypeError, "_next_kept() takes a store and a list of one");
        return NULL;
    }
    if (cpika_check_fork(ch->conn) < 0) {  // what stands here is the parent's
        return NULL;
    }
    uint64_t asks = ch->conn->roles.asks;  // before the look: what comes behind it asks again
    PyObject *evt = take_first(ch, args[0]);
    if (evt == NULL) {
        return PyErr_Occurred() ? NULL : PyLong_FromUnsignedLongLong(asks);
    }
    PyList_SetItem(args[1], 0, Py_NewRef(evt));
    PyObject *message = cpika_delivery_evt_message(ch->st, evt);
    Py_DECREF(evt);
    return message;
}

PyDoc_STRVAR(keep_again_doc, "_keep_again($self, store, hand, /)\n--\n\n"
                             "Put what hand holds back to the beginning of store.pending_events.");

static PyObject *
channel_keep_again(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    CPIKA_GATE;
    (void)op;
    if (nargs != 2 || !PyList_CheckExact(args[1]) || PyList_GET_SIZE(args[1]) != 1) {
        PyErr_SetString(PyExc_TypeError, "_keep_again() takes a store and a list of one");
        return NULL;
    }
    PyObject *evt = cpika_list_get(args[1], 0);
    if (evt == NULL || evt == Py_None) {
        return evt;
    }
    PyObject *events = PyObject_GetAttrString(args[0], "pending_events");
    PyObject *done = events == NULL ? NULL : PyObject_CallMethod(events, "appendleft", "O", evt);
    Py_XDECREF(events);
    Py_DECREF(evt);
    return done;
}

PyDoc_STRVAR(give_back_doc, "_give_back_all($self, events, /)\n--\n\n"
                            "Requeue the messages of a deque of _ConsumerDeliveryEvt by Basic.Reject, each as it is taken\n"
                            "out, so that an interrupt leaves none in nobody's hand.  Other events are dropped.");

static PyObject *
channel_give_back_all(PyObject *op, PyObject *events)
{
    CPIKA_GATE;
    CpikaChannel *ch = (CpikaChannel *)op;
    if (cpika_check_channel(ch) < 0 || cpika_give_back_all(ch, events) < 0 || cpika_settle(ch->conn) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(begin_generator_doc, "_begin_generator($self, generator, /)\n--\n\n"
                                  "Make it the one of consume(), unless there is one.  Return the one that there is.");

static PyObject *
channel_begin_generator(PyObject *op, PyObject *generator)
{
    CPIKA_GATE;
    CpikaChannel *ch = (CpikaChannel *)op;
    if (ch->generator == NULL) {
        ch->generator = Py_NewRef(generator);
    }
    return Py_NewRef(ch->generator);
}

PyObject *
cpika_get_generator(PyObject *op, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    PyObject *generator = ((CpikaChannel *)op)->generator;
    return Py_NewRef(generator == NULL ? Py_None : generator);
}

int
cpika_set_generator(PyObject *op, PyObject *value, void *closure)
{
    CPIKA_GATE;
    (void)closure;
    Py_XSETREF(((CpikaChannel *)op)->generator, value == Py_None ? NULL : Py_XNewRef(value));
    return 0;
}

PyDoc_STRVAR(end_generator_doc, "_end_generator($self, generator, /)\n--\n\n"
                                "It is over, unless another one has begun; whoever awaits it looks again.");

static PyObject *
channel_end_generator(PyObject *op, PyObject *generator)
{
    CPIKA_GATE;
    CpikaChannel *ch = (CpikaChannel *)op;
    if (ch->generator == generator) {
        ch->generator = NULL;
        if (ch->conn != NULL && ch->conn->io.link != NULL) {
            cpika_roles_ask_return(&ch->conn->roles, ch->conn->io.link);
        }
        Py_DECREF(generator);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pending_count_doc, "_pending_count($self, consumer_tag, /)\n--\n\n"
                                "How many messages of a consumer wait to be dispatched.");

static PyObject *
channel_pending_count(PyObject *op, PyObject *tag)
{
    CPIKA_GATE;
    CpikaChannel *ch = (CpikaChannel *)op;
    cpika_consumer_tag bytes;
    if (cpika_tag_of(tag, &bytes) < 0) {
        return NULL;
    }
    Py_ssize_t n = 0;
    for (const cpika_event *e = ch->engine.events.first; e != NULL; e = e->next_of_channel) {
        n += e->kind == CPIKA_EVENT_DELIVERY && cpika_event_is_of(e, &bytes);
    }
    return PyLong_FromSsize_t(n);
}

PyDoc_STRVAR(take_pending_doc, "_take_pending($self, consumer_tag, /)\n--\n\n"
                               "Take the consumer's messages that wait to be dispatched: list of (method, properties, body).");

static PyObject *
channel_take_pending(PyObject *op, PyObject *tag)
{
    CPIKA_GATE;
    CpikaChannel *ch = (CpikaChannel *)op;
    if (ch->conn == NULL) {
        cpika_check_channel(ch);
        return NULL;
    }
    return cpika_take_pending(ch, tag);
}

PyMethodDef cpika_store_methods[] = {
    {"_next_kept", (PyCFunction)(void (*)(void))channel_next_kept, METH_FASTCALL, next_kept_doc},
    {"_keep_again", (PyCFunction)(void (*)(void))channel_keep_again, METH_FASTCALL, keep_again_doc},
    {"_give_back_all", channel_give_back_all, METH_O, give_back_doc},
    {"_begin_generator", channel_begin_generator, METH_O, begin_generator_doc},
    {"_end_generator", channel_end_generator, METH_O, end_generator_doc},
    {"_pending_count", channel_pending_count, METH_O, pending_count_doc},
    {"_take_pending", channel_take_pending, METH_O, take_pending_doc},
    {NULL, NULL, 0, NULL},
};
