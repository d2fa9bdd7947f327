/* bulk.h - what buffered() and publish_many share: the end of many publishes in flight.
 * Layer: api.
 * Owns: nothing.  Threads: with the GIL.
 * Errors: -1 with an exception; what the broker refused is told when all have been answered. */
#ifndef CPIKA_API_BULK_H
#define CPIKA_API_BULK_H

#include "drivers/objects.h"

/* Opens the window of what is published together, if it is not there yet and the broker confirms by now; `before` of it
 * have gone already.  0 or -1. */
int bulk_need_window(CpikaChannel *ch, cpika_window **w, uint64_t before);

/* Takes it out of the channel's, and frees it. */
void bulk_close_window(CpikaChannel *ch, cpika_window *w);

/* Waits until at most `most` publishes of the window are unconfirmed.  0 or -1. */
int bulk_await_confirms(CpikaChannel *ch, cpika_window *w, size_t most);

/* NackError or UnroutableError with .messages and .indexes.  0 when there is nothing to raise, else -1. */
int bulk_raise_refusals(CpikaChannel *ch, const cpika_window *w);

/* Tells the pending exception how far the window got: .confirmed and .unconfirmed. */
void bulk_note_progress(const cpika_window *w);

/* Sends what is queued, without waiting or (unless `hurry`) until it has left.  0 or -1. */
int bulk_flush(CpikaConnection *conn, bool hurry);

#endif
