/* pending.c - see pending.h.
 * Layer: drivers.  Owns: nothing.  Threads: with the GIL.  Errors: see pending.h. */
#include "pending.h"

#include "made.h"
#include "values/consumer.h"

bool
cpika_pending_may_run(const cpika_channel *ch)
{
    return ch->state != CHANNEL_CLOSED || ch->closed_by == CPIKA_CLOSED_WITH_CONNECTION;
}

Py_ssize_t
cpika_pending_count(const CpikaChannel *ch)
{
    Py_ssize_t n = 0;
    for (const cpika_event *e = ch->engine.events.first; e != NULL; e = e->next_of_channel) {
        n += e->kind != CPIKA_EVENT_OBJECT;
    }
    return n;
}

static PyObject *
object_of(CpikaConnection *conn, const cpika_event *event)
{
    if (event->kind == CPIKA_EVENT_CANCEL) {
        return cpika_make_method(conn, event->message);
    }
    cpika_made made = {0};
    if (cpika_make_message(conn, event->message, &made) < 0) {
        return NULL;
    }
    PyObject *object = event->kind == CPIKA_EVENT_DELIVERY
                           ? cpika_delivery_evt_new(conn->st, made.method, made.properties, made.body)
                           : Py_BuildValue("iOOO", event->number, made.method, made.properties, made.body);
    cpika_made_clear(&made);
    return object;
}

PyObject *
cpika_pending_show(CpikaChannel *ch)
{
    const cpika_events *all = &ch->conn->engine.events;
    size_t seen = all->removals;
    PyObject *list = PyList_New(0);
    // Making objects may run finalizers, which may take events out: then it ends, and take() finds out.
    for (cpika_event *e = ch->engine.events.first; e != NULL && list != NULL && all->removals == seen;) {
        if (e->kind != CPIKA_EVENT_OBJECT) {
            PyObject *object = object_of(ch->conn, e);
            if (object == NULL || PyList_Append(list, object) < 0) {
                Py_CLEAR(list);
            }
            Py_XDECREF(object);
        }
        e = all->removals == seen ? e->next_of_channel : NULL;
    }
    return list == NULL ? NULL : Py_BuildValue("Nn", list, (Py_ssize_t)seen);
}

/* The event that stands for the deque, and the one before it; NULL: there is none. */
static cpika_event *
find(const cpika_channel_events *own, const PyObject *deque, cpika_event **before)
{
    cpika_event *event = own->first;
    *before = NULL;
    while (event != NULL && (event->kind != CPIKA_EVENT_OBJECT || event->object != deque)) {
        *before = event;
        event = event->next_of_channel;
    }
    return event;
}

/* Has it stand in front of all others of the channel, whether the deque holds something or not.  0 or -1. */
static int
stand_in_front(CpikaChannel *ch, PyObject *deque)
{
    cpika_events *all = &ch->conn->engine.events;
    cpika_channel_events *own = &ch->engine.events;
    cpika_event *before;
    cpika_event *event = find(own, deque, &before);
    if (event != NULL && before == NULL) {
        return 0;
    }
    if (event != NULL) {
        cpika_events_take(all, own, before, event);
    } else {
        event = cpika_event_new(CPIKA_EVENT_OBJECT, &ch->engine, (PyObject *)ch, NULL);
        if (event == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        event->object = Py_NewRef(deque);
    }
    cpika_events_put_back(all, own, event);
    ch->conn->engine.changes++;
    cpika_roles_notify(&ch->conn->roles, &ch->conn->engine, ch->conn->io.link);
    return 0;
}

int
cpika_pending_queue(CpikaChannel *ch, PyObject *deque)
{
    if (Py_SIZE(deque) > 0 && cpika_pending_may_run(&ch->engine)) {
        return stand_in_front(ch, deque);
    }
    cpika_event *before;
    cpika_event *event = find(&ch->engine.events, deque, &before);
    if (event != NULL) {
        cpika_events_take(&ch->conn->engine.events, &ch->engine.events, before, event);
        cpika_event_free(event);
    }
    return 0;
}

int
cpika_pending_take(CpikaChannel *ch, PyObject *kept, PyObject *deque, size_t seen)
{
    cpika_events *all = &ch->conn->engine.events;
    cpika_channel_events *own = &ch->engine.events;
    if (all->removals != seen) {
        return 0;
    }
    if (stand_in_front(ch, deque) < 0) {  // first: nothing is moved that nobody would dispatch
        return -1;
    }
    int rc = 1;
    cpika_event *before = NULL;
    cpika_event *event = own->first;
    Py_ssize_t i = 0;
    while (event != NULL && i < PyList_GET_SIZE(kept) && rc > 0) {
        cpika_event *next = event->next_of_channel;
        PyObject *object = event->kind == CPIKA_EVENT_OBJECT ? Py_None : PyList_GET_ITEM(kept, i++);
        if (object == Py_None) {
            before = event;
        } else {
            PyObject *args[] = {deque, object};
            PyObject *done = PyObject_Vectorcall(ch->st->deque_append, args, 2, NULL);
            rc = done == NULL ? -1 : 1;
            if (done != NULL) {
                cpika_events_take(all, own, before, event);
                cpika_event_free(event);  // the channel lives, and so does what it is made of
            }
            Py_XDECREF(done);
        }
        event = next;
    }
    cpika_pending_queue(
        ch, deque);  // asks for no memory: it stands there, or does no longer, if nothing was moved
    return rc;
}

bool
cpika_pending_are_left(const cpika_event *event)
{
    cpika_event *before;
    return Py_SIZE(event->object) > 0 && find(&event->channel->events, event->object, &before) == NULL;
}
