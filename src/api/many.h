/* many.h - publish_many: what an iterable gives, many messages to one send.
 * Layer: api.
 * Owns: the window of a call.  Threads: with the GIL.
 * Errors: NULL with an exception; what the broker refused is told when all have been answered. */
#ifndef CPIKA_API_MANY_H
#define CPIKA_API_MANY_H

#include "drivers/objects.h"

PyObject *channel_publish_many(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

#endif
