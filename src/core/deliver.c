/* deliver.c - messages to callbacks: straight from the buffer, or through the queue.
 * Layer: core.
 * Owns: the queue of events.  Threads: with the GIL; callbacks run only in the thread that dispatches.
 * Errors: -1 with an exception; what a callback raises leaves the dispatching call, the rest stays where it is. */
#include "consumer.h"
#include "engine.h"

#include <string.h>

enum {
    OFFER_EVERY = 16,                         // callbacks between two looks at the clock
    SLOW_CALLBACK_NS = 50 * CPIKA_NS_PER_US,  // held acks leave after a callback that took longer (rule 4)
};

/* ---- the queue ---- */

void
cpika_event_clear(cpika_event *event)
{
    cpika_event old = *event;
    *event = (cpika_event){0};
    Py_XDECREF(old.channel);
    Py_XDECREF(old.consumer);
    Py_XDECREF(old.tag);
    Py_XDECREF(old.method);
    Py_XDECREF(old.properties);
    Py_XDECREF(old.body);
}

static int
grow_events(cpika_events *q)
{
    size_t cap = q->cap > 0 ? q->cap * 2 : 64;
    cpika_event *items = PyMem_Calloc(cap, sizeof *items);
    if (items == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < q->count; i++) {
        items[i] = q->items[(q->head + i) & (q->cap - 1)];
    }
    PyMem_Free(q->items);
    q->items = items;
    q->head = 0;
    q->cap = cap;
    return 0;
}

int
engine_queue_event(CpikaConnection *conn, cpika_event *event)
{
    cpika_events *q = &conn->events;
    if (q->count == q->cap && grow_events(q) < 0) {
        cpika_event_clear(event);
        return -1;
    }
    q->items[(q->head + q->count) & (q->cap - 1)] = *event;
    q->count++;
    *event = (cpika_event){0};
    return 0;
}

static cpika_event
pop_event(cpika_events *q)
{
    cpika_event event = q->items[q->head];
    q->head = (q->head + 1) & (q->cap - 1);
    q->count--;
    return event;
}

/* Without calling anybody's __eq__, who could find the queue half sorted. */
static bool
same_tag(PyObject *a, PyObject *b)
{
    if (PyUnicode_Check(a) && PyUnicode_Check(b)) {
        return PyUnicode_Compare(a, b) == 0;
    }
    return PyBytes_Check(a) && PyBytes_Check(b) && PyBytes_GET_SIZE(a) == PyBytes_GET_SIZE(b)
           && memcmp(PyBytes_AS_STRING(a), PyBytes_AS_STRING(b), (size_t)PyBytes_GET_SIZE(a)) == 0;
}

static bool
concerns(const cpika_event *event, const CpikaChannel *ch, PyObject *tag)
{
    if (event->channel != ch) {
        return false;
    }
    return tag == NULL || (event->tag != NULL && same_tag(event->tag, tag));
}

/* Takes the events of a channel (of one consumer, when `tag` is given) out of the queue, in order.  They belong to the
 * caller.  NULL with `*n` 0: none, or an exception. */
static cpika_event *
extract_events(CpikaConnection *conn, CpikaChannel *ch, PyObject *tag, size_t *n)
{
    cpika_events *q = &conn->events;
    *n = 0;
    if (q->count == 0) {
        return NULL;
    }
    cpika_event *taken = PyMem_Calloc(q->count, sizeof *taken);
    if (taken == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    size_t kept = 0;
    for (size_t i = 0; i < q->count; i++) {
        cpika_event event = q->items[(q->head + i) & (q->cap - 1)];
        if (concerns(&event, ch, tag)) {
            taken[(*n)++] = event;
        } else {
            q->items[(q->head + kept++) & (q->cap - 1)] = event;
        }
    }
    q->count = kept;
    return taken;
}

void
engine_discard_events(CpikaConnection *conn, CpikaChannel *ch)
{
    size_t n;
    cpika_event *taken = extract_events(conn, ch, NULL, &n);
    if (taken == NULL && conn->events.count > 0) {
        PyErr_Clear();  // no memory: they stay, and are dropped when their turn comes
    }
    for (size_t i = 0; i < n; i++) {
        cpika_event_clear(&taken[i]);
    }
    PyMem_Free(taken);
}

void
engine_discard_all_events(CpikaConnection *conn)
{
    while (conn->events.count > 0) {
        cpika_event event = pop_event(&conn->events);
        cpika_event_clear(&event);
    }
}

PyObject *
engine_take_pending(CpikaConnection *conn, CpikaChannel *ch, PyObject *tag)
{
    size_t n;
    cpika_event *taken = extract_events(conn, ch, tag, &n);
    if (taken == NULL && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *list = PyList_New(0);
    for (size_t i = 0; i < n; i++) {
        // A cancellation by the broker that stood behind the messages says nothing new.
        if (list != NULL && taken[i].properties != NULL) {
            PyObject *message = PyTuple_Pack(3, taken[i].method, taken[i].properties, taken[i].body);
            if (message == NULL || PyList_Append(list, message) < 0) {
                Py_CLEAR(list);
            }
            Py_XDECREF(message);
        }
        cpika_event_clear(&taken[i]);
    }
    PyMem_Free(taken);
    return list;
}

/* ---- arrival ---- */

static uint64_t
delivery_tag_of(PyObject *method)
{
    PyObject *number = PyObject_GetAttrString(method, "delivery_tag");
    uint64_t tag = number == NULL ? 0 : PyLong_AsUnsignedLongLong(number);
    Py_XDECREF(number);
    return tag;
}

/* To the sink that consume() has set up.  1 or -1. */
static int
feed_sink(CpikaConnection *conn, CpikaConsumerInfo *info, cpika_content *c)
{
    PyObject *evt = cpika_delivery_evt_new(conn->st, c->method, c->properties, c->body);
    if (evt == NULL) {
        return -1;
    }
    PyObject *sink = Py_NewRef(info->alternate_event_sink);
    conn->decoding = false;
    PyObject *done = PyObject_CallOneArg(sink, evt);
    Py_DECREF(sink);
    Py_DECREF(evt);
    if (done == NULL) {
        return -1;
    }
    Py_DECREF(done);
    conn->return_asked = true;
    engine_wake_others(conn);  // consume() may wait in another thread than the one that read this
    return 1;
}

void
engine_free_content(cpika_content *c)
{
    Py_XDECREF(c->tag);
    Py_XDECREF(c->method);
    Py_XDECREF(c->properties);
    Py_XDECREF(c->body);
}

void
engine_forget_found(CpikaChannel *ch)
{
    PyObject *tag = ch->found_tag;
    PyObject *info = ch->found_info;
    ch->found_tag = ch->found_info = NULL;
    Py_XDECREF(tag);
    Py_XDECREF(info);
}

/* New reference; NULL: there is none, or an exception.  Most deliveries are for the consumer of the one before: it is
 * remembered while nobody else holds the dict, and forgotten when somebody asks for it.  (A dict's lookup is 7 % of the
 * instructions of an auto-acked message.) */
static PyObject *
find_consumer(CpikaChannel *ch, PyObject *tag)
{
    if (tag == ch->found_tag && Py_REFCNT(ch->consumer_infos) == 1) {
        return Py_NewRef(ch->found_info);
    }
    engine_forget_found(ch);
    PyObject *infos = Py_NewRef(ch->consumer_infos);  // a key's __eq__ may replace the channel's
    PyObject *found = Py_XNewRef(PyDict_GetItemWithError(infos, tag));
    bool same = infos == ch->consumer_infos;
    Py_DECREF(infos);
    if (found != NULL && same && Py_REFCNT(ch->consumer_infos) == 1 && ch->found_tag == NULL) {
        ch->found_tag = Py_NewRef(tag);
        ch->found_info = Py_NewRef(found);
    }
    return found;
}

int
engine_accept_message(CpikaConnection *conn, CpikaChannel *ch, cpika_content *c, cpika_event *direct)
{
    int rc = 1;
    PyObject *found = NULL;
    if (ch->state == CHANNEL_OPEN) {
        found = find_consumer(ch, c->tag);
        if (found == NULL) {
            if (PyErr_Occurred()) {
                rc = -1;
            } else {
                conn->decoding = false;
                engine_hook((PyObject *)ch, conn->st->names._on_unexpected, &c->method, 1);
            }
        }
    }
    if (found == NULL || !PyObject_TypeCheck(found, conn->st->consumer_info_type)) {
        Py_XDECREF(found);
        engine_free_content(c);
        return rc;
    }
    CpikaConsumerInfo *info = (CpikaConsumerInfo *)found;
    if (info->state == CONSUMER_TEARING_DOWN && !info->auto_ack) {
        conn->decoding = false;
        rc = engine_reject(conn, ch, delivery_tag_of(c->method)) < 0 ? -1 : 1;
        engine_free_content(c);
    } else if (info->alternate_event_sink != NULL && info->alternate_event_sink != Py_None) {
        rc = feed_sink(conn, info, c);
        engine_free_content(c);
    } else {
        cpika_event event = {(CpikaChannel *)Py_NewRef(ch), NULL, c->tag, c->method, c->properties, c->body};
        if (direct != NULL && conn->events.count == 0 && info->state != CONSUMER_TEARING_DOWN) {
            *direct = event;
            direct->consumer = found;  // nothing runs before its callback: no second look
            return rc;
        } else {
            rc = engine_queue_event(conn, &event) < 0 ? -1 : 1;
        }
    }
    Py_DECREF(info);
    return rc;
}

/* ---- dispatch ---- */

static int
dispatch_message(CpikaConnection *conn, cpika_event *event)
{
    CpikaChannel *ch = event->channel;
    PyObject *found = event->consumer != NULL ? Py_NewRef(event->consumer) : find_consumer(ch, event->tag);
    if (found == NULL) {
        return PyErr_Occurred() ? -1 : 0;  // the consumer went while the message stood in the queue
    }
    bool ours = PyObject_TypeCheck(found, conn->st->consumer_info_type) != 0;
    PyObject *callback = ours ? Py_XNewRef(((CpikaConsumerInfo *)found)->on_message_callback) : NULL;
    Py_DECREF(found);
    if (callback == NULL || callback == Py_None) {
        Py_XDECREF(callback);
        return 0;
    }
    PyObject *args[] = {(PyObject *)ch, event->method, event->properties, event->body};
    PyObject *done = PyObject_Vectorcall(callback, args, 4, NULL);
    Py_DECREF(callback);
    if (done == NULL) {
        return -1;
    }
    Py_DECREF(done);
    return 0;
}

static int
dispatch_event(CpikaConnection *conn, cpika_event *event)
{
    int rc = 0;
    if (event->channel->state == CHANNEL_OPEN) {
        if (event->properties != NULL) {
            rc = dispatch_message(conn, event);
        } else {
            PyObject *done = PyObject_CallMethodNoArgs(event->method, conn->st->names.dispatch);
            rc = done == NULL ? -1 : 0;
            Py_XDECREF(done);
        }
    }
    cpika_event_clear(event);
    return rc;
}

/* Held acks wait while callbacks are quick, and no longer than one that was not. */
static int
release_held(CpikaConnection *conn)
{
    if (!conn->holding) {
        return 0;
    }
    uint64_t now = cpika_now_ns();
    bool slow = now - conn->clock_ns > SLOW_CALLBACK_NS;
    conn->clock_ns = now;
    return slow && engine_flush_some(conn) < 0 ? -1 : 0;
}

/* Sends what is still held; an exception on its way stays. */
static int
flush_held(CpikaConnection *conn, int rc)
{
    if (!conn->holding || conn->state == CONNECTION_CLOSED) {
        return rc;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (engine_flush_some(conn) < 0) {
        if (type == NULL) {
            return -1;
        }
        PyErr_Clear();  // the connection says so again at the next call
    }
    PyErr_Restore(type, value, traceback);
    return rc;
}

/* The next event: 1, 0 when there is none, or -1. */
static int
next_event(CpikaConnection *conn, cpika_event *event)
{
    for (;;) {
        if (conn->events.count > 0) {
            *event = pop_event(&conn->events);
            return 1;
        }
        if (conn->state == CONNECTION_CLOSED) {
            return 0;
        }
        int rc = engine_next_frame(conn, event);
        if (rc <= 0 || event->channel != NULL) {
            return rc;
        }
    }
}

Py_ssize_t
engine_dispatch(CpikaConnection *conn)
{
    Py_ssize_t n = 0;
    int rc;
    cpika_event event = {0};
    unsigned long before = conn->dispatcher;
    conn->dispatcher = PyThread_get_thread_ident();
    while ((rc = next_event(conn, &event)) > 0) {
        conn->may_hold = conn->sock == NULL && (conn->events.count > 0 || engine_frame_ready(conn));
        rc = dispatch_event(conn, &event);
        conn->may_hold = false;
        n++;
        if (rc == 0) {
            rc = release_held(conn);
        }
        if (rc == 0 && n % OFFER_EVERY == 0) {
            rc = cpika_offer_gil(&conn->offer);  // a C callable as callback runs no bytecode
        }
        if (rc < 0) {
            break;
        }
    }
    conn->dispatcher = before;
    rc = flush_held(conn, rc);
    return rc < 0 ? -1 : n;
}
