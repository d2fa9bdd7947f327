/* compat.h - what newer CPython headers give and older ones lack.
 * Layer: values.  Owns: nothing.  Threads: with the GIL.  Errors: none. */
#ifndef CPIKA_VALUES_COMPAT_H
#define CPIKA_VALUES_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

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

#endif
