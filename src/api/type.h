/* type.h - types whose methods stand in several rooms.
 * Layer: api.  Owns: nothing.  Threads: with the GIL.  Errors: -1 with an exception. */
#ifndef CPIKA_API_TYPE_H
#define CPIKA_API_TYPE_H

#include "values/compat.h"  // Python.h before any other header

/* Gives a type the methods of another room. */
static inline int
cpika_add_methods(PyTypeObject *type, PyMethodDef *methods)
{
    for (PyMethodDef *def = methods; def->ml_name != NULL; def++) {
        PyObject *method = PyDescr_NewMethod(type, def);
        int rc = method == NULL ? -1 : PyObject_SetAttrString((PyObject *)type, def->ml_name, method);
        Py_XDECREF(method);
        if (rc < 0) {
            return -1;
        }
    }
    return 0;
}

#endif
