/* kept.h - what the thread that keeps connections over Python sockets asks of them.
 * Layer: api.
 * Owns: nothing.  Threads: with the GIL, in a thread that is nobody's: no user code runs.
 * Errors: none. */
#ifndef CPIKA_API_KEPT_H
#define CPIKA_API_KEPT_H

#include "drivers/objects.h"

/* Methods of _core.Connection: _keep. */
extern PyMethodDef cpika_kept_methods[];

#endif
