/* compat.h - what newer CPython headers give and older ones lack.
 * Layer: values.  Owns: nothing.  Threads: with the GIL.  Errors: none, but what a function here is for. */
#ifndef CPIKA_VALUES_COMPAT_H
#define CPIKA_VALUES_COMPAT_H

#include "yields.h"  // Python.h before any other header

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

/* What is raised while the message is made - by a __repr__, by a signal's handler on the way into it - is raised.
 * Older CPythons (3.10.13, 3.11.2) raise the error all the same, without its message, and what a handler raised is lost. */
#if PY_VERSION_HEX < 0x030C0000
PyObject *cpika_err_format(PyObject *type, const char *format, ...);
#    define PyErr_Format cpika_err_format
#endif

/* Without the GIL another thread may take out at any moment what a borrowed reference is to. */

/* New reference to what is at the key; NULL: nothing, or with an exception. */
static inline PyObject *
cpika_dict_get(PyObject *dict, PyObject *key)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *found = NULL;
    (void)PyDict_GetItemRef(dict, key, &found);
    return found;
#else
    return Py_XNewRef(PyDict_GetItemWithError(dict, key));
#endif
}

/* New reference; NULL with an IndexError. */
static inline PyObject *
cpika_list_get(PyObject *list, Py_ssize_t i)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyList_GetItemRef(list, i);
#else
    return Py_XNewRef(PyList_GetItem(list, i));
#endif
}

#if PY_VERSION_HEX < 0x030D0000
#    define Py_IsFinalizing _Py_IsFinalizing
#    define Py_BEGIN_CRITICAL_SECTION(object) {
#    define Py_END_CRITICAL_SECTION() }
#endif

/* Whether nobody else holds the object. */
static inline bool
cpika_is_only_reference(PyObject *object)
{
#if defined(Py_GIL_DISABLED) && PY_VERSION_HEX >= 0x030E0000
    return PyUnstable_Object_IsUniquelyReferenced(object);
#else
    return Py_REFCNT(object) == 1;
#endif
}

/* For a dealloc: none of its weak references finds the object any more.  Without the GIL, one may just be dying in another
 * thread, which takes itself out of the list. */
static inline void
cpika_clear_weakrefs(PyObject *object, PyObject *const *list)
{
    if (__atomic_load_n(list, __ATOMIC_RELAXED) != NULL) {
        PyObject_ClearWeakRefs(object);
    }
}

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
