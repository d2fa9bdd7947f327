/* dispatch.h - events to callbacks: straight from the input, or through the queue.
 * Layer: drivers.
 * Owns: nothing.  Threads: with the GIL; a channel's callbacks run in one call at a time (roles.h).
 * Errors: -1 with an exception; what a callback raises leaves the dispatching call, the rest stays where it is. */
#ifndef CPIKA_DRIVERS_DISPATCH_H
#define CPIKA_DRIVERS_DISPATCH_H

#include "objects.h"

/* Dispatches what this call may: what is queued, then what stands in the input; and settles.  `only`: nothing but what is
 * queued for that consumer of the channel that the call claims; NULL: all.  Events dispatched, or -1. */
Py_ssize_t cpika_dispatch(CpikaConnection *conn, cpika_call *call, const cpika_consumer_tag *only);

/* For a call that runs no callbacks, being inside one: gives what has come for the claimed channel's consume() to it. */
Py_ssize_t cpika_dispatch_own_sink(CpikaConnection *conn, cpika_call *call);

/* Takes the messages of a consumer out of the queue: new list of (method, properties, body). */
PyObject *cpika_take_pending(CpikaChannel *ch, PyObject *tag);

/* Gives them back to their queue instead.  0 or -1. */
int cpika_reject_pending(CpikaChannel *ch, const cpika_consumer_tag *tag);

#endif
