/* turns.h - what is to be done beside dispatching: timers and callbacks that are due, calls that are to return.
 * Layer: api.
 * Owns: nothing.  Threads: with the GIL; _ask_return in any thread, in signal handlers too.
 * Errors: NULL with an exception. */
#ifndef CPIKA_API_TURNS_H
#define CPIKA_API_TURNS_H

#include "drivers/objects.h"

/* Methods of _core.Connection: _check_may_wait, _is_dispatching, _ask_return, _set_due, _set_timer. */
extern PyMethodDef cpika_turns_methods[];

#endif
