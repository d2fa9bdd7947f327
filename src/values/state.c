/* state.c - from a type to the state of the module that made it.
 * Layer: values.  Owns: nothing.  Threads: with the GIL.
 * Errors: NULL with an exception. */
#include "state.h"

#include <string.h>

/* Whether that is a module object of ours.  (PyType_GetModuleByDef() is new in 3.11, and its definition stands above this
 * floor.) */
static bool
is_our_module(PyObject *module)
{
    const PyModuleDef *def = PyModule_GetDef(module);
    return def != NULL && def->m_size == (Py_ssize_t)sizeof(cpika_state)
           && strcmp(def->m_name, CPIKA_MODULE_NAME) == 0;
}

cpika_state *
cpika_state_of_type(PyTypeObject *type)
{
    for (PyTypeObject *base = type; base != NULL; base = base->tp_base) {
        if (!PyType_HasFeature(base, Py_TPFLAGS_HEAPTYPE)) {
            continue;
        }
        PyObject *module = PyType_GetModule(base);
        if (module == NULL) {
            PyErr_Clear();
        } else if (is_our_module(module)) {
            return PyModule_GetState(module);
        }
    }
    PyErr_SetString(PyExc_TypeError, "the type is not one of cpika._core");
    return NULL;
}
