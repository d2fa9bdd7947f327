/* compat.h - what newer CPython headers give and older ones lack.
 * Layer: values.  Owns: nothing.  Threads: with the GIL.  Errors: none. */
#ifndef CPIKA_VALUES_COMPAT_H
#define CPIKA_VALUES_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

#if PY_VERSION_HEX < 0x030A0000
static inline PyObject *
cpika_newref(PyObject *obj)
{
    Py_XINCREF(obj);
    return obj;
}
#    define Py_NewRef(obj) cpika_newref((PyObject *)(obj))
#    define Py_XNewRef(obj) cpika_newref((PyObject *)(obj))
#endif

/* Whether a weak reference's object lives; an object that is no weak reference does not. */
static inline bool
cpika_weakref_lives(PyObject *reference)
{
    if (!PyWeakref_Check(reference)) {
        return false;
    }
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *object = NULL;
    bool lives = PyWeakref_GetRef(reference, &object) > 0;
    Py_XDECREF(object);
    return lives;
#else
    return PyWeakref_GetObject(reference) != Py_None;
#endif
}

#endif
