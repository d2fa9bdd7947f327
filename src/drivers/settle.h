/* settle.h - what handling bytes has left to be done: send what is owed, close what has ended, wake who waits, free what is
 * dead, tell the log.
 * Layer: drivers.
 * Owns: nothing.  Threads: with the GIL, which it may lose; any driving call settles, notices are run by one at a time.
 * Errors: -1 with what a notice raised (a signal handler's exception inside a log handler): it leaves the driving call; the
 *         rest is done by the next one. */
#ifndef CPIKA_DRIVERS_SETTLE_H
#define CPIKA_DRIVERS_SETTLE_H

#include "objects.h"

/* Whether there is something to settle beside the sleep of others. */
static inline bool
cpika_is_unsettled(const CpikaConnection *conn)
{
    const cpika_engine *e = &conn->engine;
    return e->owed.len > 0 || e->notices.first != NULL || e->grave.first != NULL
           || (cpika_engine_ended(e) && !conn->io.closed);
}

/* To be called with no exception set, and where user code may run. */
int cpika_settle_slow(CpikaConnection *conn);

static inline int
cpika_settle(CpikaConnection *conn)
{
    if (conn->roles.asleep > 0) {
        cpika_roles_notify(&conn->roles, &conn->engine, conn->io.link);
    }
    return cpika_is_unsettled(conn) ? cpika_settle_slow(conn) : 0;
}

/* What a function of transport.h has answered: as it is, or -1 with an exception. Whoever is to be told of the
 * end is told first: its callbacks, the log. */
int cpika_raise_io(CpikaConnection *conn, int rc);

/* The part that runs no user code, for a thread that is nobody's: the rest is left to the next driving call.  -1 with an
 * exception of a Python socket. */
int cpika_settle_quietly(CpikaConnection *conn);

/* Ends the connection for `error` (stolen), and settles. */
int cpika_terminate(CpikaConnection *conn, PyObject *error, bool by_client);

#endif
