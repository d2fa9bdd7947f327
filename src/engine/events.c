/* events.c - see events.h.
 * Layer: engine.  Owns: see events.h.  Threads: with the GIL.  Errors: see events.h. */
#include "events.h"

#include <string.h>

cpika_event *
cpika_event_new(cpika_event_kind kind, struct cpika_channel *channel, PyObject *owner, cpika_message *message)
{
    cpika_event *event = PyMem_Malloc(sizeof *event);
    if (event == NULL) {
        cpika_message_decref(message);
        return NULL;
    }
    *event = (cpika_event){.kind = kind, .channel = channel, .owner = Py_XNewRef(owner), .message = message};
    return event;
}

void
cpika_event_free(cpika_event *event)
{
    PyObject *owner = event->owner;
    PyObject *object = event->object;
    cpika_message_decref(event->message);
    PyMem_Free(event);
    Py_XDECREF(object);
    Py_XDECREF(owner);
}

void
cpika_events_append(cpika_events *all, cpika_channel_events *own, cpika_event *event)
{
    event->next = NULL;
    event->prev = all->last;
    if (all->last != NULL) {
        all->last->next = event;
    } else {
        all->first = event;
    }
    all->last = event;
    all->count++;
    event->next_of_channel = NULL;
    if (own == NULL) {
        return;
    }
    if (own->last != NULL) {
        own->last->next_of_channel = event;
    } else {
        own->first = event;
    }
    own->last = event;
}

void
cpika_events_put_back(cpika_events *all, cpika_channel_events *own, cpika_event *event)
{
    event->prev = NULL;
    event->next = all->first;
    *(all->first != NULL ? &all->first->prev : &all->last) = event;
    all->first = event;
    all->count++;
    all->removals++;  // no place holds any more
    event->next_of_channel = own->first;
    own->first = event;
    if (own->last == NULL) {
        own->last = event;
    }
}

static void
unlink_of_all(cpika_events *all, cpika_event *event)
{
    *(event->prev != NULL ? &event->prev->next : &all->first) = event->next;
    *(event->next != NULL ? &event->next->prev : &all->last) = event->prev;
    all->count--;
    all->removals++;
}

cpika_event *
cpika_events_take_first_of(cpika_events *all, cpika_channel_events *own)
{
    cpika_event *event = own->first;
    if (event != NULL) {
        own->first = event->next_of_channel;
        if (own->first == NULL) {
            own->last = NULL;
        }
        unlink_of_all(all, event);
    }
    return event;
}

cpika_event *
cpika_events_take_first(cpika_events *all)
{
    cpika_event *event = all->first;
    if (event != NULL) {
        unlink_of_all(all, event);
    }
    return event;
}

void
cpika_events_take(cpika_events *all, cpika_channel_events *own, cpika_event *before, cpika_event *event)
{
    *(before != NULL ? &before->next_of_channel : &own->first) = event->next_of_channel;
    if (own->last == event) {
        own->last = before;
    }
    unlink_of_all(all, event);
}

bool
cpika_event_is_of(const cpika_event *event, const cpika_consumer_tag *tag)
{
    const cpika_message *m = event->message;
    const uint8_t *bytes;
    size_t n;
    size_t at = 4;
    return (event->kind == CPIKA_EVENT_DELIVERY || event->kind == CPIKA_EVENT_CANCEL)
           && cpika_payload_shortstr(m->bytes, m->method_len, &at, &bytes, &n) && n == tag->n
           && memcmp(bytes, tag->bytes, n) == 0;
}

bool
cpika_events_has_of_consumer(const cpika_channel_events *own, const cpika_consumer_tag *tag)
{
    const cpika_event *event = own->first;
    while (event != NULL && !cpika_event_is_of(event, tag)) {
        event = event->next_of_channel;
    }
    return event != NULL;
}

cpika_event *
cpika_events_take_of_consumer(cpika_events *all, cpika_channel_events *own, const cpika_consumer_tag *tag,
                              cpika_events_place *place)
{
    cpika_event *before = place->removals == all->removals ? place->before : NULL;
    cpika_event *event = before == NULL ? own->first : before->next_of_channel;
    while (event != NULL && !cpika_event_is_of(event, tag)) {
        before = event;
        event = event->next_of_channel;
    }
    if (event != NULL) {
        cpika_events_take(all, own, before, event);
    }
    *place = (cpika_events_place){before, all->removals};
    return event;
}

void
cpika_events_move(cpika_events *all, cpika_channel_events *own, cpika_events *to)
{
    cpika_event *event;
    while ((event = cpika_events_take_first_of(all, own)) != NULL) {
        cpika_events_append(to, NULL, event);
    }
}
