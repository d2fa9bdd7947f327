/* args.c - arguments of the hot methods, by vectorcall.
 * Layer: values.  Owns: nothing; everything is borrowed from the caller.  Threads: with the GIL.
 * Errors: -1 with the TypeError that a Python function of this name would raise. */
#include "args.h"

/* What the errors of Python functions call it: with its class since 3.10. */
static const char *
called(const cpika_signature *sig)
{
#if PY_VERSION_HEX < 0x030A0000
    const char *dot = strrchr(sig->function, '.');
    return dot == NULL ? sig->function : dot + 1;
#else
    return sig->function;
#endif
}

/* Which parameter `key` names: its index, or -1 (no exception). */
static int
parameter_index(const cpika_signature *sig, PyObject *key)
{
    for (int i = 0; i < sig->count; i++) {
        if (PyUnicode_CompareWithASCIIString(key, sig->names[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static int
raise_too_many(const cpika_signature *sig, Py_ssize_t nargs)
{
    // Python counts self in both figures.
    if (sig->required == sig->count) {
        PyErr_Format(PyExc_TypeError, "%s takes %d positional arguments but %zd were given", called(sig),
                     sig->count + 1, nargs + 1);
    } else {
        PyErr_Format(PyExc_TypeError, "%s takes from %d to %d positional arguments but %zd were given",
                     called(sig), sig->required + 1, sig->count + 1, nargs + 1);
    }
    return -1;
}

/* "missing 2 required positional arguments: 'a' and 'b'", as CPython words it. */
static int
raise_missing(const cpika_signature *sig, PyObject *const *out)
{
    int missing[CPIKA_MAX_ARGS];
    int n = 0;
    for (int i = 0; i < sig->required; i++) {
        if (out[i] == NULL) {
            missing[n++] = i;
        }
    }
    PyObject *list = PyUnicode_FromFormat("'%s'", sig->names[missing[0]]);
    for (int i = 1; i < n && list != NULL; i++) {
        const char *glue = i < n - 1 ? "," : (n > 2 ? ", and" : " and");
        PyObject *longer = PyUnicode_FromFormat("%U%s '%s'", list, glue, sig->names[missing[i]]);
        Py_SETREF(list, longer);
    }
    if (list != NULL) {
        PyErr_Format(PyExc_TypeError, "%s missing %d required positional argument%s: %U", called(sig), n,
                     n == 1 ? "" : "s", list);
        Py_DECREF(list);
    }
    return -1;
}

int
cpika_args_parse(const cpika_signature *sig, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                 PyObject **out)
{
    if (nargs > sig->count) {
        return raise_too_many(sig, nargs);
    }
    int i = 0;
    for (; i < nargs; i++) {
        out[i] = args[i];
    }
    for (; i < sig->count; i++) {
        out[i] = NULL;
    }
    Py_ssize_t nkw = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t k = 0; k < nkw; k++) {
        PyObject *key = PyTuple_GET_ITEM(kwnames, k);
        int index = parameter_index(sig, key);
        if (index < 0) {
            PyErr_Format(PyExc_TypeError, "%s got an unexpected keyword argument '%U'", called(sig), key);
            return -1;
        }
        if (out[index] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s got multiple values for argument '%U'", called(sig), key);
            return -1;
        }
        out[index] = args[nargs + k];
    }
    for (i = 0; i < sig->required; i++) {
        if (out[i] == NULL) {
            return raise_missing(sig, out);
        }
    }
    return 0;
}

Py_ssize_t
cpika_arg_count(const char *name, PyObject *value)
{
    if (!PyIndex_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s must be an integer, but got %R", name, value);
        return -1;
    }
    Py_ssize_t count = PyNumber_AsSsize_t(value, NULL);
    if (count < 1) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "%s must be at least 1, but got %S", name, value);
        }
        return -1;
    }
    return count;
}
