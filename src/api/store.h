/* store.h - messages between the engine and the program: those that wait to be dispatched, and those that consume() keeps.
 * Layer: api.
 * Owns: nothing.  Threads: with the GIL.
 * Errors: NULL with an exception. */
#ifndef CPIKA_API_STORE_H
#define CPIKA_API_STORE_H

#include "drivers/objects.h"

/* Methods of _core.Channel: _next_kept, _keep_again, _give_back_all, _pending_count, _take_pending, _begin_generator,
 * _end_generator. */
extern PyMethodDef cpika_store_methods[];

/* Its _queue_consumer_generator. */
PyObject *cpika_get_generator(PyObject *op, void *closure);
int cpika_set_generator(PyObject *op, PyObject *value, void *closure);

#endif
