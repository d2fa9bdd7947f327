/* offer.h - the GIL and signals in loops of C that run no bytecode (rule 1).
 * Layer: drivers.  Owns: nothing.  Threads: with the GIL.  Errors: -1 with what a signal handler raised. */
#ifndef CPIKA_DRIVERS_OFFER_H
#define CPIKA_DRIVERS_OFFER_H

#include "values/compat.h"  // Python.h before any other header

#include <stdint.h>

typedef struct {
    uint64_t looked_ns;  // when signals were last looked for
    uint64_t due_ns;     // when the GIL is to be offered
} cpika_offer;

/* Looks for signals every 5 ms, and lets other threads have the GIL every two switch intervals.  0 or -1. */
int cpika_offer_gil(cpika_offer *offer);

#endif
