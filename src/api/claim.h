/* claim.h - a channel that is claimed for longer than a dispatching call: `with Claim(channel)`, around start_consuming's loop;
 *           or for the next one, `with Claim(channel, sink, asks)`, where the program's code stands before it.
 * Layer: api.
 * Owns: the channel, until the claim ends.  Threads: with the GIL.
 * Errors: NULL or -1 with an exception.
 *
 * A claim begins when it is made and ends once: when its block is left, or when it is forgotten.  It stands on the
 * interpreter's stack and in no variable, so that no traceback keeps it; wherever an exception strikes, it ends. */
#ifndef CPIKA_API_CLAIM_H
#define CPIKA_API_CLAIM_H

#include "drivers/process.h"

/* Where a dispatching call has no channel of its own: takes up what whoever calls has claimed for it.  `tag`: room for the
 * consumer's, whose bytes live as long as the claim.  The claim, to be put down when the call has ended; NULL: there is
 * none. */
PyObject *cpika_claim_take_up(CpikaConnection *conn, cpika_process_args *args, cpika_consumer_tag *tag);
void cpika_claim_put_down(PyObject *claim);

/* The type Claim. */
int cpika_claim_exec(PyObject *module);

#endif
