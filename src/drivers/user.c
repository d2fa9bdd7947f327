/* user.c - see user.h.
 * Layer: drivers.  Owns: see user.h.  Threads: with the GIL.  Errors: none. */
#include "user.h"

#include "values/compat.h"
#include "wire/hot.h"

/* Looking the module up costs as much as an ack: as long as there are as many modules as before, it is not there. */
CPIKA_HOT bool
has_no_greenlets(const cpika_state *st)
{
    return st->greenlet_getcurrent == NULL
           && (st->modules == NULL || PyDict_GET_SIZE(st->modules) == st->modules_seen);
}

/* greenlet.getcurrent, if the program has imported greenlet by now.  Borrowed from the state.  One that another thread is
 * importing is not waited for, as the import system would: it is there when it has the function. */
static PyObject *
getcurrent(cpika_state *st)
{
    if (st->greenlet_getcurrent == NULL) {
        Py_ssize_t count = PyDict_GET_SIZE(st->modules);
        PyObject *greenlet = cpika_dict_get(st->modules, st->names.greenlet);
        bool module = greenlet != NULL && PyModule_Check(greenlet);
        PyObject *found = greenlet == NULL ? NULL
                          : module         ? cpika_dict_get(PyModule_GetDict(greenlet), st->names.getcurrent)
                                           : PyObject_GetAttr(greenlet, st->names.getcurrent);
        if (found == NULL && !module) {  // nor is it in what stands in its place
            st->modules_seen = count;
        }
        Py_XSETREF(st->greenlet_getcurrent, found);
        Py_XDECREF(greenlet);
    }
    return st->greenlet_getcurrent;
}

static PyObject *
ask_for_greenlet(cpika_state *st)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *get = getcurrent(st);
    PyObject *current = get == NULL ? NULL : PyObject_CallNoArgs(get);
    PyObject *greenlet = current == NULL ? NULL : PyWeakref_NewRef(current, NULL);
    Py_XDECREF(current);
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    return greenlet;
}

/* New reference, or NULL without an exception. */
CPIKA_HOT PyObject *
current_greenlet(cpika_state *st)
{
    return has_no_greenlets(st) ? NULL : ask_for_greenlet(st);
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
    bool here = user->greenlet == greenlet;
    Py_XDECREF(greenlet);
    return here;
}
