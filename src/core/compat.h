/* compat.h - what newer CPython headers give and older ones lack.
 * Layer: core.  Owns: nothing.  Threads: with the GIL.  Errors: none. */
#ifndef CPIKA_CORE_COMPAT_H
#define CPIKA_CORE_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if PY_VERSION_HEX < 0x030A0000
static inline PyObject *
Py_NewRef(PyObject *obj)
{
    Py_INCREF(obj);
    return obj;
}

static inline PyObject *
Py_XNewRef(PyObject *obj)
{
    Py_XINCREF(obj);
    return obj;
}
#endif

#endif
