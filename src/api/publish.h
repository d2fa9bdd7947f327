/* publish.h - basic_publish: one message, encoded whole, in one send.
 * Layer: api.
 * Owns: nothing beyond a call.  Threads: with the GIL; delivery tags are given under the link's lock, in the order of the
 *       stream.
 * Errors: -1 with an exception. */
#ifndef CPIKA_API_PUBLISH_H
#define CPIKA_API_PUBLISH_H

#include "encode.h"

/* How it goes out, and who awaits its confirm. */
typedef struct {
    cpika_confirm *confirm;  // one that is awaited by itself, or NULL
    cpika_window *window;    // many that are awaited together, or NULL
    size_t hold_bytes;       // leaves when so many bytes are queued; 0: at once
    uint64_t hold_ns;        // and after this time at the latest
} publish_mode;

/* Not sent: another confirm on the channel is awaited by itself, whose turn it is. */
enum { PUBLISH_NOT_YET = 1 };

/* Validates, encodes, looks at the input, sends or holds.  What awaits the confirm is registered before the first byte
 * leaves; `body` is the caller's.  0, PUBLISH_NOT_YET, or -1. */
int publish_message(CpikaChannel *ch, const publish_args *a, const publish_body *body,
                    const publish_mode *mode);

/* The same, with the body of `a`. */
int publish_now(CpikaChannel *ch, const publish_args *a, const publish_mode *mode);

#endif
