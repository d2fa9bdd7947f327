/* yields.h - in a build with CPIKA_DEBUG, another thread runs at times wherever one might.
 * Layer: values.
 * Owns: nothing.  Threads: with the GIL.  Errors: none.
 *
 * Where a reference is let go, and where a dict or a list is asked that others may be at, the GIL may be given away: to
 * the finalizer of what is let go; without the GIL, to whoever is at that object.  That is rare, so the tests of such a
 * build would hardly ever meet it; there it is one time in some dozens.  All must be in order before. */
#ifndef CPIKA_VALUES_YIELDS_H
#define CPIKA_VALUES_YIELDS_H

#include "raised.h"  // Python.h before any other header

/* Lets go of what somebody else holds, too: no other thread runs. */
static inline void
cpika_let_go_of_one(PyObject *held_elsewhere)
{
    Py_XDECREF(held_elsewhere);
}

#ifdef CPIKA_DEBUG
void cpika_yield(void);

static inline void
cpika_let_go(PyObject *object)
{
    cpika_yield();
    Py_DECREF(object);
}

static inline void
cpika_let_go_of_any(PyObject *object)
{
    if (object != NULL) {
        cpika_let_go(object);
    }
}

#    define CPIKA_REPLACE(place, value, let_go)             \
        do {                                                \
            __typeof__(place) *const replaced = &(place);   \
            PyObject *const before = (PyObject *)*replaced; \
            *replaced = (value);                            \
            let_go(before);                                 \
        } while (0)

#    undef Py_DECREF
#    undef Py_XDECREF
#    undef Py_CLEAR
#    undef Py_SETREF
#    undef Py_XSETREF
#    define Py_DECREF(object) cpika_let_go((PyObject *)(object))
#    define Py_XDECREF(object) cpika_let_go_of_any((PyObject *)(object))
#    define Py_CLEAR(place) CPIKA_REPLACE(place, NULL, cpika_let_go_of_any)
#    define Py_SETREF(place, value) CPIKA_REPLACE(place, value, cpika_let_go)
#    define Py_XSETREF(place, value) CPIKA_REPLACE(place, value, cpika_let_go_of_any)

#    define PyDict_SetItem(...) (cpika_yield(), CPIKA_UNRAISED(PyDict_SetItem, __VA_ARGS__))
#    define PyDict_DelItem(...) (cpika_yield(), CPIKA_UNRAISED(PyDict_DelItem, __VA_ARGS__))
#    define PyDict_SetDefault(...) (cpika_yield(), CPIKA_UNRAISED(PyDict_SetDefault, __VA_ARGS__))
#    define PyDict_GetItemRef(...) (cpika_yield(), CPIKA_UNRAISED(PyDict_GetItemRef, __VA_ARGS__))
#    define PyDict_GetItemWithError(...) (cpika_yield(), CPIKA_UNRAISED(PyDict_GetItemWithError, __VA_ARGS__))
#    define PyList_Append(...) (cpika_yield(), CPIKA_UNRAISED(PyList_Append, __VA_ARGS__))
#    define PyList_SetItem(...) (cpika_yield(), CPIKA_UNRAISED(PyList_SetItem, __VA_ARGS__))
#endif

#endif
