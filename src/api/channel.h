/* channel.h - the type _core.Channel.
 * Layer: api.  Owns: nothing.  Threads: with the GIL.  Errors: -1 with an exception. */
#ifndef CPIKA_API_CHANNEL_H
#define CPIKA_API_CHANNEL_H

#include "drivers/objects.h"

int cpika_channel_exec(PyObject *module, cpika_state *st);

/* What a type on top of it calls: the slots of _core.Channel. */
PyObject *cpika_channel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
int cpika_channel_init(PyObject *op, PyObject *args, PyObject *kwargs);
int cpika_channel_traverse(PyObject *op, visitproc visit, void *arg);
int cpika_channel_clear(PyObject *op);
void cpika_channel_dealloc(PyObject *op);

#endif
