/* strings.c - str, bytes and what passes for them as AMQP strings, by pika's rules.
 * Layer: values.
 * Owns: nothing.
 * Threads: the caller holds the GIL; taking a string may run user code (subclasses of str and bytes).
 * Errors: NULL or -1 with an exception set. */
#include "object.h"

/* What isinstance(value, bytes or str) says, with what a __class__ claims. */
static int
is_string(PyObject *value)
{
    int is = cpika_passes_for(value, &PyBytes_Type);
    return is != 0 ? is : cpika_passes_for(value, &PyUnicode_Type);
}

/* The bytes of what pika would join to the others: takes the reference. */
static PyObject *
as_joined(PyObject *encoded)
{
    PyObject *bytes;

    if (encoded == NULL || PyBytes_Check(encoded)) {
        return encoded;
    }
    if (PyObject_CheckBuffer(encoded)) {
        bytes = PyBytes_FromObject(encoded);
    } else {
        bytes = NULL;
        PyErr_Format(PyExc_TypeError, "sequence item 0: expected a bytes-like object, %.200s found",
                     Py_TYPE(encoded)->tp_name);
    }
    Py_DECREF(encoded);
    return bytes;
}

PyObject *
cpika_string_sent(cpika_values *v, PyObject *value)
{
    int is_bytes;

    if (cpika_is_plain_string(value)) {
        return Py_NewRef(value);
    }
    is_bytes = cpika_passes_for(value, &PyBytes_Type);
    if (is_bytes < 0) {
        return NULL;
    }
    return as_joined(is_bytes ? Py_NewRef(value)
                              : PyObject_CallMethodObjArgs(value, v->str_encode, v->str_utf8, NULL));
}

/* Those of a str or bytes. */
int
cpika_string_bytes(PyObject *value, const char *field, const uint8_t **data, Py_ssize_t *len)
{
    if (PyUnicode_Check(value)) {
        *data = (const uint8_t *)PyUnicode_AsUTF8AndSize(value, len);
        return *data == NULL ? -1 : 0;
    }
    if (PyBytes_Check(value)) {
        *data = (const uint8_t *)PyBytes_AS_STRING(value);
        *len = PyBytes_GET_SIZE(value);
        return 0;
    }
    PyErr_Format(PyExc_AssertionError, "A non-string value was supplied for self.%s", field);
    return -1;
}

int
cpika_longstr_take(cpika_values *v, PyObject **value, const char *field, const uint8_t **data,
                   Py_ssize_t *len)
{
    PyObject *sent;
    int is;

    if (!cpika_is_plain_string(*value)) {
        is = field == NULL ? 1 : is_string(*value);
        if (is < 0) {
            return -1;
        }
        if (is) {
            sent = cpika_string_sent(v, *value);
            if (sent == NULL) {
                return -1;
            }
            Py_SETREF(*value, sent);
        }
    }
    return cpika_string_bytes(*value, field, data, len);
}

static int
raise_too_long(cpika_values *v, const uint8_t *data, Py_ssize_t len)
{
    PyObject *encoded = PyBytes_FromStringAndSize((const char *)data, len);
    if (encoded != NULL) {
        PyErr_SetObject(v->short_string_too_long, encoded);
        Py_DECREF(encoded);
    }
    return -1;
}

int
cpika_shortstr_take(cpika_values *v, PyObject **value, const char *field, const uint8_t **data,
                    Py_ssize_t *len)
{
    if (cpika_longstr_take(v, value, field, data, len) < 0) {
        return -1;
    }
    return *len > UINT8_MAX ? raise_too_long(v, *data, *len) : 0;
}

int
cpika_shortstr_check(cpika_values *v, PyObject *value, const char *field, const uint8_t **data,
                     Py_ssize_t *len)
{
    if (cpika_string_bytes(value, field, data, len) < 0) {
        return -1;
    }
    return *len > UINT8_MAX ? raise_too_long(v, *data, *len) : 0;
}

PyObject *
cpika_text_decode(const uint8_t *data, size_t len)
{
    PyObject *text = PyUnicode_DecodeUTF8((const char *)data, (Py_ssize_t)len, NULL);
    if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
        text = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)len);
    }
    return text;
}
