/* frames.h - from bytes to state and events: what each frame means.
 * Layer: engine.
 * Owns: nothing.  Threads: with the GIL.  Sends nothing, waits for nothing, runs no user code.
 * Errors: none: a violation of the wire ends the connection with the reply code that the specification names. */
#ifndef CPIKA_ENGINE_FRAMES_H
#define CPIKA_ENGINE_FRAMES_H

#include "whole.h"  // Python.h before any other header

typedef enum {
    CPIKA_STEP_MORE,      // nothing complete is there, or the connection has ended
    CPIKA_STEP_DONE,      // a frame was handled
    CPIKA_STEP_DELIVERY,  // `direct` is the caller's: it dispatches or queues it
    CPIKA_STEP_VERDICT,   // the same, of a Basic.Ack or Basic.Nack: only where everything is told
} cpika_step;

/* Handles what stands next in the input.  `direct`: a delivery may be handed out (NULL: it is queued). */
cpika_step cpika_engine_step(cpika_engine *e, cpika_raw_delivery *direct);

/* Queues a delivery that was handed out, and unpins it. */
void cpika_engine_queue_delivery(cpika_engine *e, const cpika_raw_delivery *d);

/* The peer broke the protocol: tells it why, and the connection ends. */
void cpika_engine_violation(cpika_engine *e, int status, long detail);

/* No more bytes come, for this reason (its error is taken over); those that came are handled, and the connection ends for
 * it unless it ends for a reason of its own before. */
void cpika_engine_finish(cpika_engine *e, const cpika_ending *why);

/* Whether a whole frame stands in the input. */
bool cpika_engine_frame_ready(const cpika_engine *e);

/* ---- a body received in place ---- */

/* Where its next bytes belong, and how many fit.  false: no memory, and the connection has ended. */
bool cpika_engine_in_place_target(cpika_engine *e, uint8_t **target, size_t *room);
void cpika_engine_in_place_received(cpika_engine *e, size_t n);

#endif
