/* loop_channel.h - _core.LoopChannel: the base of pika.channel.Channel, with its hot methods, which never wait.
 * Layer: api.
 * Owns: see loop_channel.c.  Threads: with the GIL.
 * Errors: -1 with an exception. */
#ifndef CPIKA_API_LOOP_CHANNEL_H
#define CPIKA_API_LOOP_CHANNEL_H

#include "values/state.h"

int cpika_loop_channel_exec(PyObject *module, cpika_state *st);

#endif
