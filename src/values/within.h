/* within.h - what stands in sets as long as a block lasts: `with Within(item, *sets)`.
 * Layer: values.
 * Owns: the item and the sets, until the block is left.  Threads: with the GIL.
 * Errors: NULL or -1 with an exception.
 *
 * A `try` begins after the statement that adds, and a `finally` is itself a place where a signal's exception strikes:
 * what it leaves in a set is waited for by nobody, or by somebody for good.  Such a block begins when the object is made
 * and ends once, when it is left or when the object is forgotten, and both are one call in C.  The object stands on the
 * interpreter's stack and in no variable, so that no traceback keeps it. */
#ifndef CPIKA_VALUES_WITHIN_H
#define CPIKA_VALUES_WITHIN_H

#include "compat.h"

/* The type Within. */
int cpika_within_exec(PyObject *module);

#endif
