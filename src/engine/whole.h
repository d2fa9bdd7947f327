/* whole.h - what comes as a whole and is handed on as it stands in the input, without a message made of it.
 * Layer: engine.
 * Owns: nothing; what is taken pins the input's chunk.  Threads: with the GIL.
 * Errors: none: false for anything else, a violation too, which gets its name frame by frame. */
#ifndef CPIKA_ENGINE_WHOLE_H
#define CPIKA_ENGINE_WHOLE_H

#include "engine.h"  // Python.h before any other header

#include <stdbool.h>
#include <stddef.h>

#include "wire/frame.h"

/* A delivery that stands whole in the input: method, header and body, one frame each, as most do.  Its method's fields are
 * not split yet.  The chunk is pinned: cpika_input_unpin when its bytes are not needed any more. */
typedef struct {
    cpika_channel *channel;
    cpika_input_chunk *chunk;
    const uint8_t *method, *properties, *body;
    size_t method_len, properties_len, body_len;
} cpika_raw_delivery;

/* A delivery whose frames have all come: `method` is its first, `available` the bytes from there on. */
bool cpika_take_whole(cpika_engine *e, const cpika_frame *method, size_t available, cpika_raw_delivery *d);

/* The broker's word for publishes, where everything is told. */
bool cpika_take_verdict(cpika_engine *e, const cpika_frame *frame, cpika_raw_delivery *d);

#endif
