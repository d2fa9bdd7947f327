/* props.h - BasicProperties.
 * Layer: values.  Owns: nothing.  Threads: the caller holds the GIL.  Errors: NULL or -1 with an exception set. */
#ifndef CPIKA_VALUES_PROPS_H
#define CPIKA_VALUES_PROPS_H

#include "object.h"

/* Makes the type; `basic` is the class Basic. */
int cpika_props_init(cpika_values *v, PyObject *module, PyObject *basic);

#endif
