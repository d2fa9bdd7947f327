/* object.h - what all value types share: fields in slots, a __dict__ made when asked for, free lists.
 * Layer: values.
 * Owns: nothing of its own; objects own their slots and dict.
 * Threads: the caller holds the GIL.
 * Errors: NULL or -1 with an exception set.
 *
 * pika's values are plain Python objects: vars(x) is the fields, writable, and any attribute can be added.  Here the
 * fields stand in slots until somebody asks for the dict, adds an attribute or deletes one.  From then on the dict
 * alone holds them.  An object of a subclass has its dict from birth, so that it behaves as Python's rules say.
 *
 * All are made by object.__new__: no type has a __new__ of its own, since Python makes objects by that of the base that
 * it knows where it pickles and copies, and looks for abstract methods there.  What is ours is where the memory is from
 * (tp_alloc), for our own types.  That of a subclass is Python's: its objects come zeroed, and cpika_object_of() makes
 * them whole. */
#ifndef CPIKA_VALUES_OBJECT_H
#define CPIKA_VALUES_OBJECT_H

#include "values.h"

/* The slots follow the struct, as many as the class has fields; NULL: the attribute is missing. */
typedef struct cpika_object {
    PyObject_HEAD
    PyObject *dict;  // owned; NULL: the slots hold the fields
    PyObject *weakrefs;
    cpika_class
        *cls;  // borrowed: in the state of the module, which the type holds.  NULL: see cpika_object_of()
    uint32_t count;    // of slots; not taken from cls, which the collector may free before the last object
    uint32_t raw_len;  // BasicProperties: > 0 while the slots' place holds undecoded bytes instead (props.c)
    uint64_t delivery_tag;  // Basic.Deliver: its int is made when asked for; 0: it stands in its slot
} CpikaObject;

enum { CPIKA_DELIVER_TAG = 1 };  // Basic.Deliver: the field delivery_tag

static inline PyObject **
cpika_object_slots(CpikaObject *self)
{
    return (PyObject **)(self + 1);
}

/* Slots for PyType_Spec. */
PyObject *cpika_object_alloc(PyTypeObject *type, Py_ssize_t items);
int cpika_object_init(PyObject *op, PyObject *args, PyObject *kwds);
void cpika_object_dealloc(PyObject *op);
int cpika_object_traverse(PyObject *op, visitproc visit, void *arg);
int cpika_object_clear(PyObject *op);

/* tp_vectorcall of the types that have cpika_object_init: calls of exactly those. */
PyObject *cpika_object_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *kwnames);

/* For PyGetSetDef; the closure is the field's number. */
PyObject *cpika_object_getter(PyObject *op, void *closure);
int cpika_object_setter(PyObject *op, PyObject *value, void *closure);

/* Whether `op` is of exactly one of our types, none that a class statement made. */
static inline bool
cpika_object_is_exact(PyObject *op)
{
    return Py_TYPE(op)->tp_dealloc == cpika_object_dealloc;
}

/* Whether objects may be made without calling the type: nobody replaced __init__ or __new__. */
static inline bool
cpika_class_is_untouched(const cpika_class *cls)
{
    return cls->type->tp_init == cpika_object_init && cls->type->tp_new == PyBaseObject_Type.tp_new;
}

/* Makes an object of a subclass whole that nobody has looked at since it was made. */
int cpika_object_join(CpikaObject *self);

/* An object that Python hands in.  NULL with an exception. */
static inline CpikaObject *
cpika_object_of(PyObject *op)
{
    CpikaObject *self = (CpikaObject *)op;
    return self->cls != NULL || cpika_object_join(self) == 0 ? self : NULL;
}

/* The class of ours that `type` is, or is derived from.  NULL with an exception. */
cpika_class *cpika_class_of(PyTypeObject *type);

/* New object of exactly the class's type, not tracked by the collector, its slots NULL. */
CpikaObject *cpika_object_fresh(cpika_class *cls);

/* Has the collector look at `self` if `value`, which it now holds, could be part of a cycle. */
static inline void
cpika_object_track_for(CpikaObject *self, PyObject *value)
{
    if (PyObject_IS_GC(value) && !PyObject_GC_IsTracked((PyObject *)self)) {
        PyObject_GC_Track(self);
    }
}

/* New reference to a field, or NULL with AttributeError. */
PyObject *cpika_object_get(CpikaObject *self, Py_ssize_t field);

/* Stores a field (`value` borrowed), or deletes it (NULL). */
int cpika_object_set(CpikaObject *self, Py_ssize_t field, PyObject *value);

/* What `self.field` is in Python: a subclass may have put a property in a field's place. */
PyObject *cpika_object_read(CpikaObject *self, Py_ssize_t field);

/* self.field = value for all fields; takes the references out of `values`, also on error. */
int cpika_object_set_all(CpikaObject *self, PyObject **values);

/* The dict, borrowed; made, and from now on the truth, if there was none. */
PyObject *cpika_object_dict(CpikaObject *self);

/* New reference to a dict of the fields, which is the object's own only if it has one. */
PyObject *cpika_object_fields(CpikaObject *self);

/* object_view.c: __repr__, __eq__ and __ne__, __getstate__. */
PyObject *cpika_object_repr(PyObject *op);
PyObject *cpika_object_richcompare(PyObject *op, PyObject *other, int operation);
PyObject *cpika_object_getstate(PyObject *op, PyObject *ignored);

/* __class__.  Set to a class with the same fields only: they stand in slots, and what is known of them is the class's. */
PyObject *cpika_object_get_class(PyObject *op, void *closure);
int cpika_object_set_class(PyObject *op, PyObject *value, void *closure);

/* pairs.c: the two halves, new references, of what an items() gave; -1 with the error of `key, value = pair`. */
int cpika_unpack_pair(PyObject *pair, PyObject **key, PyObject **value);

/* props.c: decodes what raw_len stands for, or throws it away. */
int cpika_props_settle(CpikaObject *self);
void cpika_props_drop_raw(CpikaObject *self);

/* Fills in a class and makes its type, whose base and slots are given.  `qualname` is the name inside `module_name`. */
int cpika_class_init(cpika_class *cls, cpika_values *v, PyObject *module, const char *module_name,
                     const char *qualname, PyObject *base, const PyType_Slot *own_slots);
int cpika_class_traverse(cpika_class *cls, visitproc visit, void *arg);
void cpika_class_clear(cpika_class *cls);

/* The slots of AMQPObject. */
extern const PyType_Slot cpika_amqp_object_slots[];

#endif
