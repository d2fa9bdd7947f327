/* hot_method.h - a method in C that looks like the Python function that stands beside it.
 * Layer: values.
 * Owns: see hot_method.c.
 * Threads: the caller holds the GIL.
 * Errors: -1 with an exception set. */
#ifndef CPIKA_VALUES_HOT_METHOD_H
#define CPIKA_VALUES_HOT_METHOD_H

#include "compat.h"

/* Adds the type `hot_method` to the module. */
int cpika_hot_method_exec(PyObject *module);

#endif
