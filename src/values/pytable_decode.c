/* pytable_decode.c - AMQP tables as Python dicts, by pika's rules.
 * Layer: values.
 * Owns: nothing.
 * Threads: the caller holds the GIL; importing a module for a value may let others run.
 * Errors: NULL with an exception set.
 *
 * The bounds are trusted: every table has passed the walker of wire/table.h before. */
#include "object.h"

static PyObject *
look_up(PyObject *module, PyObject *attribute)
{
    // The dict first: half the time of PyObject_GetAttr(), which has to look at the type before.
    PyObject *found =
        PyModule_CheckExact(module) ? cpika_dict_get(PyModule_GetDict(module), attribute) : NULL;

    return found != NULL || PyErr_Occurred() ? found : PyObject_GetAttr(module, attribute);
}

PyObject *
cpika_data_module(cpika_values *v)
{
    if (v->data_module == NULL) {
        // Where there are connections, cpika.spec has loaded it.
        PyObject *module = PyImport_GetModule(v->str_data_module);
        if (module == NULL && !PyErr_Occurred()) {
            module = PyImport_ImportModule("cpika.data");
        }
        if (module == NULL) {
            return NULL;
        }
        Py_XSETREF(v->data_module, module);  // another thread may have been here during the import
    }
    return v->data_module;
}

PyObject *
cpika_data_get(cpika_values *v, PyObject *name)
{
    PyObject *module = cpika_data_module(v);

    return module == NULL ? NULL : look_up(module, name);
}

PyObject *
cpika_data_get_of(cpika_values *v, PyObject *name, PyObject *attribute)
{
    PyObject *owner = cpika_data_get(v, name);
    PyObject *found = owner == NULL ? NULL : look_up(owner, attribute);

    Py_XDECREF(owner);
    return found;
}

static PyObject *
decode_long(cpika_values *v, const uint8_t *p)
{
    PyObject *number = PyLong_FromLongLong((int64_t)cpika_get64(p));
    PyObject *result = number == NULL ? NULL : PyObject_CallFunctionObjArgs(v->long_type, number, NULL);

    Py_XDECREF(number);
    return result;
}

static PyObject *
decode_double(const uint8_t *p)
{
    uint64_t bits = cpika_get64(p);
    double d;

    memcpy(&d, &bits, sizeof d);
    return PyFloat_FromDouble(d);
}

static PyObject *
decode_float(const uint8_t *p)
{
    uint32_t bits = cpika_get32(p);
    float f;

    _Static_assert(sizeof f == sizeof bits, "float is an IEEE 754 binary32");
    memcpy(&f, &bits, sizeof f);
    return PyFloat_FromDouble((double)f);
}

/* Decimal(raw) * Decimal(10) ** -scale */
static PyObject *
decode_decimal(cpika_values *v, const uint8_t *p)
{
    PyObject *type = cpika_data_get_of(v, v->str_decimal, v->str_Decimal);
    PyObject *raw = type == NULL ? NULL : PyObject_CallFunction(type, "i", (int)(int32_t)cpika_get32(p + 1));
    PyObject *result = raw == NULL ? NULL : PyObject_CallMethod(raw, "scaleb", "i", -(int)p[0]);

    Py_XDECREF(type);
    Py_XDECREF(raw);
    return result;
}

/* An aware datetime, or the number where datetime does not reach. */
static PyObject *
decode_timestamp(cpika_values *v, const uint8_t *p)
{
    PyObject *seconds = PyLong_FromUnsignedLongLong(cpika_get64(p));
    PyObject *type = seconds == NULL ? NULL : cpika_data_get(v, v->str_datetime);
    PyObject *utc = type == NULL ? NULL : cpika_data_get_of(v, v->str_timezone, v->str_utc);
    PyObject *result = NULL;

    if (utc != NULL) {
        result = PyObject_CallMethod(type, "fromtimestamp", "OO", seconds, utc);
        if (result == NULL
            && (PyErr_ExceptionMatches(PyExc_ValueError) || PyErr_ExceptionMatches(PyExc_OverflowError)
                || PyErr_ExceptionMatches(PyExc_OSError))) {
            PyErr_Clear();
            result = Py_NewRef(seconds);
        }
    }
    Py_XDECREF(seconds);
    Py_XDECREF(type);
    Py_XDECREF(utc);
    return result;
}

static PyObject *
decode_string(const uint8_t *data, size_t *pos, bool text)
{
    size_t len = cpika_get32(data + *pos);
    const uint8_t *p = data + *pos + 4;

    *pos += 4 + len;
    return text ? cpika_text_decode(p, len) : PyBytes_FromStringAndSize((const char *)p, (Py_ssize_t)len);
}

static PyObject *
decode_list(cpika_values *v, const uint8_t *data, size_t *pos)
{
    size_t end = *pos + 4 + cpika_get32(data + *pos);
    PyObject *list = PyList_New(0);

    *pos += 4;
    while (list != NULL && *pos < end) {
        PyObject *item = cpika_value_decode(v, data, pos);
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
    }
    return list;
}

/* The recursion over F and A ends at CPIKA_TABLE_MAX_DEPTH: the walker has seen to it. */
PyObject *
cpika_value_decode(cpika_values *v, const uint8_t *data, size_t *pos)
{
    const uint8_t *p = data + *pos + 1;

    switch (p[-1]) {
    case 'S':
    case 'x':
        *pos += 1;
        return decode_string(data, pos, p[-1] == 'S');
    case 'F':
        *pos += 1;
        return cpika_table_decode(v, data, pos);
    case 'A':
        *pos += 1;
        return decode_list(v, data, pos);
    case 't':
        *pos += 2;
        return PyBool_FromLong(p[0]);
    case 'b':
        *pos += 2;
        return PyLong_FromLong((int8_t)p[0]);
    case 'B':
        *pos += 2;
        return PyLong_FromLong(p[0]);
    case 'U':
    case 's':
        *pos += 3;
        return PyLong_FromLong((int16_t)cpika_get16(p));
    case 'u':
        *pos += 3;
        return PyLong_FromLong(cpika_get16(p));
    case 'I':
        *pos += 5;
        return PyLong_FromLong((int32_t)cpika_get32(p));
    case 'i':
        *pos += 5;
        return PyLong_FromUnsignedLong(cpika_get32(p));
    case 'f':
        *pos += 5;
        return decode_float(p);
    case 'D':
        *pos += 6;
        return decode_decimal(v, p);
    case 'L':
    case 'l':
        *pos += 9;
        return decode_long(v, p);
    case 'd':
        *pos += 9;
        return decode_double(p);
    case 'T':
        *pos += 9;
        return decode_timestamp(v, p);
    default:
        *pos += 1;
        return Py_NewRef(Py_None);  // V
    }
}

PyObject *
cpika_table_decode(cpika_values *v, const uint8_t *data, size_t *pos)
{
    size_t end = *pos + 4 + cpika_get32(data + *pos);
    PyObject *dict = PyDict_New();

    *pos += 4;
    while (dict != NULL && *pos < end) {
        size_t key_len = data[*pos];
        PyObject *key = cpika_text_decode(data + *pos + 1, key_len);
        PyObject *value;
        *pos += 1 + key_len;
        value = key == NULL ? NULL : cpika_value_decode(v, data, pos);
        if (value == NULL || PyDict_SetItem(dict, key, value) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return dict;
}
