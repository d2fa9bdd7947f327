/* leaving.c - see leaving.h.
 * Layer: engine.  Owns: see leaving.h.  Threads: with the GIL.  Errors: it aborts. */
#include "leaving.h"

#ifdef CPIKA_DEBUG
#    include "wire/debug.h"
#    include "wire/endian.h"
#    include "wire/frame.h"
#    include "wire/method.h"

static void
one_of_channel(cpika_channel *ch, uint32_t id)
{
    if (id == CPIKA_ID_channel_close_ok) {
        return;  // the answer to the broker's, which may have crossed ours
    }
    if (ch == NULL || ch->close_left) {
        cpika_debug_abort("cpika sends on a channel that is closed, or whose Close has left");
    }
    ch->close_left = id == CPIKA_ID_channel_close;
}

void
cpika_debug_leaving(cpika_channel *const *channels, size_t cap, bool *close_left, const uint8_t *bytes,
                    size_t n)
{
    for (size_t at = 0; at + CPIKA_FRAME_OVERHEAD <= n && bytes[at] != 'A';) {  // the protocol header
        const uint8_t *p = bytes + at;
        uint16_t number = cpika_get16(p + 1);
        uint32_t id = p[0] == CPIKA_FRAME_METHOD ? cpika_get32(p + CPIKA_FRAME_HEAD_SIZE) : 0;
        if (*close_left && id != CPIKA_ID_connection_close_ok) {
            cpika_debug_abort("cpika sends on a connection whose Close has left");
        }
        if (number != 0) {
            one_of_channel(number < cap ? channels[number] : NULL, id);
        }
        *close_left = *close_left || id == CPIKA_ID_connection_close;
        at += CPIKA_FRAME_OVERHEAD + cpika_get32(p + 3);
    }
}
#else
typedef int cpika_leaving_is_off;  // a file with nothing in it is none
#endif
