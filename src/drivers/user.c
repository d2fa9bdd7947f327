/* user.c - see user.h.
 * Layer: drivers.  Owns: see user.h.  Threads: with the GIL.  Errors: none. */
#include "user.h"

/* greenlet.getcurrent, if the program has imported greenlet.  Borrowed from the state. */
static PyObject *
getcurrent(cpika_state *st)
{
    if (st->greenlet_getcurrent != NULL) {
        return st->greenlet_getcurrent;
    }
    // Looking the module up costs as much as an ack; as long as there are as many modules as before, it is not there.
    Py_ssize_t count = st->modules == NULL ? st->modules_seen : PyDict_GET_SIZE(st->modules);
    if (count == st->modules_seen) {
        return NULL;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *greenlet = PyImport_GetModule(st->names.greenlet);
    if (greenlet != NULL) {
        st->greenlet_getcurrent = PyObject_GetAttr(greenlet, st->names.getcurrent);
        Py_DECREF(greenlet);
    }
    st->modules_seen = count;
    PyErr_Restore(type, value, traceback);
    return st->greenlet_getcurrent;
}

/* New reference, or NULL without an exception. */
static PyObject *
current_greenlet(cpika_state *st)
{
    PyObject *get = getcurrent(st);
    if (get == NULL) {
        return NULL;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *greenlet = PyObject_CallNoArgs(get);
    PyErr_Restore(type, value, traceback);
    return greenlet;
}

cpika_user
cpika_user_here(cpika_state *st)
{
    return (cpika_user){PyThreadState_GetID(PyThreadState_Get()), current_greenlet(st)};
}

void
cpika_user_clear(cpika_user *user)
{
    user->thread = 0;
    Py_CLEAR(user->greenlet);
}

bool
cpika_user_is_here(cpika_state *st, const cpika_user *user)
{
    if (user->thread != PyThreadState_GetID(PyThreadState_Get())) {
        return false;
    }
    PyObject *greenlet = current_greenlet(st);
    Py_XDECREF(greenlet);  // who runs is held by its thread
    return user->greenlet == greenlet;
}
