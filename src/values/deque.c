/* deque.c - see deque.h.
 * Layer: values.  Owns: nothing.  Threads: with the GIL.  Errors: see deque.h. */
#include "deque.h"

int
cpika_deque_exec(cpika_state *st)
{
    PyObject *module = PyImport_ImportModule("collections");
    PyObject *type = module == NULL ? NULL : PyObject_GetAttrString(module, "deque");
    Py_XDECREF(module);
    if (type == NULL) {
        return -1;
    }
    st->deque_type = type;
    st->deque_append = PyObject_GetAttr(type, st->names.append);
    st->deque_popleft = PyObject_GetAttr(type, st->names.popleft);
    return st->deque_append == NULL || st->deque_popleft == NULL ? -1 : 0;
}

bool
cpika_is_deque(const cpika_state *st, PyObject *events)
{
    return (PyObject *)Py_TYPE(events) == st->deque_type;
}

PyObject *
cpika_deque_append(const cpika_state *st, PyObject *events, PyObject *item)
{
    if (!cpika_is_deque(st, events)) {
        return PyObject_CallMethodOneArg(events, st->names.append, item);
    }
    PyObject *args[] = {events, item};
    return PyObject_Vectorcall(st->deque_append, args, 2, NULL);
}

PyObject *
cpika_deque_popleft(const cpika_state *st, PyObject *events)
{
    if (!cpika_is_deque(st, events)) {
        return PyObject_CallMethodNoArgs(events, st->names.popleft);
    }
    PyObject *args[] = {events};
    return PyObject_Vectorcall(st->deque_popleft, args, 1, NULL);
}
