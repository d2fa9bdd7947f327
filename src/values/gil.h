/* gil.h - giving the GIL away for a wait.
 * Layer: values.  Owns: nothing.  Threads: with the GIL, but for what stands between the two macros.  Errors: none.
 *
 * Where the process ends and with it a sub-interpreter that nobody has ended, the GIL is kept: CPython ends a thread that
 * wants it back by then, be it the main one, and what is left of the process could be ended by nothing but SIGKILL. */
#ifndef CPIKA_VALUES_GIL_H
#define CPIKA_VALUES_GIL_H

#include "compat.h"

/* The process ends, and the interpreter at work is not the one that ends it. */
static inline bool
cpika_is_left_behind(void)
{
    return Py_IsFinalizing() && PyInterpreterState_Get() != PyInterpreterState_Main();
}

static inline PyThreadState *
cpika_gil_give(void)
{
    return cpika_is_left_behind() ? NULL : PyEval_SaveThread();
}

static inline void
cpika_gil_take(PyThreadState *given)
{
    if (given != NULL) {
        PyEval_RestoreThread(given);
    }
}

#define CPIKA_BEGIN_ALLOW_THREADS \
    {                             \
        PyThreadState *const given = cpika_gil_give();
#define CPIKA_END_ALLOW_THREADS \
    cpika_gil_take(given);      \
    }

#endif
