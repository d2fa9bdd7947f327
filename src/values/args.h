/* args.h - arguments of the hot methods, by vectorcall.
 * Layer: values.  Owns: nothing; everything is borrowed from the caller.  Threads: with the GIL.
 * Errors: -1 with the TypeError that a Python function of this name would raise. */
#ifndef CPIKA_VALUES_ARGS_H
#define CPIKA_VALUES_ARGS_H

#include "compat.h"

enum { CPIKA_MAX_ARGS = 8 };

typedef struct {
    const char *function;  // as Python's messages name it: "BlockingChannel.basic_ack()"
    const char *names[CPIKA_MAX_ARGS];
    int count;     // of all arguments, self not counted
    int required;  // the first so many have no default
} cpika_signature;

/* Fills `out[0..count)` with borrowed references; NULL where the caller gave nothing. */
int cpika_args_parse(const cpika_signature *sig, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                     PyObject **out);

/* A count of at least 1, as large as memory where it is larger.  -1 with TypeError or ValueError. */
Py_ssize_t cpika_arg_count(const char *name, PyObject *value);

/* Truth of an optional argument: `fallback` when it was not given; -1 with an exception. */
static inline int
cpika_arg_true(PyObject *value, int fallback)
{
    if (value == NULL) {
        return fallback;
    }
    if (value == Py_True) {
        return 1;
    }
    if (value == Py_False) {
        return 0;
    }
    return PyObject_IsTrue(value);
}

#endif
