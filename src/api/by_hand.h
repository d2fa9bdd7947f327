/* by_hand.h - the engine driven by bytes alone: what a loop gives it, and what it takes from it.
 * Layer: api.
 * Owns: nothing.  Threads: with the GIL.
 * Errors: NULL with an exception. */
#ifndef CPIKA_API_BY_HAND_H
#define CPIKA_API_BY_HAND_H

#include "drivers/objects.h"

/* Methods of _core.Connection: _feed, _feed_eof, _take_output, _take_events. */
extern PyMethodDef cpika_by_hand_methods[];

#endif
