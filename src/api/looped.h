/* looped.h - what an event loop's side asks of a connection.
 * Layer: api.
 * Owns: nothing.  Threads: see drivers/loop.h.
 * Errors: NULL with an exception. */
#ifndef CPIKA_API_LOOPED_H
#define CPIKA_API_LOOPED_H

#include "drivers/objects.h"

/* Methods of _core.Connection: those with _loop_. */
extern PyMethodDef cpika_looped_methods[];

#endif
