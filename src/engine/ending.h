/* ending.h - why a connection ended: a state, from which the driver makes pika's exception.
 * Layer: engine.
 * Owns: the exception that was given or made.  Threads: with the GIL.  Nothing here runs user code.
 * Errors: none. */
#ifndef CPIKA_ENGINE_ENDING_H
#define CPIKA_ENGINE_ENDING_H

#include "values/state.h"  // Python.h before any other header

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    CPIKA_ENDING_NONE,
    CPIKA_ENDING_BY_BROKER,  // Connection.Close: code, text
    CPIKA_ENDING_BY_CLIENT,  // our Connection.Close was answered: code, text
    CPIKA_ENDING_EOF,        // the peer hung up
    CPIKA_ENDING_ERRNO,      // the socket failed: code
    CPIKA_ENDING_VIOLATION,  // the peer broke the protocol: exception, code (0: none that it would read), text
    CPIKA_ENDING_SILENCE,    // no byte for too long: code, the seconds of an interval
    CPIKA_ENDING_BLOCKED,    // blocked for too long
    CPIKA_ENDING_NO_MEMORY,
    CPIKA_ENDING_GIVEN,  // by the driver or its user: error
} cpika_ending_kind;

enum { CPIKA_REASON_MAX = 255 };  // bytes of a short string

/* A reply code and its text, as a Close carries them. */
typedef struct {
    int code;
    size_t len;
    char text[CPIKA_REASON_MAX];
} cpika_reason;

typedef struct {
    cpika_ending_kind kind;
    cpika_exc exception;
    uint64_t numbers[2];  // of a BodyTooLongError: received, announced
    cpika_reason reason;
    bool by_client;   // an orderly end: nothing to raise
    bool told;        // somebody has been told
    PyObject *error;  // owned; NULL until it is made or given
} cpika_ending;

/* The first `n` bytes of what a Close says, cut where they do not fit. */
void cpika_reason_set(cpika_reason *reason, int code, const uint8_t *text, size_t n);

/* A violation of the wire: `status` is a negative cpika_status or one of content.h's, `detail` what goes with it. */
void cpika_ending_set_violation(cpika_ending *e, int status, long detail);

/* Another one that has its own text. */
void cpika_ending_set_unexpected(cpika_ending *e, int reply_code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
