/* ending.c - see ending.h.
 * Layer: engine.  Owns: see ending.h.  Threads: with the GIL.  Errors: none. */
#include "ending.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "wire/status.h"

enum {
    REPLY_FRAME_ERROR = 501,
    REPLY_SYNTAX_ERROR = 502,
    REPLY_COMMAND_INVALID = 503,
    REPLY_INTERNAL_ERROR = 541,
};

void
cpika_reason_set(cpika_reason *reason, int code, const uint8_t *text, size_t n)
{
    reason->code = code;
    reason->len = n < CPIKA_REASON_MAX ? n : CPIKA_REASON_MAX;
    memcpy(reason->text, text, reason->len);
}

__attribute__((format(printf, 4, 0))) static void
set_text(cpika_ending *e, cpika_exc exception, int reply_code, const char *format, va_list va)
{
    char text[CPIKA_REASON_MAX + 1];
    int n = vsnprintf(text, sizeof text, format, va);
    e->kind = CPIKA_ENDING_VIOLATION;
    e->exception = exception;
    cpika_reason_set(&e->reason, reply_code, (const uint8_t *)text,
                     n < 0                     ? 0
                     : (size_t)n < sizeof text ? (size_t)n
                                               : sizeof text - 1);
}

__attribute__((format(printf, 4, 5))) static void
set_violation(cpika_ending *e, cpika_exc exception, int reply_code, const char *format, ...)
{
    va_list va;
    va_start(va, format);
    set_text(e, exception, reply_code, format, va);
    va_end(va);
}

void
cpika_ending_set_unexpected(cpika_ending *e, int reply_code, const char *format, ...)
{
    va_list va;
    va_start(va, format);
    set_text(e, CPIKA_EXC_UnexpectedFrameError, reply_code, format, va);
    va_end(va);
}

void
cpika_ending_set_violation(cpika_ending *e, int status, long detail)
{
    const cpika_exc invalid = CPIKA_EXC_InvalidFrameError;
    switch (status) {
    case CPIKA_E_FRAME_END:
        set_violation(e, invalid, REPLY_FRAME_ERROR, "Invalid FRAME_END marker");
        return;
    case CPIKA_E_FRAME_TYPE:
        set_violation(e, invalid, REPLY_FRAME_ERROR, "Unknown frame type: %ld", detail);
        return;
    case CPIKA_E_FRAME_SIZE:
        set_violation(e, invalid, REPLY_FRAME_ERROR, "Frame of %ld bytes is outside of the negotiated size",
                      detail);
        return;
    case CPIKA_E_METHOD_ID:
        set_violation(e, invalid, REPLY_COMMAND_INVALID, "Unknown method: class %ld, method %ld",
                      detail >> 16, detail & 0xffff);
        return;
    case CPIKA_E_FIELD_KIND:
        set_violation(e, CPIKA_EXC_InvalidFieldTypeException, REPLY_SYNTAX_ERROR, "in a frame of %ld bytes",
                      detail);
        return;
    case CPIKA_E_DEPTH:
        set_violation(e, invalid, REPLY_SYNTAX_ERROR, "Table nested too deep in a frame of %ld bytes",
                      detail);
        return;
    case CPIKA_E_TRUNCATED:
    case CPIKA_E_TRAILING:
    case CPIKA_E_SHORTSTR:
    case CPIKA_E_CODEC:
        set_violation(e, invalid, REPLY_SYNTAX_ERROR, "Malformed fields in a frame of %ld bytes", detail);
        return;
    case CPIKA_E_PROTOCOL:  // there is no reply that the peer would read
        set_violation(e, CPIKA_EXC_StreamLostError, 0, "The peer answered with a protocol header of its own");
        return;
    case CPIKA_E_NOMEM:
        e->kind = CPIKA_ENDING_NO_MEMORY;
        cpika_reason_set(&e->reason, REPLY_INTERNAL_ERROR, (const uint8_t *)"", 0);
        return;
    default:
        set_violation(e, CPIKA_EXC_ProtocolSyntaxError, REPLY_INTERNAL_ERROR, "status %d (%ld)", status,
                      detail);
        return;
    }
}
