/* within.c - see within.h.
 * Layer: values.  Owns: see within.h.  Threads: see within.h.  Errors: see within.h. */
#include "within.h"

#include "gate.h"
#include "setup.h"

typedef struct {
    PyObject_HEAD
    PyObject *item;  // owned; NULL: the block has ended
    PyObject *sets;  // owned: a tuple of those that hold the item
} Within;

/* The pending exception stays; what goes wrong here is written where nobody can be told. */
static void
end_within(Within *self)
{
    PyObject *item = self->item;
    if (item == NULL) {
        return;
    }
    self->item = NULL;
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(self->sets); i++) {
        if (PySet_Discard(PyTuple_GET_ITEM(self->sets, i), item) < 0) {
            PyErr_WriteUnraisable(item);
        }
    }
    PyErr_Restore(type, error, traceback);
    Py_DECREF(item);
}

/* The sets among a call's arguments, which are an item and sets. */
static PyObject *
sets_among(PyObject *args)
{
    Py_ssize_t count = PyTuple_GET_SIZE(args);
    if (count < 1) {
        PyErr_SetString(PyExc_TypeError, "Within() takes an item, and sets");
        return NULL;
    }
    for (Py_ssize_t i = 1; i < count; i++) {
        PyObject *set = PyTuple_GET_ITEM(args, i);
        if (!PySet_Check(set)) {
            PyErr_Format(PyExc_TypeError, "Within() takes an item and sets, but got %R", set);
            return NULL;
        }
    }
    return PyTuple_GetSlice(args, 1, count);
}

static PyObject *
within_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    CPIKA_GATE;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Within() takes no keyword arguments");
        return NULL;
    }
    PyObject *sets = sets_among(args);
    if (sets == NULL) {
        return NULL;
    }
    Within *self = (Within *)type->tp_alloc(type, 0);
    if (self == NULL) {
        Py_DECREF(sets);
        return NULL;
    }
    self->sets = sets;
    self->item = Py_NewRef(PyTuple_GET_ITEM(args, 0));
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(sets); i++) {
        if (PySet_Add(PyTuple_GET_ITEM(sets, i), self->item) < 0) {
            Py_DECREF(self);
            return NULL;
        }
    }
    return (PyObject *)self;
}

static PyObject *
within_enter(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    return Py_NewRef(op);
}

static PyObject *
within_exit(PyObject *op, PyObject *args)
{
    CPIKA_GATE;
    (void)args;
    end_within((Within *)op);
    Py_RETURN_NONE;
}

static void
within_dealloc(PyObject *op)
{
    CPIKA_GATE;
    Within *self = (Within *)op;
    PyTypeObject *type = Py_TYPE(op);
    end_within(self);
    Py_XDECREF(self->sets);
    type->tp_free(op);
    Py_DECREF(type);
}

PyDoc_STRVAR(enter_doc, "__enter__($self, /)\n--\n\nReturns the object; the item stands in the sets already.");
PyDoc_STRVAR(exit_doc, "__exit__($self, exc_type, value, traceback, /)\n--\n\n"
                       "Take the item out of the sets.");

static PyMethodDef within_methods[] = {
    {"__enter__", within_enter, METH_NOARGS, enter_doc},
    {"__exit__", within_exit, METH_VARARGS, exit_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(within_doc,
             "Within(item, *sets)\n--\n\n"
             "The context manager of a block in which an item stands in sets. However the block is left, and wherever an\n"
             "exception strikes, it is taken out of them.");

static PyType_Slot within_slots[] = {
    {Py_tp_doc, (void *)within_doc},
    {Py_tp_new, within_new},
    {Py_tp_dealloc, within_dealloc},
    {Py_tp_methods, within_methods},
    {0, NULL},
};

static PyType_Spec within_spec = {
    .name = "cpika._core.Within",
    .basicsize = sizeof(Within),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = within_slots,
};

int
cpika_within_exec(PyObject *module)
{
    return cpika_add_type(module, &within_spec);
}
