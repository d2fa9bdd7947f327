/* yields.c - see yields.h.
 * Layer: values.  Owns: nothing.  Threads: see yields.h.  Errors: none. */
#include "yields.h"

#ifdef CPIKA_DEBUG
#    include <sched.h>

#    include "wire/clock.h"

enum { EVERY = 32 };

void
cpika_yield(void)
{
    // The clock's nanoseconds are as good as random here, and no state is needed.
    uint64_t mixed = cpika_now_ns() * UINT64_C(0x9E3779B97F4A7C15);
    if ((mixed >> 32) % EVERY != 0
        || !Py_IsInitialized()) {  // which it is not any more where the process ends
        return;
    }
    PyThreadState *given = PyEval_SaveThread();
    sched_yield();
    PyEval_RestoreThread(given);
}
#endif
