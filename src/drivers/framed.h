/* framed.h - the frames that channels and callbacks get: frame.Method and frame.Header as their __init__ makes them, without
 * the call of a Python function for each.
 * Layer: drivers.
 * Owns: nothing.  Threads: with the GIL.  Setting attributes may run user code (a metaclass, a finalizer).
 * Errors: NULL with an exception. */
#ifndef CPIKA_DRIVERS_FRAMED_H
#define CPIKA_DRIVERS_FRAMED_H

#include "values/state.h"

/* New frame.Method. */
PyObject *cpika_frame_method(cpika_state *st, uint16_t channel, PyObject *method);

/* New frame.Header of a body of exactly bytes. */
PyObject *cpika_frame_header(cpika_state *st, uint16_t channel, PyObject *properties, PyObject *body);

#endif
