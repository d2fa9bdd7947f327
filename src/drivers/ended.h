/* ended.h - from the states in which calls are not allowed to pika's exceptions.
 * Layer: drivers.
 * Owns: nothing.  Threads: with the GIL.
 * Errors: every function here sets an exception, except where it says otherwise. */
#ifndef CPIKA_DRIVERS_ENDED_H
#define CPIKA_DRIVERS_ENDED_H

#include "objects.h"

/* 0 when calls are allowed; else -1: the connection has ended (the first to ask gets the reason, others
 * ConnectionWrongStateError), or it belongs to the process before a fork. */
int cpika_check_connection(CpikaConnection *conn);

/* Of two exceptions the pending one, the second, is dropped where it is the library's own: the next call says the same.  If it
 * told the reason, the next one is told: `told`, of the ending, from before it was raised.  False: it is a signal handler's,
 * say, and has to leave. */
bool cpika_drop_second(CpikaConnection *conn, bool told);

/* Raises the reason where nobody has been told it, or that this is a child.  0 or -1. */
int cpika_tell(CpikaConnection *conn);

/* Only the second. */
int cpika_check_fork(CpikaConnection *conn);

/* Raises why the connection has ended; ConnectionWrongStateError where there is nothing to raise.  Always -1. */
int cpika_raise_ended(CpikaConnection *conn);

/* New reference to the exception that says why it has ended; None: it has not, or in good order.  NULL with an exception. */
PyObject *cpika_ending_error(CpikaConnection *conn);

/* 0 when the channel is open; else -1 with pika's ChannelWrongStateError, or with the reason of the connection's end where
 * nobody has been told it. */
int cpika_check_channel(CpikaChannel *ch);

/* Raises why it is not open: the broker's reason, if it was the broker, else what cpika_check_channel says.  -1. */
int cpika_raise_not_open(CpikaChannel *ch);

/* New exception with what the broker's Channel.Close said; NULL with an exception. */
PyObject *cpika_broker_reason(CpikaChannel *ch);

/* New reference to why the channel is closed; None: it is not.  NULL with an exception. */
PyObject *cpika_closing_reason(CpikaChannel *ch);

#endif
