/* frame.h - splits and writes AMQP 0-9-1 frames: type, channel, size, payload, 0xCE.
 * Layer: wire (buf.h, endian.h).
 * Owns: nothing; a split frame points into the caller's bytes.
 * Threads: none of its own.
 * Errors: negative cpika_status; a writer that fails leaves the buffer as it was before the frame. */
#ifndef CPIKA_WIRE_FRAME_H
#define CPIKA_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "endian.h"
#include "hot.h"
#include "status.h"

enum {
    CPIKA_FRAME_METHOD = 1,
    CPIKA_FRAME_HEADER = 2,
    CPIKA_FRAME_BODY = 3,
    CPIKA_FRAME_HEARTBEAT = 8,

    CPIKA_FRAME_END = 0xCE,
    CPIKA_FRAME_HEAD_SIZE = 7,  // type, channel, size
    CPIKA_FRAME_OVERHEAD = 8,   // head and end: what frame_max counts beside the payload

    CPIKA_FRAME_MIN_METHOD = 4,   // payload: class, method
    CPIKA_FRAME_MIN_HEADER = 14,  // payload: class, weight, body size, flags
};

/* Whole frames as they stand on the wire. */
extern const uint8_t cpika_heartbeat_frame[8];
extern const uint8_t cpika_protocol_header[8];

typedef struct {
    const uint8_t *payload;  // borrowed; behind the head, wherever `avail` ends
    size_t total;            // head, payload and end; 0 while the head is not there
    size_t missing;  // with CPIKA_AGAIN: bytes until the frame (or its head, while total is 0) is there
    uint32_t size;   // of the payload
    uint16_t channel;
    uint8_t type;
} cpika_frame;

/* The cold half of cpika_frame_split: what to answer to bytes that do not begin with a sound head. */
int cpika_frame_refuse(const uint8_t *p, size_t avail, cpika_frame *out);

/* Whether a head may stand: a type that 0-9-1 knows, and a size between the least for it and the negotiated one. */
CPIKA_HOT int
cpika_frame_check_head(const cpika_frame *frame, uint32_t frame_max)
{
    uint32_t least = 0;

    switch (frame->type) {
    case CPIKA_FRAME_METHOD:
        least = CPIKA_FRAME_MIN_METHOD;
        break;
    case CPIKA_FRAME_HEADER:
        least = CPIKA_FRAME_MIN_HEADER;
        break;
    case CPIKA_FRAME_BODY:
    case CPIKA_FRAME_HEARTBEAT:
        break;
    default:
        return CPIKA_E_FRAME_TYPE;
    }
    // In 64 bits: size + 8 could wrap in 32.
    bool fits = (uint64_t)frame->size + CPIKA_FRAME_OVERHEAD <= frame_max;
    return fits && frame->size >= least ? CPIKA_OK : CPIKA_E_FRAME_SIZE;
}

/* Splits off the frame at the beginning of `avail` bytes.  `frame_max` is the negotiated maximum, never 0.
 * CPIKA_OK: `out` is the frame, the next one begins at p + out->total.
 * CPIKA_AGAIN: out->missing bytes have yet to come; where 7 bytes are there the head is in `out` and is checked, so
 *     that a body can be received straight to where it belongs (then the caller looks for CPIKA_FRAME_END itself).
 * CPIKA_E_FRAME_TYPE, CPIKA_E_FRAME_SIZE, CPIKA_E_FRAME_END: violations; `out` holds the head.
 * CPIKA_E_PROTOCOL: the 8 bytes at `p` are a protocol header: 'AMQP', 0, major, minor, revision. */
CPIKA_HOT int
cpika_frame_split(const uint8_t *p, size_t avail, uint32_t frame_max, cpika_frame *out)
{
    if (avail < CPIKA_FRAME_HEAD_SIZE || p[0] > CPIKA_FRAME_HEARTBEAT) {
        return cpika_frame_refuse(p, avail, out);
    }
    out->type = p[0];
    out->channel = cpika_get16(p + 1);
    out->size = cpika_get32(p + 3);
    out->payload = p + CPIKA_FRAME_HEAD_SIZE;
    out->total = (size_t)out->size + CPIKA_FRAME_OVERHEAD;
    out->missing = 0;

    int rc = cpika_frame_check_head(out, frame_max);
    if (rc != CPIKA_OK) {
        return rc;
    }
    if (avail < out->total) {
        out->missing = out->total - avail;
        return CPIKA_AGAIN;
    }
    return out->payload[out->size] == CPIKA_FRAME_END ? CPIKA_OK : CPIKA_E_FRAME_END;
}

/* Writes the 7 bytes before a payload whose size is known. */
CPIKA_HOT void
cpika_frame_put_head(uint8_t *head, uint8_t type, uint16_t channel, uint32_t size)
{
    head[0] = type;
    cpika_put16(head + 1, channel);
    cpika_put32(head + 3, size);
}

/* Begins a frame behind what is in `b`; `*start` is for cpika_frame_end. */
static inline int
cpika_frame_begin(cpika_buf *b, uint8_t type, uint16_t channel, size_t *start)
{
    // One reserve for head and end: a short frame then costs no second one.
    int rc = cpika_buf_reserve(b, CPIKA_FRAME_OVERHEAD);
    if (rc == CPIKA_OK) {
        *start = b->len;
        cpika_frame_put_head(b->data + b->len, type, channel, 0);
        b->len += CPIKA_FRAME_HEAD_SIZE;
    }
    return rc;
}

/* Ends the frame begun at `start`: the size goes into its head, 0xCE behind its payload.
 * CPIKA_E_FRAME_SIZE: it would be longer than `frame_max`.  After an error the frame is gone from `b`. */
static inline int
cpika_frame_end(cpika_buf *b, size_t start, uint32_t frame_max)
{
    size_t size = b->len - start - CPIKA_FRAME_HEAD_SIZE;
    int rc =
        size + CPIKA_FRAME_OVERHEAD <= frame_max ? cpika_buf_put8(b, CPIKA_FRAME_END) : CPIKA_E_FRAME_SIZE;
    if (rc == CPIKA_OK) {
        cpika_put32(b->data + start + 3, (uint32_t)size);
    } else {
        b->len = start;
    }
    return rc;
}

#endif
