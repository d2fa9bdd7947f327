/* leaving.h - in a build with CPIKA_DEBUG: nothing leaves on a channel, or a connection, whose Close has left.
 * Layer: engine.
 * Owns: nothing; it marks channel and engine.  Threads: with the GIL.
 * Errors: none: it aborts. */
#ifndef CPIKA_ENGINE_LEAVING_H
#define CPIKA_ENGINE_LEAVING_H

#include "channel.h"  // Python.h before any other header

#ifdef CPIKA_DEBUG
/* Whole frames are on their way from here on: behind all that were before, and before all that come after.  `channels` by
 * number; *close_left: Connection.Close has. */
void cpika_debug_leaving(cpika_channel *const *channels, size_t cap, bool *close_left, const uint8_t *bytes,
                         size_t n);
#endif

#endif
