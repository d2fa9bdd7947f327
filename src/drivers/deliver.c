/* deliver.c - see deliver.h.
 * Layer: drivers.  Owns: nothing.  Threads: with the GIL.  Errors: see deliver.h. */
#include "deliver.h"

#include "values/deque.h"
#include "values/gate.h"

/* ---- consumers ---- */

void
cpika_forget_found(CpikaChannel *ch)
{
    PyObject *tag = ch->found_tag;
    PyObject *info = ch->found_info;
    ch->found_tag = ch->found_info = NULL;
    ch->forgets++;
    Py_XDECREF(tag);
    Py_XDECREF(info);
}

/* New reference; NULL: there is none, or an exception.  Most deliveries are for the consumer of the one before: it is
 * remembered while nobody else holds the dict, and forgotten when somebody asks for it.  (A dict's lookup is 7 % of the
 * instructions of an auto-acked message.) */
static PyObject *
find_consumer(CpikaChannel *ch, PyObject *tag)
{
    if (tag == ch->found_tag && cpika_is_only_reference(ch->consumer_infos)) {
        return Py_NewRef(ch->found_info);
    }
    cpika_forget_found(ch);
    PyObject *infos = Py_NewRef(ch->consumer_infos);  // a key's __eq__ may replace the channel's
    uint32_t forgets = ch->forgets;
    PyObject *found = cpika_dict_get(infos, tag);
    Py_DECREF(infos);
    if (found != NULL && forgets == ch->forgets && cpika_is_only_reference(ch->consumer_infos)) {
        ch->found_tag = Py_NewRef(tag);
        ch->found_info = Py_NewRef(found);
    }
    return found;
}

int
cpika_tag_of(PyObject *value, cpika_consumer_tag *tag)
{
    Py_ssize_t len = 0;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "consumer_tag");
        return -1;
    }
    if (PyBytes_Check(value)) {
        tag->bytes = (const uint8_t *)PyBytes_AS_STRING(value);
        len = PyBytes_GET_SIZE(value);
    } else if (PyUnicode_Check(value)) {
        tag->bytes = (const uint8_t *)PyUnicode_AsUTF8AndSize(value, &len);
        if (tag->bytes == NULL) {
            return -1;
        }
    } else {
        PyErr_Format(PyExc_TypeError, "a consumer tag must be a str, but got %R", value);
        return -1;
    }
    tag->n = (size_t)len;
    return 0;
}

/* ---- in hand ---- */

static inline void
end_handing(CpikaConnection *conn, cpika_call *call, CpikaChannel *ch)
{
    cpika_roles_end_handing(&conn->roles, &conn->engine, call, &ch->roles, conn->io.link);
}

void
cpika_refuse_in_hand(CpikaChannel *ch, CpikaConsumerInfo *info)
{
    const CpikaConsumerInfo *known = ch->refused_in_hand;
    while (known != NULL && known != info) {
        known = known->refused_before;
    }
    if (ch->in_hand && !info->auto_ack && known == NULL) {
        info->refused_before = ch->refused_in_hand;  // one message may see the end of several
        ch->refused_in_hand = (CpikaConsumerInfo *)Py_NewRef((PyObject *)info);
    }
}

static void
release_refused(CpikaConsumerInfo *refused)
{
    while (refused != NULL) {
        CpikaConsumerInfo *before = refused->refused_before;
        refused->refused_before = NULL;
        Py_DECREF(refused);
        refused = before;
    }
}

/* Takes those that were cancelled while the message was in hand.  1: the one with this tag (NULL: none) was; 0; -1. */
static int
take_refused(CpikaChannel *ch, PyObject *tag)
{
    CpikaConsumerInfo *refused = ch->refused_in_hand;
    ch->refused_in_hand = NULL;
    int same = 0;
    for (const CpikaConsumerInfo *info = tag == NULL ? NULL : refused; info != NULL && same == 0;
         info = info->refused_before) {
        same = info->consumer_tag == NULL ? 0 : PyObject_RichCompareBool(info->consumer_tag, tag, Py_EQ);
    }
    release_refused(refused);
    return same;
}

int
cpika_drop_from_hand(CpikaConnection *conn, cpika_call *call, CpikaChannel *ch)
{
    bool refused = ch->refused_in_hand != NULL;  // by whom cannot be told: it may be its consumer
    ch->in_hand = false;
    take_refused(ch, NULL);
    end_handing(conn, call, ch);
    return refused ? -1 : cpika_not_handed();
}

/* Requeues the message that a Basic.Deliver tells of. */
static int
give_back(CpikaChannel *ch, PyObject *method)
{
    PyObject *tag = PyObject_GetAttrString(method, "delivery_tag");
    uint64_t number = tag == NULL ? 0 : PyLong_AsUnsignedLongLong(tag);
    Py_XDECREF(tag);
    if (PyErr_Occurred()) {
        return -1;
    }
    if (cpika_engine_owe_reject(&ch->conn->engine, &ch->engine, number) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static int
give_back_event(CpikaChannel *ch, PyObject *evt)
{
    if (!PyObject_TypeCheck(evt, ch->st->delivery_evt_type)) {
        return 0;  // a cancellation
    }
    PyObject *method = PyObject_GetAttrString(evt, "method");
    int rc = method == NULL ? -1 : give_back(ch, method);
    Py_XDECREF(method);
    return rc;
}

int
cpika_give_back_all(CpikaChannel *ch, PyObject *events)
{
    for (;;) {
        int any = PyObject_IsTrue(events);
        if (any <= 0) {
            return any;
        }
        PyObject *evt = cpika_deque_popleft(ch->st, events);
        if (evt == NULL && PyErr_ExceptionMatches(PyExc_IndexError)) {
            PyErr_Clear();  // another thread has taken it
            return 0;
        }
        int rc = evt == NULL ? -1 : give_back_event(ch, evt);
        Py_XDECREF(evt);
        if (rc < 0) {
            return -1;
        }
    }
}

/* ---- a consumer's ---- */

/* No object can be made for a store, and none was: the message is not in there. */
static int
give_back_unkept(CpikaChannel *ch, const CpikaConsumerInfo *info, PyObject *method)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (!info->auto_ack && give_back(ch, method) < 0) {
        PyErr_Clear();  // no memory for this either
    }
    PyErr_Restore(type, value, traceback);
    return -1;
}

/* Into the store of consume(): in one step where it is the library's own. */
static PyObject *
keep(CpikaChannel *ch, const CpikaConsumerInfo *info, PyObject *evt, PyObject *method)
{
    PyObject *events = PyObject_GetAttr(info->store, ch->st->names.pending_events);
    PyObject *done = events == NULL ? NULL : cpika_deque_append(ch->st, events, evt);
    if (done == NULL && events != NULL && cpika_is_deque(ch->st, events)) {
        give_back_unkept(ch, info, method);
    }
    if (done != NULL && info->forgotten && !info->auto_ack && cpika_give_back_all(ch, events) < 0) {
        Py_CLEAR(done);
    }
    Py_XDECREF(events);
    return done;
}

/* To the sink that consume() has set up. */
static int
feed_sink(CpikaConnection *conn, CpikaChannel *ch, CpikaConsumerInfo *info, const cpika_made *made,
          bool is_kept)
{
    PyObject *evt = cpika_delivery_evt_new(conn->st, made->method, made->properties, made->body);
    if (evt == NULL) {
        return give_back_unkept(ch, info, made->method);
    }
    PyObject *done;
    if (is_kept) {
        done = keep(ch, info, evt, made->method);
    } else {
        PyObject *sink = Py_NewRef(info->alternate_event_sink);
        cpika_gate_section *gate = cpika_gate_leave();
        done = PyObject_CallOneArg(sink, evt);
        cpika_gate_return(gate);
        Py_DECREF(sink);
    }
    Py_DECREF(evt);
    if (done == NULL) {
        return -1;
    }
    Py_DECREF(done);
    cpika_roles_ask_return(&conn->roles, conn->io.link);  // consume() may wait in another thread than this
    return 0;
}

static int
call_callback(CpikaChannel *ch, CpikaConsumerInfo *info, const cpika_made *made)
{
    if (info->on_message_callback == NULL || info->on_message_callback == Py_None) {
        return 0;
    }
    PyObject *callback = Py_NewRef(info->on_message_callback);
    PyObject *args[] = {(PyObject *)ch, made->method, made->properties, made->body};
    cpika_gate_section *gate = cpika_gate_leave();
    PyObject *done = PyObject_Vectorcall(callback, args, 4, NULL);
    cpika_gate_return(gate);
    Py_DECREF(callback);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* The tag is of no consumer: cancelled while the message was in hand, or never there. */
static int
nobody_wants(CpikaConnection *conn, CpikaChannel *ch, bool refused, const cpika_made *made)
{
    if (refused) {
        return give_back(ch, made->method);
    }
    cpika_gate_section *gate = cpika_gate_leave();
    PyObject *done = PyObject_CallMethodOneArg((PyObject *)ch, conn->st->names._on_unexpected, made->method);
    cpika_gate_return(gate);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

int
cpika_deliver(CpikaConnection *conn, cpika_call *call, CpikaChannel *ch, const cpika_made *made)
{
    PyObject *found = find_consumer(ch, made->tag);
    ch->in_hand = false;
    bool failed = found == NULL && PyErr_Occurred();
    bool is_gone = found == NULL && !failed;
    int refused = ch->refused_in_hand == NULL ? 0 : take_refused(ch, is_gone ? made->tag : NULL);
    CpikaConsumerInfo *info = NULL;
    if (found != NULL && PyObject_TypeCheck(found, conn->st->consumer_info_type)) {
        info = (CpikaConsumerInfo *)found;
    }
    bool has_sink =
        info != NULL && info->alternate_event_sink != NULL && info->alternate_event_sink != Py_None;
    bool is_kept = has_sink && info->store != NULL && info->alternate_event_sink == info->sink_of_store;
    if (!is_kept) {
        end_handing(conn, call, ch);  // code of the program may take what comes behind it
    }
    int rc = 0;
    if (failed || refused < 0) {
        rc = -1;
    } else if (is_gone) {
        rc = nobody_wants(conn, ch, refused > 0, made);
    } else if (info != NULL) {
        rc = has_sink ? feed_sink(conn, ch, info, made, is_kept) : call_callback(ch, info, made);
    }
    if (is_kept) {
        end_handing(conn, call, ch);
    }
    Py_XDECREF(found);
    return rc;
}
