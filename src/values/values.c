/* values.c - what Python code gave to a decode() and was wrong: exceptions.  See values.h.
 * Layer: values.  Owns: see values.h.  Threads: the caller holds the GIL.
 * Errors: NULL or -1 with an exception set, unless a comment says otherwise. */
#include "values.h"

#include "wire/table.h"

/* ---- errors ---- */

void
cpika_values_raise(cpika_values *v, int status, const char *what)
{
    switch (status) {
    case CPIKA_E_NOMEM:
        PyErr_NoMemory();
        break;
    case CPIKA_E_DEPTH:
        PyErr_Format(PyExc_ValueError, "%s: tables and lists are nested deeper than %d levels", what,
                     CPIKA_TABLE_MAX_DEPTH);
        break;
    case CPIKA_E_SHORTSTR:
        PyErr_SetString(v->short_string_too_long, what);
        break;
    case CPIKA_E_FRAME_SIZE:
        PyErr_Format(PyExc_OverflowError, "%s: the arguments do not fit into 4 GiB", what);
        break;
    case CPIKA_E_TRUNCATED:
        PyErr_Format(v->struct_error, "%s: a field reaches over the end of the bytes", what);
        break;
    default:
        PyErr_Format(v->struct_error, "%s: rabbitmq-c and cpika do not agree about the bytes", what);
        break;
    }
}

void
cpika_values_raise_at(cpika_values *v, int status, const char *what, const uint8_t *data, size_t pos)
{
    PyObject *kind;

    if (status != CPIKA_E_FIELD_KIND) {
        cpika_values_raise(v, status, what);
        return;
    }
    kind = PyBytes_FromStringAndSize((const char *)data + pos, 1);
    if (kind != NULL) {
        PyErr_SetObject(v->invalid_field_type, kind);
        Py_DECREF(kind);
    }
}
