/* numbers.c - see numbers.h.
 * Layer: api.  Owns: nothing.  Threads: see numbers.h.  Errors: see numbers.h. */
#include "numbers.h"

#include "values/errors.h"
#include "values/gate.h"

PyDoc_STRVAR(take_number_doc, "_take_channel_number($self, taken, reference, first, last, /)\n--\n\n"
                              "Put `reference`, weak, into the dict `taken` at the lowest number from `first` to `last` that no\n"
                              "channel has and no living reference is at; one that is crossed only where there is no other. Return\n"
                              "the number; None: there is none. In one step: what a signal handler opens meanwhile has another one.");

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

/* New reference to the number; NULL without an exception: there is none. */
static PyObject *
take_first(CpikaConnection *conn, PyObject *taken, PyObject *reference, int first, int last, bool crossed)
{
    for (int i = first < 1 ? 1 : first; i <= last && i <= UINT16_MAX; i++) {
        if (is_in_use(conn, i) || cpika_engine_is_crossed(&conn->engine, i) != crossed) {
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
    return NULL;
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
    PyObject *number = take_first(conn, taken, reference, first, last, false);
    if (number == NULL && !PyErr_Occurred() && conn->engine.crossed.len > 0) {
        number = take_first(conn, taken, reference, first, last, true);
    }
    return number != NULL || PyErr_Occurred() ? number : Py_NewRef(Py_None);
}

PyDoc_STRVAR(is_crossed_doc, "_is_crossed($self, number, /)\n--\n\n"
                             "Whether the channel of this number is over, but the broker has yet to answer its Channel.Close.");

static PyObject *
connection_is_crossed(PyObject *op, PyObject *number)
{
    CPIKA_GATE;
    long value = PyLong_AsLong(number);
    if (value == -1 && PyErr_Occurred()) {
        return NULL;
    }
    return PyBool_FromLong(value >= 0 && value <= UINT16_MAX
                           && cpika_engine_is_crossed(&((CpikaConnection *)op)->engine, (int)value));
}

/* Whether a reservation is of that call: 1, 0, or -1. */
static int
is_of_call(PyObject *reservation, PyObject *call)
{
    if (reservation == call) {
        return 1;
    }
    PyObject *callback = PyObject_GetAttrString(reservation, "on_open_callback");
    int same = callback == NULL ? -1 : PyObject_RichCompareBool(callback, call, Py_EQ);
    Py_XDECREF(callback);
    return same;
}

/* 0, or -1. */
static int
give_back_of_call(PyObject *taken, PyObject *call)
{
    PyObject *items = PyDict_Items(taken);
    int rc = items == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(items); i++) {
        PyObject *number = PyTuple_GET_ITEM(PyList_GET_ITEM(items, i), 0);
        PyObject *reference = PyTuple_GET_ITEM(PyList_GET_ITEM(items, i), 1);
        PyObject *reservation = PyObject_CallNoArgs(reference);
        int same = reservation == NULL ? -1 : reservation == Py_None ? 0 : is_of_call(reservation, call);
        Py_XDECREF(reservation);
        rc = same < 0 ? -1 : same > 0 ? give_back(taken, reference, number) : 0;
    }
    Py_XDECREF(items);
    return rc;
}

PyDoc_STRVAR(give_up_doc, "_give_up_channel($self, taken, call, channel, /)\n--\n\n"
                          "Have the numbers in the dict `taken` be free that stand there with the reservation `call`, or with one\n"
                          "whose callback it is, and close `channel` (None: there is none yet) for nobody. In one step: an\n"
                          "interrupt behind the one that made it necessary finds it done.");

static PyObject *
connection_give_up_channel(PyObject *op, PyObject *args)
{
    CPIKA_GATE;
    (void)op;
    PyObject *taken, *call, *channel;
    if (!PyArg_ParseTuple(args, "O!OO:_give_up_channel", &PyDict_Type, &taken, &call, &channel)) {
        return NULL;
    }
    PyObject *closed =
        channel == Py_None ? Py_NewRef(Py_None) : PyObject_CallMethod(channel, "_close_for_nobody", NULL);
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    int rc = give_back_of_call(taken, call);
    cpika_restore_behind(type, error, traceback);
    if (rc < 0) {
        Py_CLEAR(closed);
    }
    return closed;
}

PyMethodDef cpika_numbers_methods[] = {
    {"_give_up_channel", connection_give_up_channel, METH_VARARGS, give_up_doc},
    {"_is_crossed", connection_is_crossed, METH_O, is_crossed_doc},
    {"_take_channel_number", connection_take_number, METH_VARARGS, take_number_doc},
    {NULL, NULL, 0, NULL},
};
