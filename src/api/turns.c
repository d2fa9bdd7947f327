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
                          "Timers or callbacks are ready: a dispatching call runs owner._run_due() soon.");

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
                            "The earliest timer is due in so many seconds; None: there is none.");

static PyObject *
connection_set_timer(PyObject *op, PyObject *seconds)
{
    CPIKA_GATE;
    CpikaConnection *conn = (CpikaConnection *)op;
    if (cpika_deadline(seconds, &conn->roles.next_timer_ns) < 0) {
        return NULL;
    }
    if (conn->io.link != NULL) {
        cpika_roles_wake_dispatchers(&conn->roles, conn->io.link);
    }
    Py_RETURN_NONE;
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
    {NULL, NULL, 0, NULL},
};
