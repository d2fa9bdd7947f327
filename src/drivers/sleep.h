/* sleep.h - how a call waits: for the socket, or to be woken; and what ends a wait.
 * Layer: drivers.
 * Owns: the pipe of the module's state.  Threads: with the GIL, which is given away meanwhile.
 * Errors: -1 with an exception: what a signal handler or another thread (PyThreadState_SetAsyncExc) raised. */
#ifndef CPIKA_DRIVERS_SLEEP_H
#define CPIKA_DRIVERS_SLEEP_H

#include "objects.h"

/* Sleeps until the socket can be read (or written), somebody wakes the call, a signal comes, or `until_ns`.  May end
 * early.  The caller has seen, with the GIL held since, that the call has no reason to go on. */
int cpika_sleep(CpikaConnection *conn, cpika_call *call, bool want_write, uint64_t until_ns);

/* Runs a little Python code: that is where exceptions are raised that other threads have set. */
int cpika_tick(CpikaConnection *conn);

void cpika_sleep_free_state(cpika_state *st);

#endif
