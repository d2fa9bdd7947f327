/* object_init.c - __init__ of methods and properties, and calls of their types.  See object.h.
 * Layer: values.  Owns: nothing of its own.  Threads: the caller holds the GIL.
 * Errors: NULL or -1 with an exception set. */
#include "object.h"

#include "gate.h"

/* What the errors of Python functions call it: with its class since 3.10. */
#if PY_VERSION_HEX < 0x030A0000
#    define INIT_OF "%.0s__init__()"
#else
#    define INIT_OF "%s.__init__()"
#endif

static void
raise_missing(const cpika_class *cls, PyObject **values)
{
    PyObject *names[CPIKA_MAX_FIELDS];
    int missing = 0;

    for (Py_ssize_t i = 0; i < cls->count; i++) {
        if (values[i] == NULL) {
            names[missing++] = cls->names[i];
        }
    }
    // Only UpdateSecret requires arguments, and these are two.
    if (missing == 1) {
        PyErr_Format(PyExc_TypeError, INIT_OF " missing 1 required positional argument: %R", cls->name,
                     names[0]);
    } else {
        PyErr_Format(PyExc_TypeError, INIT_OF " missing %d required positional arguments: %R and %R",
                     cls->name, missing, names[0], names[1]);
    }
}

static void
raise_too_many(const cpika_class *cls, Py_ssize_t given)
{
    Py_ssize_t required = 0;

    while (required < cls->count && cls->defaults[required] == NULL) {
        required++;
    }
    if (required == cls->count) {
        PyErr_Format(PyExc_TypeError, INIT_OF " takes %zd positional argument%s but %zd were given",
                     cls->name, cls->count + 1, cls->count == 0 ? "" : "s", given + 1);
    } else {
        PyErr_Format(PyExc_TypeError,
                     INIT_OF " takes from %zd to %zd positional arguments but %zd were given", cls->name,
                     required + 1, cls->count + 1, given + 1);
    }
}

static Py_ssize_t
find_field(const cpika_class *cls, PyObject *name)
{
    for (Py_ssize_t i = 0; i < cls->count; i++) {
        if (cls->names[i] == name) {
            return i;
        }
    }
    for (Py_ssize_t i = 0; i < cls->count; i++) {
        if (PyUnicode_Compare(cls->names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

/* `values[i]` = value, of the field with that name. */
static int
bind_keyword(const cpika_class *cls, PyObject *name, PyObject *value, PyObject **values)
{
    Py_ssize_t i = find_field(cls, name);

    if (i < 0) {
        PyErr_Format(PyExc_TypeError, INIT_OF " got an unexpected keyword argument '%U'", cls->name, name);
        return -1;
    }
    if (values[i] != NULL) {
        PyErr_Format(PyExc_TypeError, INIT_OF " got multiple values for argument '%U'", cls->name, name);
        return -1;
    }
    values[i] = value;
    return 0;
}

static void
bind_positional(const cpika_class *cls, PyObject *const *args, Py_ssize_t given, PyObject **values)
{
    for (Py_ssize_t i = 0; i < cls->count; i++) {
        values[i] = i < given ? args[i] : NULL;
    }
}

/* Fills in the defaults, and takes references to all. */
static int
bind_rest(const cpika_class *cls, Py_ssize_t given, PyObject **values)
{
    bool complete = true;

    if (given > cls->count) {
        raise_too_many(cls, given);
        return -1;
    }
    for (Py_ssize_t i = 0; i < cls->count; i++) {
        values[i] = values[i] == NULL ? cls->defaults[i] : values[i];
        complete = complete && values[i] != NULL;
    }
    if (!complete) {
        raise_missing(cls, values);
        return -1;
    }
    for (Py_ssize_t i = 0; i < cls->count; i++) {
        Py_INCREF(values[i]);
    }
    return 0;
}

/* self.field = value for all; takes the references out of `values`, also on error. */
static int
set_fields(CpikaObject *self, PyObject **values)
{
    cpika_class *cls = self->cls;
    PyObject *mode;

    if (cls == &cls->values->basic_properties
        && PyObject_TypeCheck(values[CPIKA_PROP_delivery_mode],
                              (PyTypeObject *)cls->values->delivery_mode_type)) {
        mode = PyObject_GetAttr(values[CPIKA_PROP_delivery_mode], cls->values->str_value);
        Py_SETREF(values[CPIKA_PROP_delivery_mode], mode == NULL ? Py_NewRef(Py_None) : mode);
        if (mode == NULL) {
            cpika_object_set_all(self, values);
            return -1;
        }
    }
    return cpika_object_set_all(self, values);
}

int
cpika_object_init(PyObject *op, PyObject *args, PyObject *kwds)
{
    CPIKA_GATE;
    CpikaObject *self = cpika_object_of(op);
    Py_ssize_t given = PyTuple_GET_SIZE(args);
    Py_ssize_t pos = 0;
    PyObject *values[CPIKA_MAX_FIELDS];
    PyObject *name;
    PyObject *value;

    if (self == NULL || (kwds != NULL && !PyArg_ValidateKeywordArguments(kwds))) {
        return -1;
    }
    bind_positional(self->cls, &PyTuple_GET_ITEM(args, 0), given, values);
    while (kwds != NULL && PyDict_Next(kwds, &pos, &name, &value)) {
        if (bind_keyword(self->cls, name, value, values) < 0) {
            return -1;
        }
    }
    return bind_rest(self->cls, given, values) < 0 ? -1 : set_fields(self, values);
}

/* The call as type.__call__ has it, by the __new__ or __init__ that somebody has put in. */
static PyObject *
call_replaced(PyObject *type, PyObject *const *args, Py_ssize_t given, PyObject *kwnames)
{
    PyObject *positional = PyTuple_New(given);
    PyObject *keywords = kwnames == NULL ? NULL : PyDict_New();
    PyObject *made = NULL;
    int rc = positional == NULL || (kwnames != NULL && keywords == NULL) ? -1 : 0;

    for (Py_ssize_t i = 0; rc == 0 && i < given; i++) {
        PyTuple_SET_ITEM(positional, i, Py_NewRef(args[i]));
    }
    for (Py_ssize_t i = 0; rc == 0 && kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        rc = PyDict_SetItem(keywords, PyTuple_GET_ITEM(kwnames, i), args[given + i]);
    }
    if (rc == 0) {
        made = PyType_Type.tp_call(type, positional, keywords);
    }
    Py_XDECREF(positional);
    Py_XDECREF(keywords);
    return made;
}

PyObject *
cpika_object_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    CPIKA_GATE;
    cpika_class *cls = cpika_class_of((PyTypeObject *)type);
    Py_ssize_t given = PyVectorcall_NARGS(nargsf);
    PyObject *values[CPIKA_MAX_FIELDS];
    CpikaObject *self;

    if (cls == NULL) {
        return NULL;
    }
    if (!cpika_class_is_untouched(cls)) {
        return call_replaced(type, args, given, kwnames);
    }
    bind_positional(cls, args, given, values);
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        if (bind_keyword(cls, PyTuple_GET_ITEM(kwnames, i), args[given + i], values) < 0) {
            return NULL;
        }
    }
    self = cpika_object_fresh(cls);
    if (self != NULL && (bind_rest(cls, given, values) < 0 || set_fields(self, values) < 0)) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}
