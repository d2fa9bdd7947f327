/* compat.c - what newer CPythons do and older ones do not.
 * Layer: values.  Owns: nothing.  Threads: with the GIL.  Errors: as the functions of CPython they stand for. */
#include "compat.h"

#if PY_VERSION_HEX < 0x030C0000
PyObject *
cpika_err_format(PyObject *type, const char *format, ...)
{
    va_list va;

    PyErr_Clear();  // what formats may run Python code, which none may do with an exception set
    va_start(va, format);
    PyObject *text = PyUnicode_FromFormatV(format, va);
    va_end(va);
    if (text != NULL) {
        PyErr_SetObject(type, text);
        Py_DECREF(text);
    }
    return NULL;
}
#endif
