/* object.c - what all value types share.  See object.h.
 * Layer: values.  Owns: nothing of its own.  Threads: the caller holds the GIL.
 * Errors: NULL or -1 with an exception set. */
#include "object.h"

#include <structmember.h>

#include "gate.h"
#include "wire/hot.h"

/* ---- birth and death ---- */

cpika_class *
cpika_class_of(PyTypeObject *type)
{
    cpika_values *v;

    // A class statement gives its types a dealloc of Python's: the first with ours is of our making.
    while (type->tp_dealloc != cpika_object_dealloc) {
        type = type->tp_base;
    }
    v = (cpika_values *)PyType_GetModuleState(type);
    if (v == NULL) {
        return NULL;
    }
    if (type == v->basic_properties.type) {
        return &v->basic_properties;
    }
    if (type == v->amqp_object.type) {  // the base of frames
        return &v->amqp_object;
    }
    for (int i = 0; i < CPIKA_METHOD_COUNT; i++) {
        if (type == v->methods[i].type) {
            return &v->methods[i];
        }
    }
    return type == v->method.type ? &v->method : type == v->properties.type ? &v->properties : &v->klass;
}

CpikaObject *
cpika_object_fresh(cpika_class *cls)
{
    CpikaObject *self;

    if (cls->free_count > 0) {
        // Left without dict, weak references, raw bytes and slots by its dealloc.
        self = cls->free[--cls->free_count];
        PyObject_Init((PyObject *)self, cls->type);
        return self;
    }
    self = PyObject_GC_New(CpikaObject, cls->type);
    if (self != NULL) {
        self->dict = NULL;
        self->weakrefs = NULL;
        self->cls = cls;
        self->count = (uint32_t)cls->count;
        self->raw_len = 0;
        self->delivery_tag = 0;
        for (uint32_t i = 0; i < self->count; i++) {
            cpika_object_slots(self)[i] = NULL;
        }
    }
    return self;
}

PyObject *
cpika_object_alloc(PyTypeObject *type, Py_ssize_t items)
{
    CPIKA_GATE;
    cpika_class *cls = cpika_class_of(type);
    CpikaObject *self;

    if (cls == NULL || cls->type != type) {
        return cls == NULL ? NULL : PyType_GenericAlloc(type, items);
    }
    self = cpika_object_fresh(cls);
    if (self != NULL) {
        PyObject_GC_Track(self);  // CPython 3.11 and 3.12 are about to give it a dict
    }
    return (PyObject *)self;
}

int
cpika_object_join(CpikaObject *self)
{
    cpika_class *cls = cpika_class_of(Py_TYPE(self));
    PyObject *dict = NULL;

    if (cls == NULL || (self->dict == NULL && (dict = PyDict_New()) == NULL)) {
        return -1;
    }
    // A new dict may have CPython collect, and what is collected may have been here.
    if (self->dict == NULL) {
        self->dict = dict;
        dict = NULL;
    }
    self->count = (uint32_t)cls->count;
    self->cls = cls;
    Py_XDECREF(dict);
    return 0;
}

int
cpika_object_traverse(PyObject *op, visitproc visit, void *arg)
{
    CpikaObject *self = (CpikaObject *)op;

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->dict);
    if (self->raw_len == 0) {
        for (uint32_t i = 0; i < self->count; i++) {
            Py_VISIT(cpika_object_slots(self)[i]);
        }
    }
    return 0;
}

int
cpika_object_clear(PyObject *op)
{
    CPIKA_GATE;
    CpikaObject *self = (CpikaObject *)op;

    self->delivery_tag = 0;
    if (self->raw_len > 0) {
        cpika_props_drop_raw(self);  // all slots are NULL then
    } else {
        for (uint32_t i = 0; i < self->count; i++) {
            Py_CLEAR(cpika_object_slots(self)[i]);
        }
    }
    Py_CLEAR(self->dict);
    return 0;
}

/* Puts a dead object aside for the next of its type.  The module may be gone before its last object: the collector
 * takes it from the type first. */
static bool
keep_dead(CpikaObject *self, PyTypeObject *type)
{
    cpika_class *cls = self->cls;

    if (((PyHeapTypeObject *)type)->ht_module == NULL || cls == NULL || cls->free_count >= cls->free_limit) {
        return false;
    }
    cls->free[cls->free_count++] = self;
    return true;
}

/* Drops what the object holds, and its memory.  `exact`: cpika_object_is_exact. */
CPIKA_HOT void
destroy(PyObject *op, bool exact)
{
    PyTypeObject *type = Py_TYPE(op);

    cpika_object_clear(op);
    if (!exact || type->tp_finalize != NULL || !keep_dead((CpikaObject *)op, type)) {
        type->tp_free(op);
    }
    Py_DECREF(type);
}

/* What holds another of its kind, and that one the next, dies without the C stack growing with each: an object that
 * holds nothing such is untracked, and needs no such care.  (One of a subclass gets it from Python's own dealloc.) */
static void
destroy_chained(PyObject *op)
{
    Py_TRASHCAN_BEGIN(op, cpika_object_dealloc);
    destroy(op, true);
    Py_TRASHCAN_END;
}

void
cpika_object_dealloc(PyObject *op)
{
    bool exact = cpika_object_is_exact(op);

    if (exact && Py_TYPE(op)->tp_finalize != NULL && PyObject_CallFinalizerFromDealloc(op) < 0) {
        return;
    }
    bool chained = exact && PyObject_GC_IsTracked(op);
    if (chained || !exact) {
        PyObject_GC_UnTrack(op);
    }
    cpika_clear_weakrefs(op, &((CpikaObject *)op)->weakrefs);
    if (chained) {
        destroy_chained(op);
    } else {
        destroy(op, exact);
    }
}

/* ---- fields ---- */

static int
attribute_error(CpikaObject *self, PyObject *name)
{
    PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '%U'", Py_TYPE(self)->tp_name, name);
    return -1;
}

/* Makes what the slots do not hold yet. */
static int
settle(CpikaObject *self)
{
    if (self->raw_len > 0) {
        return cpika_props_settle(self);
    }
    if (self->delivery_tag > 0) {
        PyObject *number = PyLong_FromUnsignedLongLong(self->delivery_tag);
        if (number == NULL) {
            return -1;
        }
        cpika_object_slots(self)[CPIKA_DELIVER_TAG] = number;
        self->delivery_tag = 0;
    }
    return 0;
}

PyObject *
cpika_object_get(CpikaObject *self, Py_ssize_t field)
{
    PyObject *value;

    if (settle(self) < 0) {
        return NULL;
    }
    if (self->dict == NULL) {
        value = Py_XNewRef(cpika_object_slots(self)[field]);
    } else {
        PyObject *dict = Py_NewRef(self->dict);  // a key's __eq__ may put another one in its place
        value = cpika_dict_get(dict, self->cls->names[field]);
        Py_DECREF(dict);
    }
    if (value == NULL && !PyErr_Occurred()) {
        attribute_error(self, self->cls->names[field]);
    }
    return value;
}

/* Deletes from the dict: what is missing there is no KeyError but an AttributeError. */
static int
delete_field(CpikaObject *self, PyObject *name)
{
    PyObject *dict = Py_XNewRef(cpika_object_dict(self));  // a key's __eq__ may put another one in its place
    int found = dict == NULL ? -1 : PyDict_Contains(dict, name);
    int rc = found < 0 ? -1 : found == 0 ? attribute_error(self, name) : PyDict_DelItem(dict, name);

    Py_XDECREF(dict);
    return rc;
}

int
cpika_object_set(CpikaObject *self, Py_ssize_t field, PyObject *value)
{
    PyObject *old;

    if (settle(self) < 0) {
        return -1;
    }
    if (value == NULL) {
        return delete_field(self, self->cls->names[field]);
    }
    if (self->dict != NULL) {
        PyObject *dict = Py_NewRef(self->dict);  // as above
        int rc = PyDict_SetItem(dict, self->cls->names[field], value);
        Py_DECREF(dict);
        return rc;
    }
    old = cpika_object_slots(self)[field];
    cpika_object_slots(self)[field] = Py_NewRef(value);
    cpika_object_track_for(self, value);
    Py_XDECREF(old);
    return 0;
}

PyObject *
cpika_object_read(CpikaObject *self, Py_ssize_t field)
{
    return cpika_object_is_exact((PyObject *)self)
               ? cpika_object_get(self, field)
               : PyObject_GetAttr((PyObject *)self, self->cls->names[field]);
}

int
cpika_object_set_all(CpikaObject *self, PyObject **values)
{
    bool exact = cpika_object_is_exact((PyObject *)self);
    int rc = 0;

    if (self->raw_len > 0) {
        cpika_props_drop_raw(self);
    }
    for (uint32_t i = 0; i < self->count; i++) {
        if (rc == 0) {
            rc = exact ? cpika_object_set(self, i, values[i])
                       : PyObject_SetAttr((PyObject *)self, self->cls->names[i], values[i]);
        }
        Py_CLEAR(values[i]);
    }
    return rc;
}

/* New dict of the fields in the slots. */
static PyObject *
slots_as_dict(CpikaObject *self)
{
    PyObject *dict = PyDict_New();

    for (Py_ssize_t i = 0; dict != NULL && i < self->cls->count; i++) {
        PyObject *value = cpika_object_slots(self)[i];
        if (value != NULL && PyDict_SetItem(dict, self->cls->names[i], value) < 0) {
            Py_CLEAR(dict);
        }
    }
    return dict;
}

PyObject *
cpika_object_dict(CpikaObject *self)
{
    if (self->dict == NULL) {
        if (settle(self) < 0) {
            return NULL;
        }
        PyObject *dict = slots_as_dict(self);
        if (dict == NULL) {
            return NULL;
        }
        // A new dict may have CPython collect, and what is collected may have asked for it.
        if (self->dict != NULL) {
            Py_DECREF(dict);
            return self->dict;
        }
        self->dict = dict;
        for (Py_ssize_t i = 0; i < self->cls->count; i++) {
            Py_CLEAR(cpika_object_slots(self)[i]);  // the dict holds the value: nothing dies here
        }
        if (!PyObject_GC_IsTracked((PyObject *)self)) {
            PyObject_GC_Track(self);
        }
    }
    return self->dict;
}

PyObject *
cpika_object_fields(CpikaObject *self)
{
    if (self->dict != NULL) {
        return Py_NewRef(self->dict);
    }
    PyObject *fields = settle(self) < 0 ? NULL : slots_as_dict(self);
    if (fields != NULL && self->dict != NULL) {  // as above
        Py_SETREF(fields, Py_NewRef(self->dict));
    }
    return fields;
}

PyObject *
cpika_object_getter(PyObject *op, void *closure)
{
    CPIKA_GATE;
    CpikaObject *self = cpika_object_of(op);

    return self == NULL ? NULL : cpika_object_get(self, (Py_ssize_t)(intptr_t)closure);
}

int
cpika_object_setter(PyObject *op, PyObject *value, void *closure)
{
    CPIKA_GATE;
    CpikaObject *self = cpika_object_of(op);

    return self == NULL ? -1 : cpika_object_set(self, (Py_ssize_t)(intptr_t)closure, value);
}

static PyObject *
get_dict(PyObject *op, void *Py_UNUSED(closure))
{
    CPIKA_GATE;
    CpikaObject *self = cpika_object_of(op);

    return self == NULL ? NULL : Py_XNewRef(cpika_object_dict(self));
}

static int
set_dict(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    CPIKA_GATE;
    CpikaObject *self = cpika_object_of(op);
    PyObject *old;

    if (self == NULL) {
        return -1;
    }
    if (value != NULL && !PyDict_Check(value)) {
        PyErr_Format(PyExc_TypeError, "__dict__ must be set to a dictionary, not a '%.200s'",
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    if (cpika_object_dict(self) == NULL) {
        return -1;
    }
    value = value == NULL ? PyDict_New() : Py_NewRef(value);
    if (value == NULL) {
        return -1;
    }
    old = self->dict;
    self->dict = value;
    Py_DECREF(old);
    return 0;
}

static bool
is_field(const cpika_class *cls, PyObject *name)
{
    for (Py_ssize_t i = 0; i < cls->count; i++) {
        if (cls->names[i] == name) {
            return true;
        }
    }
    return false;
}

/* An attribute that is no field: it goes to the dict, or to a descriptor of the type, as Python's rules say. */
static int
object_setattro(PyObject *op, PyObject *name, PyObject *value)
{
    CPIKA_GATE;
    CpikaObject *self = cpika_object_of(op);

    if (self == NULL) {
        return -1;
    }
    if (self->dict == NULL && !is_field(self->cls, name) && cpika_object_dict(self) == NULL) {
        return -1;
    }
    return PyObject_GenericSetAttr(op, name, value);
}

/* ---- the slots of AMQPObject ---- */

static PyMethodDef object_methods[] = {
    {"__getstate__", cpika_object_getstate, METH_NOARGS, "The fields, as a dict."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef object_getset[] = {
    {"__class__", cpika_object_get_class, cpika_object_set_class, NULL, NULL},
    {"__dict__", get_dict, set_dict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef object_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(CpikaObject, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(CpikaObject, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

const PyType_Slot cpika_amqp_object_slots[] = {
    {Py_tp_repr, cpika_object_repr},
    {Py_tp_richcompare, cpika_object_richcompare},
    {Py_tp_setattro, object_setattro},
    {Py_tp_methods, object_methods},
    {Py_tp_getset, object_getset},
    {Py_tp_members, object_members},
    {0, NULL},
};
