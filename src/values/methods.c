/* methods.c - the types of the spec's methods.  See methods.h and values.h.
 * Layer: values.  Owns: the types' tables (constant).  Threads: the caller holds the GIL.
 * Errors: NULL or -1 with an exception set. */
#include "methods.h"
#include "docs.h"
#include "gate.h"

/* ---- encode ---- */

/* What the class is a method of.  NULL with an exception: somebody has given a derived class other bases. */
static const cpika_method_spec *
spec_of(const CpikaObject *self)
{
    if (self->cls->spec == NULL) {
        PyErr_Format(PyExc_TypeError, "%.100s object was made as no method", Py_TYPE(self)->tp_name);
    }
    return self->cls->spec;
}

/* Appends the arguments.  The fields are held while they are read: converting one may run code that replaces another. */
static int
encode_arguments(CpikaObject *self, cpika_buf *out)
{
    const cpika_method_spec *spec = spec_of(self);
    PyObject *held[CPIKA_METHOD_MAX_FIELDS] = {NULL};
    cpika_value values[CPIKA_METHOD_MAX_FIELDS];
    cpika_buf table = CPIKA_BUF_INIT;
    int rc = 0;

    if (spec == NULL) {
        return -1;
    }
    for (unsigned i = 0; i < spec->field_count && rc == 0; i++) {
        held[i] = cpika_object_read(self, i);
        rc = held[i] == NULL
                 ? -1
                 : cpika_value_from_python(self->cls->values, &spec->fields[i], &held[i], &values[i], &table);
    }
    if (rc == 0) {
        rc = cpika_method_encode_args(spec, values, out);
        if (rc != CPIKA_OK) {
            cpika_values_raise(self->cls->values, rc, spec->full_name);
            rc = -1;
        }
    }
    for (unsigned i = 0; i < spec->field_count; i++) {
        Py_XDECREF(held[i]);
    }
    cpika_buf_free(&table);
    return rc;
}

static bool
is_plain_method(PyObject *op)
{
    return cpika_object_is_exact(op) && ((CpikaObject *)op)->cls->spec != NULL;
}

uint32_t
cpika_method_id(cpika_values *v, PyObject *method)
{
    PyObject *index;
    unsigned long id;

    if (is_plain_method(method)) {
        return ((CpikaObject *)method)->cls->spec->id;
    }
    index = PyObject_GetAttr(method, v->str_index);
    if (index == NULL) {
        return 0;
    }
    id = PyLong_AsUnsignedLong(index);
    Py_DECREF(index);
    if (id == 0 || id > UINT32_MAX) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "INDEX of %R is no method id", (PyObject *)Py_TYPE(method));
        }
        return 0;
    }
    return (uint32_t)id;
}

int
cpika_method_encode(cpika_values *v, PyObject *method, cpika_buf *out)
{
    size_t before = out->len;
    uint32_t id = cpika_method_id(v, method);
    int rc;

    if (id == 0) {
        return -1;
    }
    if (cpika_buf_put32(out, id) != CPIKA_OK) {
        PyErr_NoMemory();
        return -1;
    }
    rc = is_plain_method(method) ? encode_arguments((CpikaObject *)method, out)
                                 : cpika_append_encoded(method, v->str_encode, out);
    if (rc < 0) {
        out->len = before;
    }
    return rc;
}

static PyObject *
method_encode(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    CPIKA_GATE;
    cpika_buf out = CPIKA_BUF_INIT;
    PyObject *pieces = NULL;

    if (cpika_object_of(op) != NULL && encode_arguments((CpikaObject *)op, &out) == 0) {
        pieces = cpika_pieces(&out);
    }
    cpika_buf_free(&out);
    return pieces;
}

/* ---- decode ---- */

/* New references for all values; on error none. */
static int
values_to_python(cpika_values *v, const cpika_method_spec *spec, const cpika_value *values,
                 PyObject **objects)
{
    for (unsigned i = 0; i < spec->field_count; i++) {
        objects[i] = cpika_value_to_python(v, spec->fields[i].kind, &values[i]);
        if (objects[i] == NULL) {
            while (i-- > 0) {
                Py_CLEAR(objects[i]);  // not [--i]: before 3.12 the macro reads its argument twice
            }
            return -1;
        }
    }
    return 0;
}

/* New object of the class without fields, as pika makes one: Method() where somebody replaced __init__. */
static CpikaObject *
method_blank(cpika_class *cls)
{
    PyObject *op;

    if (cpika_class_is_untouched(cls)) {
        return cpika_object_fresh(cls);
    }
    op = PyObject_CallObject((PyObject *)cls->type, NULL);
    if (op != NULL && !PyObject_TypeCheck(op, cls->type)) {
        PyErr_Format(PyExc_TypeError, "%s() made an object of type %.100s", cls->name, Py_TYPE(op)->tp_name);
        Py_CLEAR(op);
    }
    if (op != NULL && cpika_object_of(op) == NULL) {
        Py_CLEAR(op);
    }
    return (CpikaObject *)op;
}

PyObject *
cpika_method_decode(cpika_values *v, const uint8_t *payload, size_t len, uint32_t *id, int *status)
{
    cpika_value values[CPIKA_METHOD_MAX_FIELDS];
    PyObject *objects[CPIKA_METHOD_MAX_FIELDS];
    const cpika_method_spec *spec;
    CpikaObject *self;
    size_t used;

    *id = len < 4 ? 0 : cpika_get32(payload);
    spec = cpika_method_find(*id);
    if (spec == NULL) {
        *status = len < 4 ? CPIKA_E_TRUNCATED : CPIKA_E_METHOD_ID;
        return NULL;
    }
    *status = cpika_method_decode_args(spec, payload + 4, len - 4, values, &used);
    if (*status == CPIKA_OK && used != len - 4) {
        *status = CPIKA_E_TRAILING;
    }
    if (*status != CPIKA_OK || values_to_python(v, spec, values, objects) < 0) {
        return NULL;
    }
    self = method_blank(&v->methods[spec - cpika_method_specs]);
    if (self == NULL) {
        for (unsigned i = 0; i < spec->field_count; i++) {
            Py_DECREF(objects[i]);
        }
        return NULL;
    }
    if (cpika_object_set_all(self, objects) < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

Py_ssize_t
cpika_hold_still(Py_buffer *encoded, size_t from, size_t to)
{
    if (encoded->obj != NULL && PyBytes_CheckExact(encoded->obj)) {
        return 0;
    }
    PyObject *copy =
        PyBytes_FromStringAndSize((const char *)encoded->buf + from, (Py_ssize_t)to - (Py_ssize_t)from);
    PyBuffer_Release(encoded);
    if (copy == NULL) {
        return -1;
    }
    int rc = PyObject_GetBuffer(copy, encoded, PyBUF_SIMPLE);
    Py_DECREF(copy);
    return rc < 0 ? -1 : (Py_ssize_t)from;
}

Py_ssize_t
cpika_offset_in(cpika_values *v, const Py_buffer *encoded, Py_ssize_t offset)
{
    Py_ssize_t at = offset < 0 ? offset + encoded->len : offset;

    if (at < 0) {
        PyErr_Format(v->struct_error, "offset %zd out of range for %zd-byte buffer", offset, encoded->len);
        return -1;
    }
    return at;
}

int
cpika_decode_arguments(cpika_values *v, PyObject *args, PyObject *kwds, Py_buffer *encoded, size_t *offset)
{
    static char *names[] = {"encoded", "offset", NULL};
    Py_ssize_t at = 0;

    if (!PyArg_ParseTupleAndKeywords(args, kwds, "y*|n:decode", names, encoded, &at)) {
        return -1;
    }
    at = cpika_offset_in(v, encoded, at);
    if (at < 0) {
        PyBuffer_Release(encoded);
        return -1;
    }
    *offset = (size_t)(at < encoded->len ? at : encoded->len);
    Py_ssize_t moved = cpika_hold_still(encoded, *offset, (size_t)encoded->len);
    *offset -= moved > 0 ? (size_t)moved : 0;
    return moved < 0 ? -1 : 0;
}

static PyObject *
method_decode(PyObject *op, PyObject *args, PyObject *kwds)
{
    CPIKA_GATE;
    CpikaObject *self = cpika_object_of(op);
    const cpika_method_spec *spec = self == NULL ? NULL : spec_of(self);
    cpika_value values[CPIKA_METHOD_MAX_FIELDS];
    PyObject *objects[CPIKA_METHOD_MAX_FIELDS];
    Py_buffer encoded;
    size_t offset;
    size_t used;
    int rc;

    if (spec == NULL || cpika_decode_arguments(self->cls->values, args, kwds, &encoded, &offset) < 0) {
        return NULL;
    }
    rc = cpika_method_decode_args(spec, (const uint8_t *)encoded.buf + offset, (size_t)encoded.len - offset,
                                  values, &used);
    if (rc != CPIKA_OK) {
        cpika_values_raise_at(self->cls->values, rc, spec->full_name, (const uint8_t *)encoded.buf + offset,
                              used);
    } else {
        rc = values_to_python(self->cls->values, spec, values, objects);
    }
    PyBuffer_Release(&encoded);
    if (rc != 0 || cpika_object_set_all(self, objects) < 0) {
        return NULL;
    }
    return Py_NewRef(op);
}

/* ---- the hot ones ---- */

/* Fills in a new object; takes the references of `values`, also on error. */
static PyObject *
method_of(cpika_class *cls, PyObject **values)
{
    CpikaObject *self;

    for (Py_ssize_t i = 0; i < cls->count; i++) {
        if (values[i] == NULL) {
            goto fail;
        }
    }
    self = method_blank(cls);
    if (self == NULL) {
        goto fail;
    }
    if (!cpika_class_is_untouched(cls) || self->dict != NULL) {
        if (cpika_object_set_all(self, values) < 0) {
            Py_CLEAR(self);
        }
        return (PyObject *)self;
    }
    // Fresh, and its fields are strings and numbers: nothing for the collector to follow.
    memcpy(cpika_object_slots(self), values, (size_t)cls->count * sizeof *values);
    return (PyObject *)self;

fail:
    for (Py_ssize_t i = 0; i < cls->count; i++) {
        Py_XDECREF(values[i]);
    }
    return NULL;
}

PyObject *
cpika_deliver_new(cpika_values *v, PyObject *consumer_tag, uint64_t delivery_tag, bool redelivered,
                  PyObject *exchange, PyObject *routing_key)
{
    cpika_class *cls = &v->methods[CPIKA_IX_basic_deliver];
    if (delivery_tag > 0 && cpika_class_is_untouched(cls)) {
        // No int for the tag until it is read: 10 % of the instructions of an auto-acked message.
        CpikaObject *self = cpika_object_fresh(cls);
        if (self != NULL) {
            PyObject **slots = cpika_object_slots(self);
            slots[0] = Py_NewRef(consumer_tag);
            slots[2] = Py_NewRef(redelivered ? Py_True : Py_False);
            slots[3] = Py_NewRef(exchange);
            slots[4] = Py_NewRef(routing_key);
            self->delivery_tag = delivery_tag;
        }
        return (PyObject *)self;
    }
    PyObject *values[] = {
        Py_NewRef(consumer_tag),
        PyLong_FromUnsignedLongLong(delivery_tag),
        Py_NewRef(redelivered ? Py_True : Py_False),
        Py_NewRef(exchange),
        Py_NewRef(routing_key),
    };
    return method_of(cls, values);
}

PyObject *
cpika_getok_new(cpika_values *v, uint64_t delivery_tag, bool redelivered, PyObject *exchange,
                PyObject *routing_key, uint32_t message_count)
{
    PyObject *values[] = {
        PyLong_FromUnsignedLongLong(delivery_tag),
        Py_NewRef(redelivered ? Py_True : Py_False),
        Py_NewRef(exchange),
        Py_NewRef(routing_key),
        PyLong_FromUnsignedLong(message_count),
    };
    return method_of(&v->methods[CPIKA_IX_basic_get_ok], values);
}

PyObject *
cpika_return_new(cpika_values *v, uint16_t reply_code, PyObject *reply_text, PyObject *exchange,
                 PyObject *routing_key)
{
    PyObject *values[] = {
        PyLong_FromUnsignedLong(reply_code),
        Py_NewRef(reply_text),
        Py_NewRef(exchange),
        Py_NewRef(routing_key),
    };
    return method_of(&v->methods[CPIKA_IX_basic_return], values);
}

/* ---- types ---- */

static PyObject *
base_set_content(PyObject *op, PyObject *args)
{
    CPIKA_GATE;
    PyObject *properties;
    PyObject *body;

    if (!PyArg_ParseTuple(args, "OO:_set_content", &properties, &body)
        || PyObject_SetAttrString(op, "_properties", properties) < 0
        || PyObject_SetAttrString(op, "_body", body) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
base_get_properties(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    CPIKA_GATE;
    return PyObject_GetAttrString(op, "_properties");
}

static PyObject *
base_get_body(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    CPIKA_GATE;
    return PyObject_GetAttrString(op, "_body");
}

static PyObject *
base_not_implemented(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwds))
{
    CPIKA_GATE;
    PyErr_SetString(PyExc_NotImplementedError, "Subclasses must implement this method");
    return NULL;
}

static PyMethodDef base_methods[] = {
    {"_set_content", base_set_content, METH_VARARGS,
     "_set_content($self, properties, body)\n--\n\nSet the properties and the body that came with this "
     "method."},
    {"get_properties", base_get_properties, METH_NOARGS,
     "get_properties($self)\n--\n\nReturn the properties that came with this method."},
    {"get_body", base_get_body, METH_NOARGS,
     "get_body($self)\n--\n\nReturn the body that came with this method."},
    {"encode", (PyCFunction)(void (*)(void))base_not_implemented, METH_VARARGS | METH_KEYWORDS,
     "encode($self)\n--\n\nReturn the arguments as a list of bytes."},
    {"decode", (PyCFunction)(void (*)(void))base_not_implemented, METH_VARARGS | METH_KEYWORDS,
     "decode($self, encoded, offset=0)\n--\n\nSet the fields from bytes; return self."},
    {NULL, NULL, 0, NULL},
};

static const PyType_Slot base_slots[] = {{Py_tp_methods, base_methods}, {0, NULL}};

static PyMethodDef method_methods[] = {
    {"encode", method_encode, METH_NOARGS, "encode($self)\n--\n\nReturn the arguments as a list of bytes."},
    {"decode", (PyCFunction)(void (*)(void))method_decode, METH_VARARGS | METH_KEYWORDS,
     "decode($self, encoded, offset=0)\n--\n\nSet the fields from the bytes at an offset; return self."},
    {NULL, NULL, 0, NULL},
};

static PyObject *
get_synchronous(PyObject *op, void *Py_UNUSED(closure))
{
    CPIKA_GATE;
    CpikaObject *self = cpika_object_of(op);
    const cpika_method_spec *spec = self == NULL ? NULL : spec_of(self);
    return spec == NULL ? NULL : PyBool_FromLong((spec->flags & CPIKA_SYNC) != 0);
}

/* A PyGetSetDef array for each method; the closures are the numbers of the fields. */
#define FIELD(owner, member, kind, name, dflt) IX_##owner##_##name,
#define METHOD(id, cls, name, owner, flags, ...) enum { __VA_ARGS__ COUNT_##owner };
CPIKA_SPEC_METHODS(METHOD, FIELD)
#undef METHOD
#undef FIELD

#define FIELD(owner, member, kind, name, dflt)                                \
    {#name, cpika_object_getter, cpika_object_setter, CPIKA_DOC_FIELD_##name, \
     (void *)(intptr_t)IX_##owner##_##name},
#define METHOD(id, cls, name, owner, flags, ...)                                                         \
    static PyGetSetDef getset_##owner[COUNT_##owner + 2] = {                                             \
        __VA_ARGS__{"synchronous", get_synchronous, NULL, "Whether the sender awaits an answer.", NULL}, \
        {NULL, NULL, NULL, NULL, NULL},                                                                  \
    };
CPIKA_SPEC_METHODS(METHOD, FIELD)
#undef METHOD
#undef FIELD

static PyGetSetDef *const method_getsets[CPIKA_METHOD_COUNT] = {
#define FIELD(owner, member, kind, name, dflt)
#define METHOD(id, cls, name, owner, flags, ...) getset_##owner,
    CPIKA_SPEC_METHODS(METHOD, FIELD)
#undef METHOD
#undef FIELD
};

static const char *const method_docs[CPIKA_METHOD_COUNT] = {
#define FIELD(owner, member, kind, name, dflt)
#define METHOD(id, cls, name, owner, flags, ...) CPIKA_DOC_METHOD_##owner,
    CPIKA_SPEC_METHODS(METHOD, FIELD)
#undef METHOD
#undef FIELD
};

static int
set_number(PyObject *type, const char *name, unsigned long number)
{
    PyObject *value = PyLong_FromUnsignedLong(number);
    int rc = value == NULL ? -1 : PyObject_SetAttrString(type, name, value);
    Py_XDECREF(value);
    return rc;
}

/* Basic, ...: a class statement's work, for a method's type to stand in. */
static int
make_class(cpika_values *v, PyObject *classes, const char *name, unsigned long id, const char *doc)
{
    PyObject *type =
        PyObject_CallFunction((PyObject *)&PyType_Type, "s(O){s:s,s:k,s:s,s:s}", name, v->klass.type,
                              "__module__", "cpika.spec", "INDEX", id, "NAME", name, "__doc__", doc);
    int rc = type == NULL ? -1 : PyDict_SetItemString(classes, name, type);
    Py_XDECREF(type);
    return rc;
}

static int
make_method(cpika_values *v, int i, PyObject *module, PyObject *classes, PyObject *methods)
{
    const cpika_method_spec *spec = &cpika_method_specs[i];
    cpika_class *cls = &v->methods[i];
    const PyType_Slot slots[] = {
        {Py_tp_init, cpika_object_init},
        {Py_tp_methods, method_methods},
        {Py_tp_getset, method_getsets[i]},
        {0, NULL},
    };
    PyObject *owner = PyDict_GetItemString(classes, spec->class_name);  // borrowed
    PyObject *key;
    int rc;

    cls->spec = spec;
    cls->name = spec->full_name;
    cls->doc = method_docs[i];
    cls->fields = spec->fields;
    cls->count = (Py_ssize_t)spec->field_count;
    // Only what comes with every message is worth keeping dead.
    cls->free_limit = i == CPIKA_IX_basic_deliver || i == CPIKA_IX_basic_get_ok ? CPIKA_FREELIST_LIMIT : 0;
    if (cpika_class_init(cls, v, module, "cpika.spec", spec->full_name, (PyObject *)v->method.type, slots) < 0
        || set_number((PyObject *)cls->type, "INDEX", spec->id) < 0
        || PyObject_SetAttrString(owner, spec->name, (PyObject *)cls->type) < 0) {
        return -1;
    }
    key = PyLong_FromUnsignedLong(spec->id);
    rc = key == NULL ? -1 : PyDict_SetItem(methods, key, (PyObject *)cls->type);
    Py_XDECREF(key);
    return rc;
}

static int
make_bases(cpika_values *v, PyObject *module)
{
    PyObject *root;

    v->amqp_object.name = "AMQPObject";
    v->amqp_object.doc = "The base of all values of the protocol: equal if their types and fields are.";
    v->klass.name = "Unextended Class";
    v->klass.doc = "The base of AMQP's classes, which hold its methods.";
    v->method.name = "Unextended Method";
    v->method.doc = "The base of AMQP's methods.";
    v->properties.name = "Unextended Properties";
    v->properties.doc = "The base of the properties of a class's messages.";
    if (cpika_class_init(&v->amqp_object, v, module, "cpika.amqp_object", "AMQPObject", NULL,
                         cpika_amqp_object_slots)
        < 0) {
        return -1;
    }
    root = (PyObject *)v->amqp_object.type;
    if (PyObject_SetAttrString(root, "INDEX", Py_None) < 0
        || cpika_class_init(&v->klass, v, module, "cpika.amqp_object", "Class", root, NULL) < 0
        || cpika_class_init(&v->method, v, module, "cpika.amqp_object", "Method", root, base_slots) < 0
        || cpika_class_init(&v->properties, v, module, "cpika.amqp_object", "Properties", root, NULL) < 0) {
        return -1;
    }
    return PyObject_SetAttrString((PyObject *)v->method.type, "synchronous", Py_False);
}

int
cpika_methods_init(cpika_values *v, PyObject *module, PyObject *classes, PyObject *methods)
{
    if (make_bases(v, module) < 0) {
        return -1;
    }
#define CLASS(id, name)                                                    \
    if (make_class(v, classes, #name, (id), CPIKA_DOC_CLASS_##name) < 0) { \
        return -1;                                                         \
    }
    CPIKA_SPEC_CLASSES(CLASS)
#undef CLASS
    for (int i = 0; i < CPIKA_METHOD_COUNT; i++) {
        if (make_method(v, i, module, classes, methods) < 0) {
            return -1;
        }
    }
    return 0;
}
