/* fields.c - Python values as fields of methods and properties, and back.  See methods.h.
 * Layer: values.  Owns: nothing.  Threads: the caller holds the GIL; a value's __index__ or encode() may run user code.
 * Errors: NULL or -1 with an exception set. */
#include "methods.h"

/* pika's way of packing an unsigned number, and its errors. */
static int
pack_number(cpika_values *v, const char *format, PyObject *value, uint64_t *number)
{
    PyObject *packed = PyObject_CallFunction(v->struct_pack, "sO", format, value);

    if (packed == NULL) {
        return -1;
    }
    *number = 0;
    for (Py_ssize_t i = 0; i < PyBytes_GET_SIZE(packed); i++) {
        *number = *number << 8 | (uint8_t)PyBytes_AS_STRING(packed)[i];
    }
    Py_DECREF(packed);
    return 0;
}

static int
number_from_python(cpika_values *v, uint64_t max, const char *format, PyObject *value, uint64_t *number)
{
    if (PyLong_CheckExact(value)) {
        *number = PyLong_AsUnsignedLongLong(value);
        if (*number == (uint64_t)-1 && PyErr_Occurred()) {
            PyErr_Clear();
        } else if (*number <= max) {
            return 0;
        }
    }
    return pack_number(v, format, value, number);
}

static int
bit_from_python(PyObject *value, uint64_t *number)
{
    int truth = PyObject_IsTrue(value);
    *number = truth > 0;
    return truth < 0 ? -1 : 0;
}

static int
table_from_python(cpika_values *v, PyObject *value, cpika_value *out, cpika_buf *table)
{
    size_t begin = table->len;

    if (cpika_table_encode(v, value, table) < 0) {
        return -1;
    }
    out->as.bytes = table->data + begin;
    out->len = table->len - begin;
    return 0;
}

int
cpika_value_from_python(cpika_values *v, const cpika_field *field, PyObject **held, cpika_value *out,
                        cpika_buf *table)
{
    PyObject *value = *held;
    Py_ssize_t len = 0;
    int rc = -1;

    switch (field->kind) {
    case CPIKA_KIND_octet:
        rc = number_from_python(v, UINT8_MAX, "B", value, &out->as.number);
        break;
    case CPIKA_KIND_short:
        rc = number_from_python(v, UINT16_MAX, ">H", value, &out->as.number);
        break;
    case CPIKA_KIND_long:
        rc = number_from_python(v, UINT32_MAX, ">I", value, &out->as.number);
        break;
    case CPIKA_KIND_longlong:
        rc = number_from_python(v, UINT64_MAX, ">Q", value, &out->as.number);
        break;
    case CPIKA_KIND_bit:
        rc = bit_from_python(value, &out->as.number);
        break;
    case CPIKA_KIND_shortstr:
        rc = cpika_shortstr_take(v, held, field->name, &out->as.bytes, &len);
        break;
    case CPIKA_KIND_longstr:
        rc = cpika_longstr_take(v, held, field->name, &out->as.bytes, &len);
        break;
    case CPIKA_KIND_table:
        return table_from_python(v, value, out, table);
    }
    out->len = (size_t)len;
    return rc;
}

PyObject *
cpika_value_to_python(cpika_values *v, cpika_kind kind, const cpika_value *value)
{
    size_t pos = 0;

    switch (kind) {
    case CPIKA_KIND_bit:
        return PyBool_FromLong(value->as.number != 0);
    case CPIKA_KIND_shortstr:
        return cpika_text_decode(value->as.bytes, value->len);
    case CPIKA_KIND_longstr:
        return PyBytes_FromStringAndSize((const char *)value->as.bytes, (Py_ssize_t)value->len);
    case CPIKA_KIND_table:
        return cpika_table_decode(v, value->as.bytes, &pos);
    default:
        return PyLong_FromUnsignedLongLong(value->as.number);
    }
}

PyObject *
cpika_pieces(const cpika_buf *buf)
{
    return buf->len == 0 ? PyList_New(0)
                         : Py_BuildValue("[y#]", (const char *)buf->data, (Py_ssize_t)buf->len);
}

int
cpika_append_encoded(PyObject *object, PyObject *str_encode, cpika_buf *out)
{
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    PyObject *pieces = empty == NULL ? NULL : PyObject_CallMethodObjArgs(object, str_encode, NULL);
    PyObject *joined = NULL;
    int rc = -1;

    if (pieces != NULL && PyBytes_Check(pieces)) {
        PyErr_Format(PyExc_TypeError, "encode() must return a list of bytes, but that of %R returned bytes",
                     (PyObject *)Py_TYPE(object));
    } else if (pieces != NULL) {
        joined = PyObject_CallMethod(empty, "join", "O", pieces);
    }

    if (joined != NULL) {
        rc = cpika_buf_append(out, PyBytes_AS_STRING(joined), (size_t)PyBytes_GET_SIZE(joined));
        if (rc != CPIKA_OK) {
            PyErr_NoMemory();
            rc = -1;
        }
    }
    Py_XDECREF(empty);
    Py_XDECREF(pieces);
    Py_XDECREF(joined);
    return rc;
}
