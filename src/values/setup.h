/* setup.h - the module's slots of this floor: each to be called from the one of the same name.
 * Layer: values.  Owns: see values.h.  Threads: the caller holds the GIL.
 * Errors: -1 with an exception set. */
#ifndef CPIKA_VALUES_SETUP_H
#define CPIKA_VALUES_SETUP_H

#include "values.h"

int cpika_values_exec(PyObject *module, cpika_values *v);
int cpika_values_traverse(cpika_values *v, visitproc visit, void *arg);
void cpika_values_clear(cpika_values *v);

/* Makes a type of the spec, and gives it to the module under its name. */
int cpika_add_type(PyObject *module, PyType_Spec *spec);

#endif
