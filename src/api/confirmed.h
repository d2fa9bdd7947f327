/* confirmed.h - basic_publish in confirm mode: it waits for the broker's word.
 * Layer: api.
 * Owns: nothing beyond a call.  Threads: with the GIL; on one channel one publish after the other.
 * Errors: -1 with an exception. */
#ifndef CPIKA_API_CONFIRMED_H
#define CPIKA_API_CONFIRMED_H

#include "encode.h"

/* Raises NackError or UnroutableError. */
int publish_confirmed(CpikaChannel *ch, const publish_args *a);

/* New ReturnedMessage of what came back; NULL with an exception. */
PyObject *publish_returned_message(CpikaChannel *ch, const cpika_message *message);

#endif
