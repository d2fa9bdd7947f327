/* status.h - what a function of the wire layer answers when it cannot do its work.
 * Layer: wire (libc only).  Owns: nothing.  Threads: any.
 * Errors: this file names them; engine/ending.c makes of each the reason of an end. */
#ifndef CPIKA_WIRE_STATUS_H
#define CPIKA_WIRE_STATUS_H

typedef enum {
    CPIKA_OK = 0,
    CPIKA_AGAIN = 1,          // not an error: nothing to be done before more bytes or room come
    CPIKA_E_NOMEM = -1,       // allocation failed
    CPIKA_E_SYS = -2,         // a system call failed; the caller finds errno beside it
    CPIKA_E_EOF = -3,         // the peer closed its side
    CPIKA_E_FRAME_END = -4,   // frame without 0xCE where it has to stand
    CPIKA_E_FRAME_TYPE = -5,  // frame type that 0-9-1 does not know
    CPIKA_E_FRAME_SIZE = -6,  // frame larger than negotiated, or too short for its type
    CPIKA_E_TRUNCATED = -7,   // a field reaches over the end of its payload
    CPIKA_E_TRAILING = -8,    // bytes left over behind the last field
    CPIKA_E_FIELD_KIND = -9,  // table value of a kind that 0-9-1 does not know
    CPIKA_E_DEPTH = -10,      // tables nested deeper than CPIKA_TABLE_MAX_DEPTH
    CPIKA_E_METHOD_ID = -11,  // no such method
    CPIKA_E_SHORTSTR = -12,   // short string over 255 bytes
    CPIKA_E_CODEC = -13,      // rabbitmq-c refused what the walker let pass
    CPIKA_E_PROTOCOL = -14,   // the peer answered with a protocol header of its own
    CPIKA_E_CLOSED = -15,     // the descriptor is closed, or belongs to the process before a fork
} cpika_status;

#endif
