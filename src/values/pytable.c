/* pytable.c - Python dicts as AMQP tables, by pika's rules.
 * Layer: values.
 * Owns: nothing.
 * Threads: the caller holds the GIL; encoding may run user code (subclasses of int, dict, Decimal, ...).
 * Errors: NULL or -1 with an exception set; the output buffer is as it was. */
#include "object.h"

#include <math.h>

#include "wire/table.h"

typedef struct {
    cpika_values *v;
    cpika_buf *out;
    size_t start;  // of the bytes that an error shows, in `out`: of this table, value or innermost list
    int depth;
} encoder;

static int encode_any(encoder *e, PyObject *value);
static int encode_mapping(encoder *e, PyObject *table);

static int
checked(int status)
{
    if (status != CPIKA_OK) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static int
put_bytes(encoder *e, const void *data, size_t len)
{
    return checked(cpika_buf_append(e->out, data, len));
}

/* Appends what struct.pack(format, kind, numbers...) makes: the errors are its own. */
static int
put_packed(encoder *e, const char *format, const char *kind, PyObject *first, PyObject *second)
{
    PyObject *fmt = PyUnicode_FromString(format);
    PyObject *tag = PyBytes_FromString(kind);
    PyObject *packed = NULL;
    int rc = -1;

    if (fmt != NULL && tag != NULL) {
        packed = PyObject_CallFunctionObjArgs(e->v->struct_pack, fmt, tag, first, second, NULL);
    }
    if (packed != NULL) {
        rc = put_bytes(e, PyBytes_AS_STRING(packed), (size_t)PyBytes_GET_SIZE(packed));
    }
    Py_XDECREF(fmt);
    Py_XDECREF(tag);
    Py_XDECREF(packed);
    return rc;
}

/* Appends `kind` and room for a length that is known later; *at is where it stands. */
static int
begin_length(encoder *e, const char *kind, size_t *at)
{
    static const uint8_t zero[4] = {0};

    if (put_bytes(e, kind, strlen(kind)) < 0) {
        return -1;
    }
    *at = e->out->len;
    return put_bytes(e, zero, sizeof zero);
}

static int
end_length(encoder *e, size_t at)
{
    size_t len = e->out->len - at - 4;

    if (len > UINT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "a table does not fit into 4 GiB");
        return -1;
    }
    cpika_put32(e->out->data + at, (uint32_t)len);
    return 0;
}

/* Guards every table and array: too deep, or part of itself. */
static int
descend(encoder *e)
{
    if (e->depth == CPIKA_TABLE_MAX_DEPTH) {
        PyErr_Format(PyExc_ValueError,
                     "tables and lists are nested deeper than %d levels, or contain themselves",
                     CPIKA_TABLE_MAX_DEPTH);
        return -1;
    }
    e->depth++;
    return 0;
}

static int
put_string(encoder *e, char kind, const char *data, Py_ssize_t len)
{
    uint8_t head[5];

    if ((size_t)len > UINT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "a string of a table does not fit into 4 GiB");
        return -1;
    }
    head[0] = (uint8_t)kind;
    cpika_put32(head + 1, (uint32_t)len);
    return put_bytes(e, head, sizeof head) < 0 ? -1 : put_bytes(e, data, (size_t)len);
}

static int
put_text(encoder *e, PyObject *text)
{
    Py_ssize_t len;
    const char *data = PyUnicode_AsUTF8AndSize(text, &len);
    return data == NULL ? -1 : put_string(e, 'S', data, len);
}

static int
put_int64(encoder *e, char kind, uint64_t bits)
{
    uint8_t bytes[9];
    bytes[0] = (uint8_t)kind;
    cpika_put64(bytes + 1, bits);
    return put_bytes(e, bytes, sizeof bytes);
}

static int
put_int(encoder *e, PyObject *value)
{
    int overflow;
    long long n = PyLong_AsLongLongAndOverflow(value, &overflow);
    uint8_t bytes[5] = {'I'};

    if (overflow != 0) {
        return put_packed(e, ">cq", "l", value, NULL);  // raises
    }
    if (n == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (n < INT32_MIN || n > INT32_MAX || PyObject_TypeCheck(value, (PyTypeObject *)e->v->long_type)) {
        return put_int64(e, 'l', (uint64_t)n);
    }
    cpika_put32(bytes + 1, (uint32_t)n);
    return put_bytes(e, bytes, sizeof bytes);
}

static int
raise_unsupported(encoder *e, PyObject *value)
{
    size_t len = e->out->len - e->start;
    PyObject *pieces =
        len == 0 ? Py_BuildValue("([]O)", value)
                 : Py_BuildValue("([y#]O)", (const char *)(e->out->data + e->start), (Py_ssize_t)len, value);
    if (pieces != NULL) {
        PyErr_SetObject(e->v->unsupported_field, pieces);
        Py_DECREF(pieces);
    }
    return -1;
}

static int
put_float(encoder *e, PyObject *value)
{
    double d = PyFloat_AS_DOUBLE(value);
    uint64_t bits;

    if (!isfinite(d)) {
        return raise_unsupported(e, value);  // RabbitMQ has no such number, and closes the connection
    }

    _Static_assert(sizeof d == sizeof bits, "double is an IEEE 754 binary64");
    memcpy(&bits, &d, sizeof bits);
    return put_int64(e, 'd', bits);
}

/* Scale and unscaled value, both new references. */
static int
split_decimal(PyObject *value, PyObject **scale, PyObject **unscaled)
{
    PyObject *zero = PyLong_FromLong(0);
    PyObject *tuple = zero == NULL ? NULL : PyObject_CallMethod(value, "as_tuple", NULL);
    PyObject *exponent = tuple == NULL ? NULL : PyObject_GetAttrString(tuple, "exponent");
    PyObject *shifted = NULL;
    int negative = exponent == NULL ? -1 : PyObject_RichCompareBool(exponent, zero, Py_LT);

    *scale = NULL;
    *unscaled = NULL;
    if (negative == 1) {
        *scale = PyNumber_Negative(exponent);
        shifted = *scale == NULL ? NULL : PyObject_CallMethod(value, "scaleb", "O", *scale);
    } else if (negative == 0) {
        *scale = Py_NewRef(zero);
        shifted = Py_NewRef(value);
    }
    *unscaled = shifted == NULL ? NULL : PyNumber_Long(shifted);
    Py_XDECREF(zero);
    Py_XDECREF(tuple);
    Py_XDECREF(exponent);
    Py_XDECREF(shifted);
    return *unscaled == NULL ? -1 : 0;
}

static int
put_decimal(encoder *e, PyObject *value)
{
    PyObject *normal = PyObject_CallMethod(value, "normalize", NULL);
    PyObject *scale = NULL;
    PyObject *unscaled = NULL;
    int rc = normal == NULL ? -1 : split_decimal(normal, &scale, &unscaled);

    if (rc == 0) {
        rc = put_packed(e, ">cBi", "D", scale, unscaled);
    }
    Py_XDECREF(normal);
    Py_XDECREF(scale);
    Py_XDECREF(unscaled);
    return rc;
}

static int
put_datetime(encoder *e, PyObject *value)
{
    PyObject *timegm = cpika_data_get_of(e->v, e->v->str_calendar, e->v->str_timegm);
    PyObject *tuple = timegm == NULL ? NULL : PyObject_CallMethod(value, "utctimetuple", NULL);
    PyObject *seconds = tuple == NULL ? NULL : PyObject_CallFunctionObjArgs(timegm, tuple, NULL);
    int rc = seconds == NULL ? -1 : put_packed(e, ">cQ", "T", seconds, NULL);

    Py_XDECREF(timegm);
    Py_XDECREF(tuple);
    Py_XDECREF(seconds);
    return rc;
}

/* The items of exactly a list. */
static int
put_items(encoder *e, PyObject *list)
{
    int rc = 0;

    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(list); i++) {
        PyObject *item = cpika_list_get(list, i);  // encoding it may change the list
        rc = item == NULL ? -1 : encode_any(e, item);
        Py_XDECREF(item);
    }
    return rc;
}

/* What a list of another kind gives when it is iterated over. */
static int
put_iterated(encoder *e, PyObject *list)
{
    PyObject *iterator = PyObject_GetIter(list);
    PyObject *item;
    int rc = iterator == NULL ? -1 : 0;

    while (rc == 0 && (item = PyIter_Next(iterator)) != NULL) {
        rc = encode_any(e, item);
        Py_DECREF(item);
    }
    Py_XDECREF(iterator);
    return rc == 0 && PyErr_Occurred() ? -1 : rc;
}

static int
put_list(encoder *e, PyObject *list)
{
    size_t outer = e->start;
    size_t at;
    int rc = descend(e) < 0 ? -1 : begin_length(e, "A", &at);

    if (rc == 0) {
        e->start = e->out->len;  // pika's error about an item shows the items before it
        rc = PyList_CheckExact(list) ? put_items(e, list) : put_iterated(e, list);
    }
    if (rc < 0) {
        return -1;
    }
    e->start = outer;
    e->depth--;
    return end_length(e, at);
}

/* `type` is taken; NULL with an exception. */
static int
is_instance(PyObject *value, PyObject *type)
{
    int is = type == NULL ? -1 : PyObject_IsInstance(value, type);

    Py_XDECREF(type);
    return is;
}

static int
is_decimal(cpika_values *v, PyObject *value)
{
    return is_instance(value, cpika_data_get_of(v, v->str_decimal, v->str_Decimal));
}

/* Whether cpika.data has a datetime, or could: if nobody has imported that module, nothing is of its types. */
static int
knows_datetime(cpika_values *v)
{
    PyObject *data = cpika_data_module(v);
    PyObject *found = data != NULL && PyModule_CheckExact(data)
                          ? cpika_dict_get(PyModule_GetDict(data), v->str_datetime)
                          : NULL;

    if (found == NULL && !PyErr_Occurred()) {
        found = PyImport_GetModule(v->str_datetime);
    }
    Py_XDECREF(found);
    return found != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
}

static int
is_datetime(cpika_values *v, PyObject *value)
{
    int known = knows_datetime(v);

    return known > 0 ? is_instance(value, cpika_data_get(v, v->str_datetime)) : known;
}

static int
put_odd_string(encoder *e, char kind, PyObject *value)
{
    PyObject *sent = cpika_string_sent(e->v, value);
    const uint8_t *data;
    Py_ssize_t len;
    int rc = sent == NULL ? -1 : cpika_string_bytes(sent, "value", &data, &len);

    if (rc == 0) {
        rc = put_string(e, kind, (const char *)data, len);
    }
    Py_XDECREF(sent);
    return rc;
}

static int
put_odd_bool(encoder *e, PyObject *value)
{
    PyObject *number = PyNumber_Long(value);
    int rc = number == NULL ? -1 : put_packed(e, ">cB", "t", number, NULL);

    Py_XDECREF(number);
    return rc;
}

/* Of a subclass: 'I' if it fits, else 'l' of what long() makes of it. */
static int
put_odd_int(encoder *e, PyObject *value)
{
    PyObject *number;
    int rc = put_packed(e, ">ci", "I", value, NULL);

    if (rc == 0 || !PyErr_ExceptionMatches(e->v->struct_error)) {
        return rc;
    }
    PyErr_Clear();
    number = PyObject_CallFunctionObjArgs(e->v->long_type, value, NULL);
    rc = number == NULL ? -1 : put_packed(e, ">cq", "l", number, NULL);
    Py_XDECREF(number);
    return rc;
}

enum {
    ODD_ERROR = -1,
    ODD_NONE,
    ODD_STR,
    ODD_BYTES,
    ODD_BOOL,
    ODD_LONG,
    ODD_INT,
    ODD_DECIMAL,
    ODD_DATETIME,
    ODD_DICT,
    ODD_LIST
};

/* Pika's questions in pika's order, about what is of no type that goes a short way.  isinstance() believes a __class__. */
static int
odd_kind(encoder *e, PyObject *value)
{
    PyObject *const types[] = {
        [ODD_STR] = (PyObject *)&PyUnicode_Type, [ODD_BYTES] = (PyObject *)&PyBytes_Type,
        [ODD_BOOL] = (PyObject *)&PyBool_Type,   [ODD_LONG] = e->v->long_type,
        [ODD_INT] = (PyObject *)&PyLong_Type,    [ODD_DICT] = (PyObject *)&PyDict_Type,
        [ODD_LIST] = (PyObject *)&PyList_Type,
    };

    for (int kind = ODD_STR; kind <= ODD_LIST; kind++) {
        int is = kind == ODD_DECIMAL    ? is_decimal(e->v, value)
                 : kind == ODD_DATETIME ? is_datetime(e->v, value)
                                        : PyObject_IsInstance(value, types[kind]);
        if (is != 0) {
            return is < 0 ? ODD_ERROR : kind;
        }
    }
    return ODD_NONE;
}

static int
encode_odd(encoder *e, PyObject *value)
{
    switch (odd_kind(e, value)) {
    case ODD_ERROR:
        return -1;
    case ODD_STR:
        return put_odd_string(e, 'S', value);
    case ODD_BYTES:
        return put_odd_string(e, 'x', value);
    case ODD_BOOL:
        return put_odd_bool(e, value);
    case ODD_LONG:
        return put_packed(e, ">cq", "l", value, NULL);
    case ODD_INT:
        return put_odd_int(e, value);
    case ODD_DECIMAL:
        return put_decimal(e, value);
    case ODD_DATETIME:
        return put_datetime(e, value);
    case ODD_DICT:
        return put_bytes(e, "F", 1) < 0 ? -1 : encode_mapping(e, value);
    case ODD_LIST:
        return put_list(e, value);
    default:
        return PyFloat_Check(value) ? put_float(e, value) : raise_unsupported(e, value);
    }
}

static int
encode_any(encoder *e, PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);

    if (type == &PyUnicode_Type) {
        return put_text(e, value);
    }
    if (type == &PyBytes_Type) {
        return put_string(e, 'x', PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
    }
    if (type == &PyBool_Type) {
        return put_bytes(e, value == Py_True ? "t\1" : "t\0", 2);
    }
    if (type == &PyLong_Type || type == (PyTypeObject *)e->v->long_type) {
        return put_int(e, value);
    }
    if (type == &PyDict_Type) {
        return put_bytes(e, "F", 1) < 0 ? -1 : encode_mapping(e, value);
    }
    if (type == &PyList_Type) {
        return put_list(e, value);
    }
    if (value == Py_None) {
        return put_bytes(e, "V", 1);
    }
    if (type == &PyFloat_Type) {
        return put_float(e, value);
    }
    return encode_odd(e, value);
}

static int
put_key(encoder *e, PyObject *key)
{
    PyObject *held = Py_NewRef(key);
    const uint8_t *data;
    Py_ssize_t len;
    int rc = cpika_shortstr_take(e->v, &held, NULL, &data, &len);

    if (rc == 0) {
        uint8_t n = (uint8_t)len;
        rc = put_bytes(e, &n, 1) < 0 ? -1 : put_bytes(e, data, n);
    }
    Py_DECREF(held);
    return rc;
}

static int
put_entry(encoder *e, PyObject *key, PyObject *value)
{
    return put_key(e, key) < 0 ? -1 : encode_any(e, value);
}

static int
put_dict_entries(encoder *e, PyObject *dict)
{
    Py_ssize_t size = PyDict_GET_SIZE(dict);
    Py_ssize_t left = size;
    Py_ssize_t pos = 0;
    PyObject *key;
    PyObject *value;
    int rc = 0;

    Py_BEGIN_CRITICAL_SECTION(dict);
    while (rc == 0 && PyDict_Next(dict, &pos, &key, &value)) {
        if (left-- == 0) {  // as many as before, but others
            PyErr_SetString(PyExc_RuntimeError, "dictionary keys changed during iteration");
            rc = -1;
            break;
        }
        Py_INCREF(key);
        Py_INCREF(value);
        rc = put_entry(e, key, value);
        Py_DECREF(key);
        Py_DECREF(value);
        if (rc == 0 && PyDict_GET_SIZE(dict) != size) {
            PyErr_SetString(PyExc_RuntimeError, "dictionary changed size during iteration");
            rc = -1;
        }
    }
    Py_END_CRITICAL_SECTION();
    return rc;
}

/* Of anything that has items(). */
static int
put_item_entries(encoder *e, PyObject *mapping)
{
    PyObject *items = PyObject_CallMethodObjArgs(mapping, e->v->str_items, NULL);
    PyObject *iterator = items == NULL ? NULL : PyObject_GetIter(items);
    PyObject *pair = NULL;
    int rc = iterator == NULL ? -1 : 0;

    while (rc == 0 && (pair = PyIter_Next(iterator)) != NULL) {
        PyObject *key;
        PyObject *value;
        rc = cpika_unpack_pair(pair, &key, &value);
        if (rc == 0) {
            rc = put_entry(e, key, value);
            Py_DECREF(key);
            Py_DECREF(value);
        }
        Py_DECREF(pair);
    }
    if (rc == 0 && PyErr_Occurred()) {
        rc = -1;
    }
    Py_XDECREF(items);
    Py_XDECREF(iterator);
    return rc;
}

static int
encode_mapping(encoder *e, PyObject *table)
{
    size_t at;
    int filled = PyDict_CheckExact(table) ? 1 : PyObject_IsTrue(table);  // pika: `table or {}`
    int rc = filled < 0 || descend(e) < 0 ? -1 : begin_length(e, "", &at);

    if (rc == 0 && filled) {
        rc = PyDict_CheckExact(table) ? put_dict_entries(e, table) : put_item_entries(e, table);
    }
    if (rc < 0) {
        return -1;
    }
    e->depth--;
    return end_length(e, at);
}

static int
encode(cpika_values *v, PyObject *value, cpika_buf *out, int (*how)(encoder *, PyObject *))
{
    size_t before = out->len;
    encoder e = {v, out, before, 0};

    if (how(&e, value) < 0) {
        out->len = before;
        return -1;
    }
    return 0;
}

int
cpika_table_encode(cpika_values *v, PyObject *table, cpika_buf *out)
{
    return encode(v, table, out, encode_mapping);
}

int
cpika_value_encode(cpika_values *v, PyObject *value, cpika_buf *out)
{
    return encode(v, value, out, encode_any);
}
