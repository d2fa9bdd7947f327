/* deliver.h - one message to whom it is for: a callback, or the store of consume().
 * Layer: drivers.
 * Owns: nothing.  Threads: with the GIL.
 * Errors: -1 with an exception.
 *
 * From the moment when a message leaves the engine it is in somebody's hand.  Making its objects may run user code (the
 * collector's finalizers), and so does putting it into a store that is not the library's: meanwhile the consumer may be
 * cancelled, by whoever.  What the program does not get then goes back, as what stood behind it does. */
#ifndef CPIKA_DRIVERS_DELIVER_H
#define CPIKA_DRIVERS_DELIVER_H

#include "made.h"
#include "objects.h"
#include "values/consumer.h"

enum { CPIKA_NOT_HANDED = -2 };

/* The result where objects could not be made: CPIKA_NOT_HANDED if memory was all that was missing, so that they can be
 * made later, and -1. */
static inline int
cpika_not_handed(void)
{
    return PyErr_ExceptionMatches(PyExc_MemoryError) ? CPIKA_NOT_HANDED : -1;
}

/* A message of the channel is in hand from now on; its objects are made next. */
static inline void
cpika_take_in_hand(CpikaChannel *ch, cpika_call *call)
{
    ch->in_hand = true;
    cpika_roles_begin_handing(call, &ch->roles);
}

/* Hands it over.  What finds no room in a store goes back to its queue, unless nobody acknowledges it. */
int cpika_deliver(CpikaConnection *conn, cpika_call *call, CpikaChannel *ch, const cpika_made *made);

/* It could not be made.  Returns what the caller does: CPIKA_NOT_HANDED if it is still wanted. */
int cpika_drop_from_hand(CpikaConnection *conn, cpika_call *call, CpikaChannel *ch);

/* A consumer is cancelled: what is in hand for it and finds it gone goes back, unless nobody acknowledges it. */
void cpika_refuse_in_hand(CpikaChannel *ch, CpikaConsumerInfo *info);

/* Requeues what a store (a deque, or what a tracer has put in its place) holds, each as it is taken out, so that an
 * interrupt leaves none in nobody's hand.  Other events are dropped.  0 or -1. */
int cpika_give_back_all(CpikaChannel *ch, PyObject *events);

/* Forgets what the last delivery has found in consumer_infos. */
void cpika_forget_found(CpikaChannel *ch);

/* The bytes of a str or bytes: borrowed, good as long as it lives.  0 or -1. */
int cpika_tag_of(PyObject *value, cpika_consumer_tag *tag);

#endif
