/* channel.h - the type _core.Channel.
 * Layer: api.  Owns: nothing.  Threads: with the GIL.  Errors: -1 with an exception. */
#ifndef CPIKA_API_CHANNEL_H
#define CPIKA_API_CHANNEL_H

#include "drivers/objects.h"

int cpika_channel_exec(PyObject *module, cpika_state *st);

#endif
