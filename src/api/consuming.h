/* consuming.h - consumers of a channel: begun and cancelled, each in one call that no signal handler divides.
 * Layer: api.
 * Owns: nothing.  Threads: with the GIL.
 * Errors: NULL with an exception. */
#ifndef CPIKA_API_CONSUMING_H
#define CPIKA_API_CONSUMING_H

#include "drivers/objects.h"

/* Methods of _core.Channel: _consume, _cancel, _cancel_for_nobody, _await_requests. */
extern PyMethodDef cpika_consuming_methods[];

#endif
