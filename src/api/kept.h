/* kept.h - what the Python side of Python sockets asks: the thread that keeps them, and loops among greenlets.
 * Layer: api.
 * Owns: nothing.  Threads: with the GIL; _keep in a thread that is nobody's, where no user code runs.
 * Errors: none of _keep; of _be_fair see drivers/fair.h. */
#ifndef CPIKA_API_KEPT_H
#define CPIKA_API_KEPT_H

#include "drivers/objects.h"

/* Methods of _core.Connection: _keep, _be_fair. */
extern PyMethodDef cpika_kept_methods[];

#endif
