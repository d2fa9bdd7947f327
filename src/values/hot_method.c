/* hot_method.c - a method in C that looks like the Python function that stands beside it.
 * Layer: values.
 * Owns: each object its function, its descriptor and the two parts of the function that it compares.
 * Threads: the caller holds the GIL; a call runs the method.
 * Errors: NULL or -1 with an exception set.
 *
 * Tools ask a method for what only functions have: unittest.mock checks the arguments of an autospec against __code__,
 * inspect and help() read the source and the signature, functools.wraps copies, pickle looks for the name.  So each hot
 * method has a twin, a Python function with its signature and docstring, and every attribute is the twin's, __class__
 * too.  A call goes to C, and to the twin when the twin has to say what is wrong, when somebody has given it other
 * code, or while the short way is closed: for tracers have wrapped what the twin calls.  The type has Py_TPFLAGS_METHOD_DESCRIPTOR: `channel.basic_ack(1)` makes no bound method. */
#include "hot_method.h"

#include <stdbool.h>
#include <stddef.h>
#include <structmember.h>

#include "setup.h"

typedef PyObject *(*fast_function)(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                   PyObject *kwnames);

typedef struct {
    PyObject_HEAD
    PyObject *twin;        // owned: what it looks like
    PyObject *descriptor;  // owned: what holds `call` and `owner`
    PyObject *code;        // owned: of the twin, as it was written
    PyObject *defaults;    // owned; NULL: none
    PyTypeObject *owner;
    fast_function call;
    PyObject *weakrefs;
    vectorcallfunc vectorcall;
} hot_method;

/* ---- the call ---- */

/* The code and the defaults are compared because tools replace those of a function in place. */
static inline bool
speaks_for_twin(const hot_method *self)
{
    return PyFunction_GET_CODE(self->twin) == self->code
           && PyFunction_GET_DEFAULTS(self->twin) == self->defaults;
}

/* The classes in Python stand on top of the owner: going down from base to base costs half of a call of
 * PyType_IsSubtype(), which stays for whatever has another order. */
static inline bool
is_owners(const hot_method *self, PyObject *object)
{
    const PyTypeObject *type = Py_TYPE(object);

    while (type != NULL && type != self->owner) {
        type = type->tp_base;
    }
    return type != NULL || PyObject_TypeCheck(object, self->owner);
}

static PyObject *
hot_vectorcall(PyObject *op, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    hot_method *self = (hot_method *)op;
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);

    if (nargs > 0 && is_owners(self, args[0]) && speaks_for_twin(self)) {
        return self->call(args[0], args + 1, nargs - 1, kwnames);
    }
    return PyObject_Vectorcall(self->twin, args, nargsf, kwnames);
}

/* While the short way is closed: another function in the object's slot costs the open one nothing. */
static PyObject *
hot_vectorcall_twin(PyObject *op, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    return PyObject_Vectorcall(((hot_method *)op)->twin, args, nargsf, kwnames);
}

static PyObject *
hot_descr_get(PyObject *op, PyObject *object, PyObject *Py_UNUSED(type))
{
    return object == NULL || object == Py_None ? Py_NewRef(op) : PyMethod_New(op, object);
}

/* ---- the looks ---- */

/* Whether the attribute is this object's own: what the twin's would answer for itself. */
static bool
is_own(PyObject *name)
{
    static const char *const own[] = {"__get__", "__call__", "__reduce__", "__reduce_ex__"};

    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (PyUnicode_CompareWithASCIIString(name, own[i]) == 0) {
            return true;
        }
    }
    return false;
}

static PyObject *
hot_getattro(PyObject *op, PyObject *name)
{
    return PyUnicode_Check(name) && is_own(name) ? PyObject_GenericGetAttr(op, name)
                                                 : PyObject_GetAttr(((hot_method *)op)->twin, name);
}

static int
hot_setattro(PyObject *op, PyObject *name, PyObject *value)
{
    return PyObject_SetAttr(((hot_method *)op)->twin, name, value);
}

static PyObject *
hot_repr(PyObject *op)
{
    return PyObject_Repr(((hot_method *)op)->twin);
}

/* As functions are pickled: by name. */
static PyObject *
hot_reduce(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyObject_GetAttrString(((hot_method *)op)->twin, "__qualname__");
}

static void hot_dealloc(PyObject *op);

static PyObject *
hot_set_direct(PyObject *Py_UNUSED(ignored), PyObject *args)
{
    PyObject *method;
    int direct;

    if (!PyArg_ParseTuple(args, "Op:set_direct", &method, &direct)) {
        return NULL;
    }
    if (Py_TYPE(method)->tp_dealloc != hot_dealloc) {
        return PyErr_Format(PyExc_TypeError, "set_direct() takes a hot_method, not %R", method);
    }
    ((hot_method *)method)->vectorcall = direct ? hot_vectorcall : hot_vectorcall_twin;
    Py_RETURN_NONE;
}

/* ---- life ---- */

/* The descriptor's function and class: a method of a C type with fast positional and keyword arguments.  0 or -1. */
static int
take_descriptor(hot_method *self, PyObject *descriptor)
{
    const PyMethodDef *def;

    if (!Py_IS_TYPE(descriptor, &PyMethodDescr_Type)) {
        PyErr_Format(PyExc_TypeError, "hot_method() takes a method descriptor, not %R", descriptor);
        return -1;
    }
    def = ((PyMethodDescrObject *)descriptor)->d_method;
    if (def->ml_flags != (METH_FASTCALL | METH_KEYWORDS)) {
        PyErr_Format(PyExc_TypeError, "%R does not take fast arguments with keywords", descriptor);
        return -1;
    }
    self->descriptor = Py_NewRef(descriptor);
    self->owner = PyDescr_TYPE(descriptor);
    self->call = (fast_function)(void (*)(void))def->ml_meth;
    return 0;
}

static PyObject *
hot_new(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    static char *names[] = {"descriptor", "twin", NULL};
    PyObject *descriptor;
    PyObject *twin;
    hot_method *self;

    if (!PyArg_ParseTupleAndKeywords(args, kwds, "OO!:hot_method", names, &descriptor, &PyFunction_Type,
                                     &twin)) {
        return NULL;
    }
    self = (hot_method *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = hot_vectorcall;
    self->twin = Py_NewRef(twin);
    self->code = Py_NewRef(PyFunction_GET_CODE(twin));
    self->defaults = Py_XNewRef(PyFunction_GET_DEFAULTS(twin));
    if (take_descriptor(self, descriptor) < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int
hot_traverse(PyObject *op, visitproc visit, void *arg)
{
    hot_method *self = (hot_method *)op;

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->twin);
    Py_VISIT(self->descriptor);
    Py_VISIT(self->code);
    Py_VISIT(self->defaults);
    return 0;
}

/* No tp_clear: what it holds is set for life, and the twin, a function, breaks the circles that go through it. */
static void
hot_dealloc(PyObject *op)
{
    hot_method *self = (hot_method *)op;
    PyTypeObject *type = Py_TYPE(op);

    PyObject_GC_UnTrack(op);
    cpika_clear_weakrefs(op, &self->weakrefs);
    Py_XDECREF(self->twin);
    Py_XDECREF(self->descriptor);
    Py_XDECREF(self->code);
    Py_XDECREF(self->defaults);
    type->tp_free(op);
    Py_DECREF(type);
}

PyDoc_STRVAR(hot_set_direct_doc, "set_direct(method, direct, /)\n--\n\n"
                                 "Whether calls of a hot_method go to C at once (the default) or to the function.");

static PyMethodDef hot_methods[] = {
    {"__reduce__", hot_reduce, METH_NOARGS, "For pickle and copy."},
    {"set_direct", hot_set_direct, METH_VARARGS | METH_STATIC, hot_set_direct_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef hot_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(hot_method, vectorcall), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(hot_method, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(hot_doc, "hot_method(descriptor, twin)\n--\n\n"
                      "A method of a C type that looks like a Python function.\n\n"
                      "descriptor: the method, of the C type.  twin: the function, which is called with what is\n"
                      "no object of that type.");

static PyType_Slot hot_slots[] = {
    {Py_tp_doc, (void *)hot_doc},     {Py_tp_new, hot_new},           {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, hot_descr_get}, {Py_tp_getattro, hot_getattro}, {Py_tp_setattro, hot_setattro},
    {Py_tp_repr, hot_repr},           {Py_tp_traverse, hot_traverse}, {Py_tp_dealloc, hot_dealloc},
    {Py_tp_methods, hot_methods},     {Py_tp_members, hot_members},   {0, NULL},
};

/* Immutable: the interpreter's inline caches leave out attributes whose type may change. */
#ifdef Py_TPFLAGS_IMMUTABLETYPE
enum { HOT_IMMUTABLE = Py_TPFLAGS_IMMUTABLETYPE };
#else
enum { HOT_IMMUTABLE = 0 };
#endif

static PyType_Spec hot_spec = {
    .name = "cpika._core.hot_method",
    .basicsize = sizeof(hot_method),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_METHOD_DESCRIPTOR | HOT_IMMUTABLE,
    .slots = hot_slots,
};

int
cpika_hot_method_exec(PyObject *module)
{
    return cpika_add_type(module, &hot_spec);
}
