/* pending.h - a channel's events for a program that goes through them itself, in a deque of Python's.
 * Layer: drivers.
 * Owns: nothing.  Threads: with the GIL.
 * Errors: NULL or -1 with an exception.
 *
 * What has come for a channel waits in the engine.  Who asks for it gets it into the deque, which then stands in its place
 * there, as an event: in one step, which no signal handler divides. */
#ifndef CPIKA_DRIVERS_PENDING_H
#define CPIKA_DRIVERS_PENDING_H

#include "objects.h"

/* Whether what has come for the channel is still dispatched: user code may have closed it. */
bool cpika_pending_may_run(const cpika_channel *ch);

/* How many events wait, without the deque's own. */
Py_ssize_t cpika_pending_count(const CpikaChannel *ch);

/* The events as objects, in order, and with that what cpika_pending_take wants to know: (list, int).  Of a delivery its
 * event; of a message that came back (number of the callback, method, properties, body); of a cancellation its method. */
PyObject *cpika_pending_show(CpikaChannel *ch);

/* Moves what was shown into the deque, as the objects in `kept`; where that has a None, the event stays.
 * 1, 0: there are others now, -1. */
int cpika_pending_take(CpikaChannel *ch, PyObject *kept, PyObject *deque, size_t seen);

/* The deque is dispatched before anything else of the channel, if there is something in it.  0 or -1. */
int cpika_pending_queue(CpikaChannel *ch, PyObject *deque);

/* Whether the deque of an event, which was taken out, holds something and is not queued by another. */
bool cpika_pending_are_left(const cpika_event *event);

#endif
