/* setup.c - sets up and tears down what values.h declares, and the functions behind cpika.data.  See setup.h.
 * Layer: values.  Owns: see values.h.  Threads: the caller holds the GIL.
 * Errors: NULL or -1 with an exception set, unless a comment says otherwise. */
#include "setup.h"

#include "errors.h"
#include "gate.h"
#include "methods.h"
#include "props.h"
#include "wire/table.h"

/* ---- cpika.data ---- */

static cpika_values *
state_of(PyObject *module)
{
    return (cpika_values *)PyModule_GetState(module);
}

/* Appends the bytes to the list `pieces`; returns their number. */
static PyObject *
append_piece(PyObject *pieces, const cpika_buf *buf)
{
    PyObject *piece = PyBytes_FromStringAndSize((const char *)buf->data, (Py_ssize_t)buf->len);
    PyObject *done = piece == NULL ? NULL : PyObject_CallMethod(pieces, "append", "O", piece);
    PyObject *size = done == NULL ? NULL : PyLong_FromSize_t(buf->len);

    Py_XDECREF(piece);
    Py_XDECREF(done);
    return size;
}

static int
encode_short_string(cpika_values *v, PyObject *value, cpika_buf *out)
{
    PyObject *held = Py_NewRef(value);
    const uint8_t *data;
    Py_ssize_t len;
    int rc = cpika_shortstr_take(v, &held, NULL, &data, &len);

    if (rc == 0
        && (cpika_buf_put8(out, (uint8_t)len) != CPIKA_OK
            || cpika_buf_append(out, data, (size_t)len) != CPIKA_OK)) {
        PyErr_NoMemory();
        rc = -1;
    }
    Py_DECREF(held);
    return rc;
}

static PyObject *
run_encoder(PyObject *module, PyObject *args, PyObject *kwds, const char *format, const char *value_name,
            int (*how)(cpika_values *, PyObject *, cpika_buf *))
{
    char *names[] = {"pieces", (char *)(uintptr_t)value_name, NULL};
    cpika_buf out = CPIKA_BUF_INIT;
    PyObject *pieces;
    PyObject *value;
    PyObject *size = NULL;

    if (PyArg_ParseTupleAndKeywords(args, kwds, format, names, &pieces, &value)
        && how(state_of(module), value, &out) == 0) {
        size = append_piece(pieces, &out);
    }
    cpika_buf_free(&out);
    return size;
}

static PyObject *
data_encode_short_string(PyObject *module, PyObject *args, PyObject *kwds)
{
    CPIKA_GATE;
    return run_encoder(module, args, kwds, "OO:encode_short_string", "value", encode_short_string);
}

static PyObject *
data_encode_table(PyObject *module, PyObject *args, PyObject *kwds)
{
    CPIKA_GATE;
    return run_encoder(module, args, kwds, "OO:encode_table", "table", cpika_table_encode);
}

static PyObject *
data_encode_value(PyObject *module, PyObject *args, PyObject *kwds)
{
    CPIKA_GATE;
    return run_encoder(module, args, kwds, "OO:encode_value", "value", cpika_value_encode);
}

typedef int (*walk_function)(const uint8_t *data, size_t len, size_t *pos);
typedef PyObject *(*decode_function)(cpika_values *v, const uint8_t *data, size_t *pos);

static int
walk_short_string(const uint8_t *data, size_t len, size_t *pos)
{
    cpika_value value;
    return cpika_field_walk(CPIKA_KIND_shortstr, data, len, pos, &value);
}

static PyObject *
decode_short_string(cpika_values *Py_UNUSED(v), const uint8_t *data, size_t *pos)
{
    size_t len = data[*pos];
    const uint8_t *text = data + *pos + 1;

    *pos += 1 + len;
    return cpika_text_decode(text, len);
}

/* (value, offset behind it) */
static PyObject *
run_decoder(PyObject *module, PyObject *args, PyObject *kwds, const char *format, walk_function walk,
            decode_function decode)
{
    static char *names[] = {"encoded", "offset", NULL};
    Py_buffer encoded;
    Py_ssize_t offset;
    Py_ssize_t begin;
    PyObject *value = NULL;
    size_t end;
    size_t pos;
    int rc;

    if (!PyArg_ParseTupleAndKeywords(args, kwds, format, names, &encoded, &offset)) {
        return NULL;
    }
    begin = cpika_offset_in(state_of(module), &encoded, offset);
    if (begin < 0) {
        PyBuffer_Release(&encoded);
        return NULL;
    }
    pos = (size_t)begin;
    end = pos;
    rc = pos > (size_t)encoded.len ? CPIKA_E_TRUNCATED : walk(encoded.buf, (size_t)encoded.len, &end);
    if (rc != CPIKA_OK) {
        cpika_values_raise_at(state_of(module), rc, "table", encoded.buf, end);
        PyBuffer_Release(&encoded);
        return NULL;
    }
    Py_ssize_t moved = cpika_hold_still(&encoded, pos, end);
    if (moved < 0) {
        return NULL;
    }
    pos -= (size_t)moved;
    end = pos;
    // Without the GIL another thread may have written meanwhile.
    rc = CPIKA_FREE_THREADED ? walk(encoded.buf, (size_t)encoded.len, &end) : CPIKA_OK;
    if (rc != CPIKA_OK) {
        cpika_values_raise_at(state_of(module), rc, "table", encoded.buf, end);
        PyBuffer_Release(&encoded);
        return NULL;
    }
    value = decode(state_of(module), encoded.buf, &pos);
    pos += (size_t)moved;
    PyBuffer_Release(&encoded);
    return value == NULL ? NULL : Py_BuildValue("Nn", value, (Py_ssize_t)pos - begin + offset);
}

static PyObject *
data_decode_short_string(PyObject *module, PyObject *args, PyObject *kwds)
{
    CPIKA_GATE;
    return run_decoder(module, args, kwds, "y*n:decode_short_string", walk_short_string, decode_short_string);
}

static PyObject *
data_decode_table(PyObject *module, PyObject *args, PyObject *kwds)
{
    CPIKA_GATE;
    return run_decoder(module, args, kwds, "y*n:decode_table", cpika_table_walk, cpika_table_decode);
}

static PyObject *
data_decode_value(PyObject *module, PyObject *args, PyObject *kwds)
{
    CPIKA_GATE;
    return run_decoder(module, args, kwds, "y*n:decode_value", cpika_table_walk_value, cpika_value_decode);
}

static PyObject *
errors_raise_again(PyObject *module, PyObject *error)
{
    CPIKA_GATE;
    (void)module;
    if (!PyExceptionInstance_Check(error)) {
        return PyErr_Format(PyExc_TypeError, "raise_again() takes an exception, but got %R", error);
    }
    cpika_raise_again(error);
    return NULL;
}

static PyMethodDef module_functions[] = {
    {"encode_short_string", (PyCFunction)(void (*)(void))data_encode_short_string,
     METH_VARARGS | METH_KEYWORDS,
     "encode_short_string($module, pieces, value)\n--\n\nAppend a short string to the list; return its "
     "encoded length."},
    {"decode_short_string", (PyCFunction)(void (*)(void))data_decode_short_string,
     METH_VARARGS | METH_KEYWORDS,
     "decode_short_string($module, encoded, offset)\n--\n\nReturn the string (bytes if it is not UTF-8) and "
     "the offset behind it."},
    {"encode_table", (PyCFunction)(void (*)(void))data_encode_table, METH_VARARGS | METH_KEYWORDS,
     "encode_table($module, pieces, table)\n--\n\nAppend a dict as a table to the list; return its encoded "
     "length."},
    {"decode_table", (PyCFunction)(void (*)(void))data_decode_table, METH_VARARGS | METH_KEYWORDS,
     "decode_table($module, encoded, offset)\n--\n\nReturn the table as a dict and the offset behind it."},
    {"encode_value", (PyCFunction)(void (*)(void))data_encode_value, METH_VARARGS | METH_KEYWORDS,
     "encode_value($module, pieces, value)\n--\n\nAppend a value with its kind to the list; return its "
     "encoded length."},
    {"decode_value", (PyCFunction)(void (*)(void))data_decode_value, METH_VARARGS | METH_KEYWORDS,
     "decode_value($module, encoded, offset)\n--\n\nReturn a value of a table and the offset behind it."},
    {"raise_again", errors_raise_again, METH_O,
     "raise_again($module, error, /)\n--\n\nRaise an exception like this one, which stays as it is: it is "
     "kept, and raised to "
     "whoever asks."},
    {NULL, NULL, 0, NULL},
};

/* ---- set up and tear down ---- */

/* For cpika.data, which comes later. */
static int
import_early(const char *module_name)
{
    PyObject *module = PyImport_ImportModule(module_name);

    Py_XDECREF(module);
    return module == NULL ? -1 : 0;
}

static int
import_into(PyObject **owned, const char *module_name, const char *attribute)
{
    PyObject *module = PyImport_ImportModule(module_name);

    if (module == NULL) {
        return -1;
    }
    *owned = PyObject_GetAttrString(module, attribute);
    Py_DECREF(module);
    return *owned == NULL ? -1 : 0;
}

static int
intern_into(PyObject **owned, const char *text)
{
    *owned = PyUnicode_InternFromString(text);
    return *owned == NULL ? -1 : 0;
}

static int
intern_all(cpika_values *v)
{
    const struct {
        PyObject **owned;
        const char *text;
    } names[] = {
        {&v->str_data_module, "cpika.data"},
        {&v->str_decimal, "decimal"},
        {&v->str_calendar, "calendar"},
        {&v->str_Decimal, "Decimal"},
        {&v->str_datetime, "datetime"},
        {&v->str_timezone, "timezone"},
        {&v->str_utc, "utc"},
        {&v->str_timegm, "timegm"},
        {&v->str_dict, "__dict__"},
        {&v->str_encode, "encode"},
        {&v->str_index, "INDEX"},
        {&v->str_items, "items"},
        {&v->str_getstate, "__getstate__"},
        {&v->str_value, "value"},
        {&v->str_utf8, "UTF-8"},
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (intern_into(names[i].owned, names[i].text) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
import_all(cpika_values *v)
{
    if (import_into(&v->struct_pack, "struct", "pack") < 0
        || import_into(&v->struct_error, "struct", "error") < 0
        || import_into(&v->slotnames, "copyreg", "_slotnames") < 0 || import_early("decimal") < 0
        || import_into(&v->long_type, "cpika.compat", "long") < 0
        || import_into(&v->delivery_mode_type, "cpika.delivery_mode", "DeliveryMode") < 0
        || import_into(&v->short_string_too_long, "cpika.exceptions", "ShortStringTooLong") < 0
        || import_into(&v->unsupported_field, "cpika.exceptions", "UnsupportedAMQPFieldException") < 0
        || import_into(&v->invalid_field_type, "cpika.exceptions", "InvalidFieldTypeException") < 0) {
        return -1;
    }
    if (PyInterpreterState_Get() == PyInterpreterState_Main()
        && (import_early("datetime") < 0 || import_early("calendar") < 0)) {
        return -1;
    }
    if (!PyType_Check(v->long_type) || !PyType_Check(v->delivery_mode_type)) {
        PyErr_SetString(PyExc_TypeError,
                        "cpika.compat.long and cpika.delivery_mode.DeliveryMode have to be classes");
        return -1;
    }
    return intern_all(v);
}

/* Makes the types in order and hands them to the module. */
static int
add_types(PyObject *module, cpika_values *v, PyObject *classes, PyObject *methods)
{
    const struct {
        const char *name;
        const cpika_class *cls;
    } types[] = {
        {"AMQPObject", &v->amqp_object},
        {"Class", &v->klass},
        {"Method", &v->method},
        {"Properties", &v->properties},
        {"BasicProperties", &v->basic_properties},
    };

    if (cpika_methods_init(v, module, classes, methods) < 0
        || cpika_props_init(v, module, PyDict_GetItemString(classes, "Basic")) < 0
        || PyObject_SetAttrString(module, "spec_classes", classes) < 0
        || PyObject_SetAttrString(module, "spec_methods", methods) < 0) {
        return -1;
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (PyObject_SetAttrString(module, types[i].name, (PyObject *)types[i].cls->type) < 0) {
            return -1;
        }
    }
    return PyModule_AddFunctions(module, module_functions);
}

int
cpika_values_exec(PyObject *module, cpika_values *v)
{
    PyObject *classes = PyDict_New();
    PyObject *methods = PyDict_New();
    int rc = -1;

    // The types find `v` by the address of the module's state.
    if ((void *)v != PyModule_GetState(module)) {
        PyErr_SetString(PyExc_SystemError, "cpika_values has to stand first in the module's state");
    } else if (classes != NULL && methods != NULL && import_all(v) == 0) {
        rc = add_types(module, v, classes, methods);
    }
    Py_XDECREF(classes);
    Py_XDECREF(methods);
    return rc;
}

int
cpika_values_traverse(cpika_values *v, visitproc visit, void *arg)
{
    cpika_class *const singles[] = {&v->amqp_object, &v->klass, &v->method, &v->properties,
                                    &v->basic_properties};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof singles / sizeof singles[0]; i++) {
        rc = cpika_class_traverse(singles[i], visit, arg);
    }
    for (int i = 0; rc == 0 && i < CPIKA_METHOD_COUNT; i++) {
        rc = cpika_class_traverse(&v->methods[i], visit, arg);
    }
    if (rc != 0) {
        return rc;
    }
    Py_VISIT(v->struct_pack);
    Py_VISIT(v->struct_error);
    Py_VISIT(v->slotnames);
    Py_VISIT(v->long_type);
    Py_VISIT(v->delivery_mode_type);
    Py_VISIT(v->short_string_too_long);
    Py_VISIT(v->unsupported_field);
    Py_VISIT(v->invalid_field_type);
    Py_VISIT(v->data_module);
    return 0;
}

void
cpika_values_clear(cpika_values *v)
{
    cpika_class *const singles[] = {&v->basic_properties, &v->properties, &v->method, &v->klass,
                                    &v->amqp_object};

    for (int i = 0; i < CPIKA_METHOD_COUNT; i++) {
        cpika_class_clear(&v->methods[i]);
    }
    for (size_t i = 0; i < sizeof singles / sizeof singles[0]; i++) {
        cpika_class_clear(singles[i]);
    }
    Py_CLEAR(v->struct_pack);
    Py_CLEAR(v->struct_error);
    Py_CLEAR(v->slotnames);
    Py_CLEAR(v->long_type);
    Py_CLEAR(v->delivery_mode_type);
    Py_CLEAR(v->short_string_too_long);
    Py_CLEAR(v->unsupported_field);
    Py_CLEAR(v->invalid_field_type);
    Py_CLEAR(v->data_module);
    Py_CLEAR(v->str_data_module);
    Py_CLEAR(v->str_decimal);
    Py_CLEAR(v->str_calendar);
    Py_CLEAR(v->str_Decimal);
    Py_CLEAR(v->str_datetime);
    Py_CLEAR(v->str_timezone);
    Py_CLEAR(v->str_utc);
    Py_CLEAR(v->str_timegm);
    Py_CLEAR(v->str_dict);
    Py_CLEAR(v->str_encode);
    Py_CLEAR(v->str_index);
    Py_CLEAR(v->str_items);
    Py_CLEAR(v->str_getstate);
    Py_CLEAR(v->str_value);
    Py_CLEAR(v->str_utf8);
}

int
cpika_add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    int rc = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return rc;
}
