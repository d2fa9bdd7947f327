/* object_view.c - what a value looks like from outside: repr, ==, pickle.  See object.h.
 * Layer: values.  Owns: nothing.  Threads: the caller holds the GIL.
 * Errors: NULL with an exception set. */
#include "object.h"

#include "gate.h"
/* "key=value".  A key is a str: attributes have no other names; a subclass of str may have a format of its own. */
static PyObject *
key_and_value(PyObject *key, PyObject *value)
{
    PyObject *name = PyObject_Format(key, NULL);
    PyObject *text = name == NULL ? NULL : PyUnicode_FromFormat("%U=%U", name, value);

    Py_XDECREF(name);
    return text;
}

/* "key=value", or None where the class has an attribute of that value (a field's descriptor counts as none). */
static PyObject *
repr_item(PyObject *op, PyObject *key, PyObject *value)
{
    PyObject *text = NULL;
    PyObject *differs = NULL;
    PyObject *format = NULL;
    PyObject *of_class = PyObject_GetAttr((PyObject *)Py_TYPE(op), key);
    int shown;

    if (of_class == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return NULL;
        }
        PyErr_Clear();
    }
    if (of_class == NULL || Py_TYPE(of_class) == &PyGetSetDescr_Type) {
        Py_XSETREF(of_class, Py_NewRef(Py_None));
    }
    differs = PyObject_RichCompare(of_class, value, Py_NE);
    shown = differs == NULL ? -1 : PyObject_IsTrue(differs);
    if (shown > 0) {
        format = PyObject_Format(value, NULL);
        text = format == NULL ? NULL : key_and_value(key, format);
    } else if (shown == 0) {
        text = Py_NewRef(Py_None);
    }
    Py_DECREF(of_class);
    Py_XDECREF(differs);
    Py_XDECREF(format);
    return text;
}

/* New list of the shown items, as they come.  `fields` may be of a subclass of dict, with items() of its own. */
static PyObject *
repr_list(PyObject *op, PyObject *fields)
{
    PyObject *pairs = PyObject_CallMethodObjArgs(fields, ((CpikaObject *)op)->cls->values->str_items, NULL);
    PyObject *iterator = pairs == NULL ? NULL : PyObject_GetIter(pairs);
    PyObject *items = iterator == NULL ? NULL : PyList_New(0);
    PyObject *pair = NULL;

    while (items != NULL && (pair = PyIter_Next(iterator)) != NULL) {
        PyObject *key;
        PyObject *value;
        PyObject *item = NULL;
        if (cpika_unpack_pair(pair, &key, &value) == 0) {
            item = repr_item(op, key, value);
            Py_DECREF(key);
            Py_DECREF(value);
        }
        if (item == NULL || (item != Py_None && PyList_Append(items, item) < 0)) {
            Py_CLEAR(items);
        }
        Py_XDECREF(item);
        Py_DECREF(pair);
    }
    if (items != NULL && PyErr_Occurred()) {
        Py_CLEAR(items);
    }
    Py_XDECREF(pairs);
    Py_XDECREF(iterator);
    return items;
}

/* The same, sorted. */
static PyObject *
repr_items(PyObject *op, PyObject *fields)
{
    PyObject *items = repr_list(op, fields);

    if (items != NULL && PyList_Sort(items) < 0) {
        Py_CLEAR(items);
    }
    return items;
}

PyObject *
cpika_object_repr(PyObject *op)
{
    CPIKA_GATE;
    CpikaObject *self = cpika_object_of(op);
    PyObject *fields = NULL;
    PyObject *items = NULL;
    PyObject *name = NULL;
    PyObject *result = NULL;

    fields = self == NULL ? NULL : cpika_object_fields(self);
    if (fields == NULL) {
        goto done;
    }
    items = repr_items(op, fields);
    if (items == NULL) {
        goto done;
    }
    name = PyObject_GetAttrString(op, "NAME");
    if (name == NULL) {
        goto done;
    }
    result = PyList_GET_SIZE(items) == 0 ? PyUnicode_FromFormat("<%S>", name)
                                         : PyUnicode_FromFormat("<%S(%R)>", name, items);

done:
    Py_XDECREF(fields);
    Py_XDECREF(items);
    Py_XDECREF(name);
    return result;
}

/* Equal are objects of any class whose dicts are equal. */
PyObject *
cpika_object_richcompare(PyObject *op, PyObject *other, int operation)
{
    CPIKA_GATE;
    CpikaObject *self = cpika_object_of(op);
    PyObject *mine;
    PyObject *theirs;
    PyObject *result = NULL;

    if (self == NULL) {
        return NULL;
    }
    if (operation != Py_EQ) {
        // Python makes != of ==.
        return operation == Py_NE ? PyBaseObject_Type.tp_richcompare(op, other, operation)
                                  : Py_NewRef(Py_NotImplemented);
    }
    if (other == Py_None) {
        Py_RETURN_FALSE;
    }
    mine = cpika_object_fields(self);
    if (mine == NULL) {
        return NULL;
    }
    theirs = cpika_object_is_exact(other) ? cpika_object_fields((CpikaObject *)other)
                                          : PyObject_GetAttr(other, self->cls->values->str_dict);
    if (theirs != NULL) {
        result = PyObject_RichCompare(mine, theirs, Py_EQ);
        Py_DECREF(theirs);
    }
    Py_DECREF(mine);
    return result;
}

/* ---- the class ---- */

PyObject *
cpika_object_get_class(PyObject *op, void *Py_UNUSED(closure))
{
    CPIKA_GATE;
    return Py_NewRef((PyObject *)Py_TYPE(op));
}

int
cpika_object_set_class(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    CPIKA_GATE;
    CpikaObject *self = cpika_object_of(op);
    cpika_class *cls = self == NULL ? NULL : self->cls;

    if (cls == NULL) {
        return -1;
    }
    if (value == NULL || !PyType_Check(value) || !PyType_IsSubtype((PyTypeObject *)value, cls->type)
        || cpika_class_of((PyTypeObject *)value) != cls) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_TypeError, "__class__ must be %.100s or a class derived from it, but got %R",
                         cls->type->tp_name, value == NULL ? Py_None : value);
        }
        return -1;
    }
    PyObject *slots = PyObject_GetAttrString((PyObject *)&PyBaseObject_Type, "__dict__");
    PyObject *descriptor = slots == NULL ? NULL : PyMapping_GetItemString(slots, "__class__");
    int rc = descriptor == NULL || cpika_object_dict(self) == NULL
                 ? -1
                 : Py_TYPE(descriptor)->tp_descr_set(descriptor, op, value);
    Py_XDECREF(slots);
    Py_XDECREF(descriptor);
    return rc;
}

/* ---- copies ---- */

/* New dict: what the __slots__ of a subclass hold.  NULL with an exception. */
static PyObject *
slots_of(cpika_values *v, PyObject *op)
{
    PyObject *names = PyObject_CallOneArg(v->slotnames, (PyObject *)Py_TYPE(op));
    PyObject *slots = names == NULL ? NULL : PyDict_New();
    PyObject *all = slots == NULL ? NULL : PySequence_Tuple(names);
    int rc = all == NULL ? -1 : 0;

    for (Py_ssize_t i = 0; rc == 0 && i < PyTuple_GET_SIZE(all); i++) {
        PyObject *name = PyTuple_GET_ITEM(all, i);
        PyObject *value = PyObject_GetAttr(op, name);
        if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();  // not set
            continue;
        }
        rc = value == NULL ? -1 : PyDict_SetItem(slots, name, value);
        Py_XDECREF(value);
    }
    Py_XDECREF(names);
    Py_XDECREF(all);
    if (rc < 0) {
        Py_CLEAR(slots);
    }
    return slots;
}

PyObject *
cpika_object_getstate(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    CPIKA_GATE;
    CpikaObject *self = cpika_object_of(op);
    PyObject *fields = self == NULL ? NULL : cpika_object_fields(self);
    PyObject *slots = fields == NULL || cpika_object_is_exact(op) ? NULL : slots_of(self->cls->values, op);

    if (fields == NULL || PyErr_Occurred()) {
        Py_XDECREF(fields);
        return NULL;
    }
    if (PyDict_GET_SIZE(fields) == 0) {  // as Python has it
        Py_SETREF(fields, Py_NewRef(Py_None));
    }
    if (slots == NULL || PyDict_GET_SIZE(slots) == 0) {
        Py_XDECREF(slots);
        return fields;
    }
    return Py_BuildValue("NN", fields, slots);
}
