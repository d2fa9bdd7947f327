/* open_block.h - a `with` block that is left is over, wherever an exception strikes.
 * Layer: values.
 * Owns: what stands on the interpreter's stack, the context manager that was entered.  Threads: with the GIL.
 * Errors: NULL or -1 with an exception.
 *
 * CPython 3.9, and each one from 3.14 on, looks for signals between the end of __enter__ and the block: what a handler
 * raises there calls no __exit__.  But __exit__ is looked up first, and what was found stands on the stack until it is
 * called or the stack is unwound.  So it is an object that knows how deep inside its finder was, and that ends the block
 * if it dies uncalled with its finder deeper inside. */
#ifndef CPIKA_VALUES_OPEN_BLOCK_H
#define CPIKA_VALUES_OPEN_BLOCK_H

#include "compat.h"

typedef struct {
    size_t (*depth)(PyObject *manager);                    // how often whoever calls is inside
    PyObject *(*exit)(PyObject *manager, PyObject *args);  // the method __exit__
    void (*abandon)(PyObject *manager);  // leaves once, without a word; touches no exception
} cpika_block_kind;

/* Has instances of the type find such objects as their __exit__; the type itself has the method that it has had. */
int cpika_open_block_install(PyTypeObject *type, const cpika_block_kind *kind);

#endif
