/* inner.h - what pika's private names, which tracers and programs use, ask of the core: never on the way of a message.
 * Layer: api.
 * Owns: nothing.  Threads: with the GIL.
 * Errors: NULL with an exception. */
#ifndef CPIKA_API_INNER_H
#define CPIKA_API_INNER_H

#include "drivers/objects.h"

/* Methods of _core.Connection: _await_frame, _descriptor. */
extern PyMethodDef cpika_inner_connection_methods[];

/* Methods of _core.Channel: _is_buffered, _send_method, _waiting_events. */
extern PyMethodDef cpika_inner_channel_methods[];

#endif
