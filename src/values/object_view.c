/* object_view.c - what a value looks like from outside: repr, ==, pickle.  See object.h.
 * Layer: values.  Owns: nothing.  Threads: the caller holds the GIL.
 * Errors: NULL with an exception set. */
#include "object.h"

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
        text = format == NULL ? NULL : PyUnicode_FromFormat("%U=%U", key, format);
    } else if (shown == 0) {
        text = Py_NewRef(Py_None);
    }
    Py_DECREF(of_class);
    Py_XDECREF(differs);
    Py_XDECREF(format);
    return text;
}

/* New sorted list of the shown items. */
static PyObject *
repr_items(PyObject *op, PyObject *fields)
{
    PyObject *pairs = PyMapping_Items(fields);
    PyObject *items = PyList_New(0);
    int rc = pairs == NULL || items == NULL ? -1 : 0;

    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(pairs); i++) {
        PyObject *pair = PyList_GET_ITEM(pairs, i);
        PyObject *item = repr_item(op, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
        rc = item == NULL ? -1 : item == Py_None ? 0 : PyList_Append(items, item);
        Py_XDECREF(item);
    }
    if (rc == 0) {
        rc = PyList_Sort(items);
    }
    if (rc < 0) {
        Py_CLEAR(items);
    }
    Py_XDECREF(pairs);
    return items;
}

PyObject *
cpika_object_repr(PyObject *op)
{
    CpikaObject *self = (CpikaObject *)op;
    PyObject *fields = NULL;
    PyObject *items = NULL;
    PyObject *name = NULL;
    PyObject *result = NULL;

    fields = cpika_object_fields(self);
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
    PyObject *mine;
    PyObject *theirs;
    PyObject *result = NULL;

    if (operation != Py_EQ) {
        // Python makes != of ==.
        return operation == Py_NE ? PyBaseObject_Type.tp_richcompare(op, other, operation)
                                  : Py_NewRef(Py_NotImplemented);
    }
    if (other == Py_None) {
        Py_RETURN_FALSE;
    }
    mine = cpika_object_fields((CpikaObject *)op);
    if (mine == NULL) {
        return NULL;
    }
    theirs = cpika_object_is_exact(other)
                 ? cpika_object_fields((CpikaObject *)other)
                 : PyObject_GetAttr(other, ((CpikaObject *)op)->cls->values->str_dict);
    if (theirs != NULL) {
        result = PyObject_RichCompare(mine, theirs, Py_EQ);
        Py_DECREF(theirs);
    }
    Py_DECREF(mine);
    return result;
}

PyObject *
cpika_object_getstate(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return cpika_object_fields((CpikaObject *)op);
}

PyObject *
cpika_object_reduce(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    cpika_values *v = ((CpikaObject *)op)->cls->values;
    PyObject *state = PyObject_CallMethodObjArgs(op, v->str_getstate, NULL);

    return state == NULL ? NULL : Py_BuildValue("O(O)N", v->newobj, Py_TYPE(op), state);
}
