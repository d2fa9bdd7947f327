/* process.h - one dispatching call: process_data_events, and what start_consuming, consume and sleep are made of.
 * Layer: drivers.
 * Owns: nothing.  Threads: with the GIL.
 * Errors: -1 with an exception. */
#ifndef CPIKA_DRIVERS_PROCESS_H
#define CPIKA_DRIVERS_PROCESS_H

#include "objects.h"

typedef struct {
    PyObject *owner;        // the BlockingConnection, whose _run_due() runs timers and callbacks that are due
    CpikaChannel *channel;  // the one that this call dispatches before others; NULL: none
    const cpika_consumer_tag
        *sink;           // of consume(): inside a callback it gets its messages all the same; NULL: none
    uint64_t asks_seen;  // roles.asks when the caller last looked at what it waits for
    uint64_t deadline_ns;
} cpika_process_args;

/* Waits until something was dispatched, somebody asked for the return, or the deadline; inside a callback of the same
 * user it does input and output only.  0 or -1. */
int cpika_process(CpikaConnection *conn, const cpika_process_args *args);

#endif
