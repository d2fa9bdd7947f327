/* numbers.h - which numbers channels may have.
 * Layer: api.
 * Owns: nothing.  Threads: with the GIL, in signal handlers and finalizers too.
 * Errors: NULL with an exception. */
#ifndef CPIKA_API_NUMBERS_H
#define CPIKA_API_NUMBERS_H

#include "drivers/objects.h"

/* Methods of _core.Connection: _take_channel_number, _is_crossed. */
extern PyMethodDef cpika_numbers_methods[];

#endif
