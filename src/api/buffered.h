/* buffered.h - `with channel.buffered()`: publishes are held back and leave together.
 * Layer: api.
 * Owns: a block belongs to the context manager that has entered it.  Threads: with the GIL; a block is for the publishes of
 *       the thread, or greenlet, that entered it.
 * Errors: NULL or -1 with an exception.
 *
 * Entering and leaving are each one call of C, and what stands on the interpreter's stack between them ends the block when
 * it dies there (values/open_block.h); a context manager that is forgotten inside takes its block with it.  So no block
 * stays open by accident. */
#ifndef CPIKA_API_BUFFERED_H
#define CPIKA_API_BUFFERED_H

#include "encode.h"

typedef struct cpika_block cpika_block;

/* The block that whoever calls is inside, or NULL. */
cpika_block *buffered_block(const CpikaChannel *ch);

/* One publish inside it.  0 or -1. */
int buffered_publish(CpikaChannel *ch, cpika_block *block, const publish_args *a);

/* The type BufferedPublishing. */
int cpika_buffered_exec(PyObject *module, cpika_state *st);

#endif
