/* claim.h - a channel that is claimed for longer than a dispatching call: `with Claim(channel)`, around start_consuming's loop.
 * Layer: api.
 * Owns: the channel, until the claim ends.  Threads: with the GIL.
 * Errors: NULL or -1 with an exception.
 *
 * A claim begins when it is made and ends once: when its block is left, or when it is forgotten.  It stands on the
 * interpreter's stack and in no variable, so that no traceback keeps it; wherever an exception strikes, it ends. */
#ifndef CPIKA_API_CLAIM_H
#define CPIKA_API_CLAIM_H

#include "drivers/objects.h"

/* The type Claim. */
int cpika_claim_exec(PyObject *module);

#endif
