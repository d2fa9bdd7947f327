/* frame.c - constant frames, and the cold half of the splitter.
 * Layer: wire.  Owns: nothing.  Threads: none of its own.  Errors: see frame.h. */
#include "frame.h"

#include <string.h>

const uint8_t cpika_heartbeat_frame[8] = {CPIKA_FRAME_HEARTBEAT, 0, 0, 0, 0, 0, 0, CPIKA_FRAME_END};
const uint8_t cpika_protocol_header[8] = {'A', 'M', 'Q', 'P', 0, 0, 9, 1};

/* Either the head is not complete, or its first byte is no frame type. */
int
cpika_frame_refuse(const uint8_t *p, size_t avail, cpika_frame *out)
{
    static const uint8_t amqp[4] = {'A', 'M', 'Q', 'P'};

    *out = (cpika_frame){.payload = p};
    if (avail == 0) {
        out->missing = CPIKA_FRAME_HEAD_SIZE;
        return CPIKA_AGAIN;
    }
    out->type = p[0];
    if (memcmp(p, amqp, avail < sizeof amqp ? avail : sizeof amqp) == 0) {
        if (avail >= sizeof cpika_protocol_header) {
            return CPIKA_E_PROTOCOL;
        }
        out->missing = sizeof cpika_protocol_header - avail;
        return CPIKA_AGAIN;
    }
    switch (p[0]) {
    case CPIKA_FRAME_METHOD:
    case CPIKA_FRAME_HEADER:
    case CPIKA_FRAME_BODY:
    case CPIKA_FRAME_HEARTBEAT:
        out->missing = CPIKA_FRAME_HEAD_SIZE - avail;
        return CPIKA_AGAIN;
    default:
        return CPIKA_E_FRAME_TYPE;
    }
}
