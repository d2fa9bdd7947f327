/* numbers.c - see numbers.h.
 * Layer: api.  Owns: nothing.  Threads: see numbers.h.  Errors: see numbers.h. */
#include "numbers.h"

#include "values/gate.h"

PyDoc_STRVAR(take_number_doc, "_take_channel_number($self, taken, reference, first, last, /)\n--\n\n"
                              "Put `reference`, weak, into the dict `taken` at the lowest number from `first` to `last` that no\n"
                              "channel has and no living reference is at. Return the number; None: there is none. In one step:\n"
                              "what a signal handler opens meanwhile has another one.");

static bool
is_in_use(const CpikaConnection *conn, int number)
{
    return cpika_engine_channel(&conn->engine, number) != NULL
           || (PyByteArray_AS_STRING(conn->reserved)[number / 8] >> (number % 8) & 1) != 0;
}

/* 1: it was free, and is taken; 0: somebody has it; -1.  No other thread runs between the look and the step: the dict's
 * lock is held, and what is let go in between is in the dict. */
static int
take_of(PyObject *taken, PyObject *reference, PyObject *number)
{
    PyObject *held = cpika_dict_get(taken, number);
    if (held == NULL && PyErr_Occurred()) {
        return -1;
    }
    bool is_taken = held != NULL && cpika_weakref_lives(held);
    cpika_let_go_of_one(held);
    if (is_taken) {
        return 0;
    }
    return (PyDict_SetItem)(taken, number, reference) < 0 ? -1 : 1;  // the function: yields.h has a macro
}

/* As take_of. */
static int
take_number(PyObject *taken, PyObject *reference, PyObject *number)
{
    int rc;
    // Without the GIL several threads may be here at once.
    Py_BEGIN_CRITICAL_SECTION(taken);
    rc = take_of(taken, reference, number);
    Py_END_CRITICAL_SECTION();
    return rc;
}

/* 0, or -1. */
static int
give_back(PyObject *taken, PyObject *reference, PyObject *number)
{
    PyObject *held = cpika_dict_get(taken, number);
    Py_XDECREF(held);
    if (held != reference) {
        return PyErr_Occurred() ? -1 : 0;
    }
    if (PyDict_DelItem(taken, number) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_KeyError)) {
            return -1;
        }
        PyErr_Clear();  // his channel has taken it away
    }
    return 0;
}

static PyObject *
connection_take_number(PyObject *op, PyObject *args)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    PyObject *taken, *reference;
    int first, last;
    if (!PyArg_ParseTuple(args, "O!Oii:_take_channel_number", &PyDict_Type, &taken, &reference, &first,
                          &last)) {
        return NULL;
    }
    for (int i = first < 1 ? 1 : first; i <= last && i <= UINT16_MAX; i++) {
        if (is_in_use(conn, i)) {
            continue;
        }
        PyObject *number = PyLong_FromLong(i);
        int rc = number == NULL ? -1 : take_number(taken, reference, number);
        // Whoever had taken it may have opened his channel while this thread waited for the dict.
        if (rc > 0 && is_in_use(conn, i)) {
            rc = give_back(taken, reference, number);
        }
        if (rc > 0) {
            return number;
        }
        Py_XDECREF(number);
        if (rc < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

PyMethodDef cpika_numbers_methods[] = {
    {"_take_channel_number", connection_take_number, METH_VARARGS, take_number_doc},
    {NULL, NULL, 0, NULL},
};
