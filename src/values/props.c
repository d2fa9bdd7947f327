/* props.c - BasicProperties.  See props.h and values.h.
 * Layer: values.  Owns: nothing of its own.  Threads: the caller holds the GIL.
 * Errors: NULL or -1 with an exception set.
 *
 * Most programs read few properties, many none.  So what comes from the network stays as it came: a copy of the bytes,
 * in the place of the slots if they fit there, else in memory of their own whose address stands there.  The first look
 * at any field decodes all. */
#include "props.h"

#include "docs.h"
#include "gate.h"
#include "methods.h"

enum {
    INLINE_MAX = CPIKA_PROP_COUNT * sizeof(PyObject *),
    NO_PROPERTIES = 2,  // bytes: the flags alone; common enough to spare memcpy and memset their calls
};

static const uint8_t *
raw_bytes(CpikaObject *self)
{
    uint8_t *place = (uint8_t *)cpika_object_slots(self);
    uint8_t *heap;

    if (self->raw_len <= INLINE_MAX) {
        return place;
    }
    memcpy(&heap, place, sizeof heap);
    return heap;
}

/* Fills the place of the slots, which hold nothing. */
static int
raw_store(CpikaObject *self, const uint8_t *raw, size_t len)
{
    uint8_t *place = (uint8_t *)cpika_object_slots(self);
    uint8_t *heap;

    if (len == NO_PROPERTIES) {
        memcpy(place, raw, NO_PROPERTIES);
    } else if (len <= INLINE_MAX) {
        memcpy(place, raw, len);
    } else {
        heap = PyMem_Malloc(len);
        if (heap == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        memcpy(heap, raw, len);
        memcpy(place, &heap, sizeof heap);
    }
    self->raw_len = (uint32_t)len;
    return 0;
}

void
cpika_props_drop_raw(CpikaObject *self)
{
    // Behind the bytes the slots are NULL still: mostly there are two bytes, and clearing all 14 slots would show.
    size_t dirty = self->raw_len;
    if (self->raw_len > INLINE_MAX) {
        PyMem_Free((void *)(uintptr_t)raw_bytes(self));
        dirty = sizeof(uint8_t *);
    }
    self->raw_len = 0;
    if (dirty <= sizeof(PyObject *)) {
        cpika_object_slots(self)[0] = NULL;
    } else {
        memset(cpika_object_slots(self), 0, dirty);
    }
}

/* New references for all properties, None for the absent; on error none. */
static int
props_to_python(cpika_values *v, const cpika_value *values, unsigned flags, PyObject **objects)
{
    for (unsigned i = 0; i < CPIKA_PROP_COUNT; i++) {
        objects[i] = flags & cpika_prop_flag(i)
                         ? cpika_value_to_python(v, cpika_prop_fields[i].kind, &values[i])
                         : Py_NewRef(Py_None);
        if (objects[i] == NULL) {
            while (i-- > 0) {
                Py_CLEAR(objects[i]);  // not [--i]: before 3.12 the macro reads its argument twice
            }
            return -1;
        }
    }
    return 0;
}

/* New references for the properties in the bytes, which must not move meanwhile; on error none. */
static int
decode_all(CpikaObject *self, const uint8_t *raw, size_t len, PyObject **objects)
{
    cpika_value values[CPIKA_PROP_COUNT];
    unsigned flags;
    size_t used;
    int rc = cpika_props_walk(raw, len, values, &flags, &used);

    if (rc != CPIKA_OK) {
        cpika_values_raise_at(self->cls->values, rc, "BasicProperties", raw, used);
        return -1;
    }
    return props_to_python(self->cls->values, values, flags, objects);
}

static int
decode_into(CpikaObject *self, const uint8_t *raw, size_t len)
{
    PyObject *objects[CPIKA_PROP_COUNT];

    return decode_all(self, raw, len, objects) < 0 ? -1 : cpika_object_set_all(self, objects);
}

int
cpika_props_settle(CpikaObject *self)
{
    // From a copy: decoding may import a module, and meanwhile another thread may settle this object.
    uint8_t small[INLINE_MAX];
    PyObject *objects[CPIKA_PROP_COUNT];
    size_t len = self->raw_len;
    uint8_t *copy = len <= INLINE_MAX ? small : PyMem_Malloc(len);
    int rc;

    if (copy == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(copy, raw_bytes(self), len);
    rc = decode_all(self, copy, len, objects);
    if (rc == 0 && self->raw_len > 0) {
        rc = cpika_object_set_all(self, objects);
    } else if (rc == 0) {
        for (unsigned i = 0; i < CPIKA_PROP_COUNT; i++) {
            Py_DECREF(objects[i]);
        }
    }
    if (copy != small) {
        PyMem_Free(copy);
    }
    return rc;
}

PyObject *
cpika_props_from_raw(cpika_values *v, const uint8_t *raw, size_t len)
{
    cpika_class *cls = &v->basic_properties;
    CpikaObject *self;

    if (cpika_class_is_untouched(cls)) {
        self = cpika_object_fresh(cls);
        if (self != NULL && raw_store(self, raw, len) < 0) {
            Py_CLEAR(self);
        }
        return (PyObject *)self;
    }
    self = (CpikaObject *)PyObject_CallObject((PyObject *)cls->type, NULL);
    if (self != NULL && !PyObject_TypeCheck((PyObject *)self, cls->type)) {
        PyErr_Format(PyExc_TypeError, "BasicProperties() made an object of type %.100s",
                     Py_TYPE(self)->tp_name);
        Py_CLEAR(self);
    }
    if (self != NULL && (cpika_object_of((PyObject *)self) == NULL || decode_into(self, raw, len) < 0)) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

/* ---- encode ---- */

static int
memory_checked(int status)
{
    if (status != CPIKA_OK) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static int
append_number(cpika_buf *out, cpika_kind kind, uint64_t number)
{
    return memory_checked(kind == CPIKA_KIND_octet ? cpika_buf_put8(out, (uint8_t)number)
                                                   : cpika_buf_put64(out, number));
}

/* `*value` is owned by the caller and may be replaced: see cpika_value_from_python(). */
static int
append_property(cpika_values *v, const cpika_field *field, PyObject **value, cpika_buf *out)
{
    cpika_value wire;

    if (field->kind == CPIKA_KIND_table) {
        return cpika_table_encode(v, *value, out);
    }
    if (cpika_value_from_python(v, field, value, &wire, NULL) < 0) {
        return -1;
    }
    if (field->kind != CPIKA_KIND_shortstr) {
        return append_number(out, field->kind, wire.as.number);
    }
    if (memory_checked(cpika_buf_put8(out, (uint8_t)wire.len)) < 0) {
        return -1;
    }
    return memory_checked(cpika_buf_append(out, wire.as.bytes, wire.len));
}

static int
append_properties(CpikaObject *self, cpika_buf *out)
{
    size_t flags_at = out->len;
    unsigned flags = 0;
    int rc = memory_checked(cpika_buf_put16(out, 0));

    for (unsigned i = 0; i < CPIKA_PROP_COUNT && rc == 0; i++) {
        PyObject *value = cpika_object_read(self, i);
        if (value == NULL) {
            return -1;
        }
        if (value != Py_None) {
            flags |= cpika_prop_flag(i);
            rc = append_property(self->cls->values, &cpika_prop_fields[i], &value, out);
        }
        Py_DECREF(value);
    }
    if (rc == 0) {
        cpika_put16(out->data + flags_at, (uint16_t)flags);
    }
    return rc;
}

/* Appends, or leaves `out` as it was. */
static int
encode_own(CpikaObject *self, cpika_buf *out)
{
    size_t before = out->len;
    int rc;

    if (self->raw_len > 0 && (raw_bytes(self)[1] & 3) == 0) {
        return memory_checked(cpika_buf_append(out, raw_bytes(self), self->raw_len));  // as it came
    }
    rc = append_properties(self, out);
    if (rc < 0) {
        out->len = before;
    }
    return rc;
}

int
cpika_props_encode(cpika_values *v, PyObject *props, cpika_buf *out)
{
    if (props == Py_None) {
        return memory_checked(cpika_buf_put16(out, 0));
    }
    if (Py_TYPE(props) == v->basic_properties.type) {
        return encode_own((CpikaObject *)props, out);
    }
    return cpika_append_encoded(props, v->str_encode, out);
}

/* ---- the type ---- */

static PyObject *
props_encode(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    CPIKA_GATE;
    cpika_buf out = CPIKA_BUF_INIT;
    PyObject *pieces = NULL;

    if (cpika_object_of(op) != NULL && encode_own((CpikaObject *)op, &out) == 0) {
        pieces = cpika_pieces(&out);
    }
    cpika_buf_free(&out);
    return pieces;
}

static PyObject *
props_decode(PyObject *op, PyObject *args, PyObject *kwds)
{
    CPIKA_GATE;
    CpikaObject *self = cpika_object_of(op);
    Py_buffer encoded;
    size_t offset;
    int rc;

    if (self == NULL || cpika_decode_arguments(self->cls->values, args, kwds, &encoded, &offset) < 0) {
        return NULL;
    }
    rc = decode_into(self, (const uint8_t *)encoded.buf + offset, (size_t)encoded.len - offset);
    PyBuffer_Release(&encoded);
    return rc < 0 ? NULL : Py_NewRef(op);
}

static PyMethodDef props_methods[] = {
    {"encode", props_encode, METH_NOARGS,
     "encode($self)\n--\n\nReturn the property flags and the property list as a list of bytes."},
    {"decode", (PyCFunction)(void (*)(void))props_decode, METH_VARARGS | METH_KEYWORDS,
     "decode($self, encoded, offset=0)\n--\n\nSet the properties from flags and list at an offset; return "
     "self."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef props_getset[CPIKA_PROP_COUNT + 1] = {
#define PROPERTY(bit, kind, name)                                                \
    {#name, cpika_object_getter, cpika_object_setter, CPIKA_DOC_PROPERTY_##name, \
     (void *)(intptr_t)CPIKA_PROP_##name},
    CPIKA_SPEC_PROPERTIES(PROPERTY)
#undef PROPERTY
        {NULL, NULL, NULL, NULL, NULL},
};

/* FLAG_CONTENT_TYPE, ... */
static int
set_flags(PyObject *type)
{
    for (unsigned i = 0; i < CPIKA_PROP_COUNT; i++) {
        PyObject *lower = PyUnicode_FromFormat("flag_%s", cpika_prop_fields[i].name);
        PyObject *name = lower == NULL ? NULL : PyObject_CallMethod(lower, "upper", NULL);
        PyObject *flag = PyLong_FromUnsignedLong(cpika_prop_flag(i));
        int rc = name == NULL || flag == NULL ? -1 : PyObject_SetAttr(type, name, flag);
        Py_XDECREF(lower);
        Py_XDECREF(name);
        Py_XDECREF(flag);
        if (rc < 0) {
            return -1;
        }
    }
    return 0;
}

int
cpika_props_init(cpika_values *v, PyObject *module, PyObject *basic)
{
    static const PyType_Slot slots[] = {
        {Py_tp_init, cpika_object_init},
        {Py_tp_methods, props_methods},
        {Py_tp_getset, props_getset},
        {0, NULL},
    };
    cpika_class *cls = &v->basic_properties;
    PyObject *index = PyObject_GetAttrString(basic, "INDEX");
    PyObject *type;
    int rc = -1;

    cls->name = "BasicProperties";
    cls->doc = "The properties of a message; each is None while it is not set.";
    cls->fields = cpika_prop_fields;
    cls->count = CPIKA_PROP_COUNT;
    cls->free_limit = CPIKA_FREELIST_LIMIT;
    if (index != NULL
        && cpika_class_init(cls, v, module, "cpika.spec", cls->name, (PyObject *)v->properties.type, slots)
               == 0) {
        type = (PyObject *)cls->type;
        rc = PyObject_SetAttrString(type, "CLASS", basic) < 0
                     || PyObject_SetAttrString(type, "INDEX", index) < 0 || set_flags(type) < 0
                 ? -1
                 : 0;
    }
    Py_XDECREF(index);
    return rc;
}
