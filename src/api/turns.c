/* turns.c - see turns.h.
 * Layer: api.  Owns: nothing.  Threads: see turns.h.  Errors: see turns.h. */
#include "turns.h"

#include "drivers/wait.h"
#include "values/gate.h"

PyDoc_STRVAR(is_dispatching_doc, "_is_dispatching($self, /)\n--\n\n"
                                 "Whether whoever calls is inside a call that dispatches: in a callback, as a rule.");

static PyObject *
connection_is_dispatching(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    return PyBool_FromLong(cpika_roles_is_dispatching(&conn->roles, conn->st));
}

PyDoc_STRVAR(ask_return_doc, "_ask_return($self, /)\n--\n\n"
                             "Have dispatching calls return soon: from any thread or signal handler.");

static PyObject *
connection_ask_return(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    if (conn->io.link != NULL) {
        cpika_roles_ask_return(&conn->roles, conn->io.link);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(set_due_doc, "_set_due($self, /)\n--\n\n"
                          "Something is ready: a dispatching call runs owner._run_due() soon.");

static PyObject *
connection_set_due(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    CpikaConnection *conn = (CpikaConnection *)op;
    conn->roles.due = true;
    if (conn->io.link != NULL) {
        cpika_roles_wake_dispatchers(&conn->roles, conn->io.link);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(set_timer_doc, "_set_timer($self, seconds, /)\n--\n\n"
                            "A timer, or a thread-safe callback, is due in so many seconds: the earliest one counts.");

static PyObject *
connection_set_timer(PyObject *op, PyObject *seconds)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    uint64_t due;
    if (cpika_deadline(seconds, &due) < 0) {
        return NULL;
    }
    // Somebody else may have told of an earlier one since its caller looked; see run_due in drivers/process.c.
    if (due < conn->roles.next_timer_ns) {
        conn->roles.next_timer_ns = due;
    }
    if (conn->io.link != NULL) {
        cpika_roles_wake_dispatchers(&conn->roles, conn->io.link);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(sweep_timers_doc, "_sweep_timers($self, timers, timing, /)\n--\n\n"
                               "Drop from the heap, a list of (deadline, order, event), those whose event has no callback any more.\n"
                               "timing: the caller runs timers himself.  False: somebody else does, and nothing was done.");

static bool
is_removed(const cpika_state *st, PyObject *entry)
{
    PyObject *event =
        PyTuple_Check(entry) && PyTuple_GET_SIZE(entry) == 3 ? PyTuple_GET_ITEM(entry, 2) : NULL;
    PyObject *callback = event == NULL ? NULL : PyObject_GetAttr(event, st->names.callback);
    cpika_let_go_of_one(callback);
    PyErr_Clear();
    return callback == Py_None;
}

/* Moves the others to the beginning and sorts them, which makes a heap.  Lets go of nothing, and takes no other object's
 * lock: the caller has the list's, and `before` holds what it has had.  0 or -1. */
static int
keep_timers(const cpika_state *st, PyObject *timers, PyObject *before)
{
    Py_ssize_t kept = 0;
    Py_ssize_t size = PyList_GET_SIZE(before);
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *entry = PyList_GET_ITEM(before, i);
        if (!is_removed(st, entry) && (PyList_SetItem)(timers, kept++, Py_NewRef(entry)) < 0) {
            return -1;
        }
    }
    return PyList_SetSlice(timers, kept, size, NULL) < 0 ? -1 : PyList_Sort(timers);
}

static PyObject *
connection_sweep_timers(PyObject *op, PyObject *args)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    PyObject *timers;
    int timing;
    if (!PyArg_ParseTuple(args, "O!p:_sweep_timers", &PyList_Type, &timers, &timing)) {
        return NULL;
    }
    if (conn->roles.timing && !timing) {
        Py_RETURN_FALSE;
    }
    conn->roles.timing = true;  // who has looked at the first timer takes just that one out
    int rc = -1;
    PyObject *before;  // dies last: callbacks may have finalizers
    // One step: a timer that is added meanwhile would be lost.
    Py_BEGIN_CRITICAL_SECTION(timers);
    before = PyList_GetSlice(timers, 0, PyList_GET_SIZE(timers));
    if (before != NULL) {
        rc = keep_timers(conn->st, timers, before);
    }
    Py_END_CRITICAL_SECTION();
    conn->roles.timing = timing;
    Py_XDECREF(before);
    if (conn->io.link != NULL) {
        cpika_roles_wake_dispatchers(&conn->roles, conn->io.link);  // they left the timers alone
    }
    return rc < 0 ? NULL : Py_NewRef(Py_True);
}

PyDoc_STRVAR(check_may_wait_doc, "_check_may_wait($self, /)\n--\n\n"
                                 "Raise pika's ReentrancyError inside a Python socket's own method, where nobody may wait: for\n"
                                 "calls that change something before they wait.");

static PyObject *
connection_check_may_wait(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    return cpika_check_may_wait((CpikaConnection *)op) < 0 ? NULL : Py_NewRef(Py_None);
}

PyMethodDef cpika_turns_methods[] = {
    {"_check_may_wait", connection_check_may_wait, METH_NOARGS, check_may_wait_doc},
    {"_is_dispatching", connection_is_dispatching, METH_NOARGS, is_dispatching_doc},
    {"_ask_return", connection_ask_return, METH_NOARGS, ask_return_doc},
    {"_set_due", connection_set_due, METH_NOARGS, set_due_doc},
    {"_set_timer", connection_set_timer, METH_O, set_timer_doc},
    {"_sweep_timers", connection_sweep_timers, METH_VARARGS, sweep_timers_doc},
    {NULL, NULL, 0, NULL},
};
