/* publish.h - what basic_publish and its confirms share.
 * Layer: core.  Owns: nothing.  Threads: with the GIL.  Errors: -1 with an exception. */
#ifndef CPIKA_CORE_PUBLISH_H
#define CPIKA_CORE_PUBLISH_H

#include "engine.h"

/* What the caller of basic_publish gave; all borrowed. */
typedef struct {
    PyObject *exchange;
    PyObject *routing_key;
    PyObject *body;
    PyObject *properties;  // NULL: none
    bool mandatory;
} publish_args;

/* How it goes out, and who awaits its confirm. */
typedef struct {
    cpika_confirm *confirm;  // one that is awaited by itself, or NULL
    cpika_window *window;    // many that are awaited together, or NULL
    size_t hold_bytes;       // leaves when so many bytes are queued; 0: at once
    uint64_t hold_ns;        // and after this time at the latest
} publish_mode;

/* Validates, encodes, looks at the input, sends or holds.  What awaits the confirm is registered before the first byte
 * leaves.  0 or -1. */
int channel_publish(CpikaChannel *ch, const publish_args *a, const publish_mode *mode);

/* The same in confirm mode: waits for the broker's word and raises NackError or UnroutableError. */
int channel_publish_confirmed(CpikaChannel *ch, const publish_args *a);

/* The block of `with channel.buffered()` that this thread is inside, or NULL. */
cpika_block *channel_block(const CpikaChannel *ch);

/* One publish inside it. */
int channel_publish_buffered(CpikaChannel *ch, cpika_block *block, const publish_args *a);
void channel_free_blocks(CpikaChannel *ch);

#endif
