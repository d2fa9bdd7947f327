/* open_block.c - see open_block.h.
 * Layer: values.  Owns: see open_block.h.  Threads: see open_block.h.  Errors: see open_block.h. */
#include "open_block.h"

#include "gate.h"

typedef struct {
    PyObject_HEAD
    PyObject *manager;  // owned; NULL: it was called
    const cpika_block_kind *kind;
    size_t depth;  // of whoever has found it, then
} block_exit;

typedef struct {
    PyObject_HEAD
    PyObject *method;         // owned: what the type had
    PyTypeObject *exit_type;  // owned
    PyTypeObject *owner;      // owned: the type that it is in
    const cpika_block_kind *kind;
} exit_descriptor;

/* ---- on the stack ---- */

static PyObject *
block_exit_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    CPIKA_GATE;
    block_exit *self = (block_exit *)op;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "__exit__() takes no keyword arguments");
        return NULL;
    }
    PyObject *manager = self->manager;
    if (manager == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the block is over");
        return NULL;
    }
    self->manager = NULL;
    PyObject *result = self->kind->exit(manager, args);
    Py_DECREF(manager);
    return result;
}

static int
block_exit_traverse(PyObject *op, visitproc visit, void *arg)
{
    block_exit *self = (block_exit *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->manager);
    return 0;
}

static void
block_exit_dealloc(PyObject *op)
{
    CPIKA_GATE;
    block_exit *self = (block_exit *)op;
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    PyObject *manager = self->manager;
    self->manager = NULL;
    if (manager != NULL) {
        if (self->kind->depth(manager) > self->depth) {
            self->kind->abandon(manager);
        }
        Py_DECREF(manager);
    }
    type->tp_free(op);
    Py_DECREF(type);
}

static PyType_Slot block_exit_slots[] = {
    {Py_tp_call, block_exit_call},
    {Py_tp_traverse, block_exit_traverse},
    {Py_tp_dealloc, block_exit_dealloc},
    {0, NULL},
};

static PyType_Spec block_exit_spec = {
    .name = "cpika._core._BlockExit",
    .basicsize = sizeof(block_exit),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = block_exit_slots,
};

/* ---- in the type ---- */

static PyObject *
descriptor_get(PyObject *op, PyObject *manager, PyObject *Py_UNUSED(type))
{
    CPIKA_GATE;
    exit_descriptor *self = (exit_descriptor *)op;
    if (manager == NULL || manager == Py_None) {
        return Py_NewRef(self->method);
    }
    if (!PyObject_TypeCheck(manager, self->owner)) {
        return PyErr_Format(PyExc_TypeError,
                            "descriptor '__exit__' for '%.100s' objects doesn't apply to a '%.100s' object",
                            self->owner->tp_name, Py_TYPE(manager)->tp_name);
    }
    block_exit *found = (block_exit *)self->exit_type->tp_alloc(self->exit_type, 0);
    if (found != NULL) {
        found->kind = self->kind;
        found->depth = self->kind->depth(manager);
        found->manager = Py_NewRef(manager);
    }
    return (PyObject *)found;
}

static int
descriptor_traverse(PyObject *op, visitproc visit, void *arg)
{
    exit_descriptor *self = (exit_descriptor *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->method);
    Py_VISIT(self->exit_type);
    Py_VISIT(self->owner);
    return 0;
}

static int
descriptor_clear(PyObject *op)
{
    CPIKA_GATE;
    Py_CLEAR(((exit_descriptor *)op)->method);
    return 0;
}

static void
descriptor_dealloc(PyObject *op)
{
    CPIKA_GATE;
    exit_descriptor *self = (exit_descriptor *)op;
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    Py_XDECREF(self->method);
    Py_XDECREF(self->exit_type);
    Py_XDECREF(self->owner);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyType_Slot descriptor_slots[] = {
    {Py_tp_descr_get, descriptor_get},
    {Py_tp_traverse, descriptor_traverse},
    {Py_tp_clear, descriptor_clear},
    {Py_tp_dealloc, descriptor_dealloc},
    {0, NULL},
};

static PyType_Spec descriptor_spec = {
    .name = "cpika._core._BlockExitDescriptor",
    .basicsize = sizeof(exit_descriptor),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = descriptor_slots,
};

static PyObject *
new_descriptor(PyTypeObject *type, const cpika_block_kind *kind)
{
    PyTypeObject *own_type = (PyTypeObject *)PyType_FromSpec(&descriptor_spec);
    exit_descriptor *self = own_type == NULL ? NULL : (exit_descriptor *)own_type->tp_alloc(own_type, 0);
    Py_XDECREF(own_type);
    if (self == NULL) {
        return NULL;
    }
    self->kind = kind;
    self->owner = (PyTypeObject *)Py_NewRef((PyObject *)type);
    self->method = PyObject_GetAttrString((PyObject *)type, "__exit__");
    self->exit_type = (PyTypeObject *)PyType_FromSpec(&block_exit_spec);
    if (self->method == NULL || self->exit_type == NULL) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

int
cpika_open_block_install(PyTypeObject *type, const cpika_block_kind *kind)
{
    PyObject *descriptor = new_descriptor(type, kind);
    int rc = descriptor == NULL ? -1 : PyObject_SetAttrString((PyObject *)type, "__exit__", descriptor);
    Py_XDECREF(descriptor);
    return rc;
}
