/* wait.h - the blocking driver: a call that waits drives the connection until what it waits for has happened.
 * Layer: drivers.
 * Owns: nothing.  Threads: with the GIL.
 * Errors: -1 with an exception. */
#ifndef CPIKA_DRIVERS_WAIT_H
#define CPIKA_DRIVERS_WAIT_H

#include "objects.h"

#define CPIKA_FOREVER UINT64_MAX

/* Drives the connection until `wants(arg)` or its end (0), the deadline (1), or an exception (-1).  With `look` it reads
 * before it sleeps; without, right after a request has left, its answer takes a round trip: without the read that finds
 * nothing basic_get takes 57 us instead of 62.  `arg` lies on the heap: greenlets move stacks. */
int cpika_wait(CpikaConnection *conn, cpika_wants wants, void *arg, uint64_t deadline_ns, bool look);

/* Whether whoever calls may wait at all: not inside a Python socket's own method.  To be asked before anything is changed
 * or sent.  0 or -1. */
int cpika_check_may_wait(CpikaConnection *conn);

/* Waits until everything queued has left.  0 or -1; the connection's end is an exception. */
int cpika_wait_output(CpikaConnection *conn);

/* The same, without an exception for the connection's end. */
int cpika_drain_output(CpikaConnection *conn);

/* Looks at the input when the last look is over 1 ms old, so that a caller that only writes learns of Close, Blocked and
 * the end (rule 2).  0 or -1. */
int cpika_look(CpikaConnection *conn);

/* The same for a thread that is nobody's: it handles what it reads, and settles nothing. */
int cpika_look_quietly(CpikaConnection *conn);

/* The same between two callbacks, the first of which was slow, at the moment of io.clock_ns: what the broker says of the
 * acks that it gave, an end for example, is not left for all that stands ready to be handed out first. */
int cpika_look_between(CpikaConnection *conn);

/* One turn of a driving call that has handled what there is: reads, or sleeps until there is something to read. */
typedef enum {
    CPIKA_TURN_RAISED = -1,
    CPIKA_TURN_AGAIN,  // something may have happened
    CPIKA_TURN_LATE,   // the deadline is over
} cpika_turn;
cpika_turn cpika_take_turn(CpikaConnection *conn, cpika_call *call, uint64_t deadline_ns, bool look);

/* Seconds from now (None: never) as monotonic time.  0 or -1. */
int cpika_deadline(PyObject *seconds, uint64_t *deadline_ns);

#endif
