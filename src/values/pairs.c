/* pairs.c - `key, value = pair`, in C.
 * Layer: values.  Owns: nothing.  Threads: the caller holds the GIL.
 * Errors: -1 with the exception that the statement raises. */
#include "object.h"

/* In CPython's words, which tell the number from 3.14 on where it is known without iterating. */
static void
raise_too_many(PyObject *pair, Py_ssize_t size)
{
    bool sized = PyTuple_CheckExact(pair) || PyList_CheckExact(pair) || PyDict_CheckExact(pair);

    if (PY_VERSION_HEX >= 0x030E0000 && sized) {
        PyErr_Format(PyExc_ValueError, "too many values to unpack (expected 2, got %zd)", size);
    } else {
        PyErr_SetString(PyExc_ValueError, "too many values to unpack (expected 2)");
    }
}

int
cpika_unpack_pair(PyObject *pair, PyObject **key, PyObject **value)
{
    PyObject *halves = PySequence_Tuple(pair);
    int rc = -1;

    if (halves == NULL) {
        if (Py_TYPE(pair)->tp_iter == NULL && !PySequence_Check(pair)) {
            PyErr_Format(PyExc_TypeError, "cannot unpack non-iterable %.200s object", Py_TYPE(pair)->tp_name);
        }
        return -1;
    }
    if (PyTuple_GET_SIZE(halves) > 2) {
        raise_too_many(pair, PyTuple_GET_SIZE(halves));
    } else if (PyTuple_GET_SIZE(halves) < 2) {
        PyErr_Format(PyExc_ValueError, "not enough values to unpack (expected 2, got %zd)",
                     PyTuple_GET_SIZE(halves));
    } else {
        *key = Py_NewRef(PyTuple_GET_ITEM(halves, 0));
        *value = Py_NewRef(PyTuple_GET_ITEM(halves, 1));
        rc = 0;
    }
    Py_DECREF(halves);
    return rc;
}
