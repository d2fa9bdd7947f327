/* fair.h - green threads: a call that finds work without end lets the others of its thread run (rule 1).
 * Layer: drivers.
 * Owns: nothing.  Threads: with the GIL.
 * Errors: -1 with an exception: what is thrown into a greenlet that lets others run, or that this is a child by now. */
#ifndef CPIKA_DRIVERS_FAIR_H
#define CPIKA_DRIVERS_FAIR_H

#include "objects.h"

int cpika_let_others_run(CpikaConnection *conn);

/* To be called where user code may run.  Does nothing where waits are the system's, or where other greenlets could run
 * within the last 10 ms.  0 or -1. */
static inline int
cpika_be_fair(CpikaConnection *conn)
{
    return conn->io.cooperative ? cpika_let_others_run(conn) : 0;
}

#endif
