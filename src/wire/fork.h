/* fork.h - tells whether a fork lies between then and now (rule 7).
 * Layer: wire (libc only).
 * Owns: the generation number.
 * Threads: any; cpika_fork_generation also in signal handlers.
 * Errors: negative cpika_status. */
#ifndef CPIKA_WIRE_FORK_H
#define CPIKA_WIRE_FORK_H

#include "posix.h"

#include <stdatomic.h>

extern atomic_uint cpika_fork_count;  // read it by cpika_fork_generation

/* Installs the pthread_atfork handler; every call but the first does nothing.  CPIKA_OK or CPIKA_E_NOMEM. */
int cpika_fork_watch(void);

/* Another number in the child after each fork since cpika_fork_watch; never 0. */
static inline unsigned
cpika_fork_generation(void)
{
    return atomic_load_explicit(&cpika_fork_count, memory_order_relaxed);
}

#endif
