/* rpc.h - a method and its answer, for a call that waits.
 * Layer: drivers.
 * Owns: nothing.  Threads: with the GIL.
 * Errors: NULL or -1 with an exception. */
#ifndef CPIKA_DRIVERS_RPC_H
#define CPIKA_DRIVERS_RPC_H

#include "objects.h"

/* Sends `bytes` when its turn on the channel (NULL: channel 0) has come, and waits for the answer: counted, the caller's.
 * Takes the request. */
cpika_message *cpika_call_bytes(CpikaConnection *conn, CpikaChannel *ch, cpika_request *request,
                                const uint8_t *bytes, size_t n, uint64_t deadline_ns);

/* Asked when a request's turn to be sent has come: false, it is not wanted any more.  With the output locked: only looks. */
typedef struct {
    bool (*is_wanted)(void *arg);
    void *arg;
} cpika_joining;

/* The same for a method object (None: only waits): new reference to the answer.  NULL without an exception: `joining`
 * (NULL: none) did not want it. */
PyObject *cpika_call_method(CpikaConnection *conn, CpikaChannel *ch, PyObject *method, uint32_t reply,
                            uint64_t deadline_ns, const cpika_joining *joining);

/* Appends a method frame; -1 with an exception, `out` unchanged.  May run user code. */
int cpika_encode_method(CpikaConnection *conn, int channel, PyObject *method, cpika_buf *out);

/* Sends a method that has no answer, and waits until it has left.  0 or -1. */
int cpika_send_method(CpikaConnection *conn, CpikaChannel *ch, PyObject *method);

/* Sends frames (`frames` of them) that are whole already.  0 or -1. */
int cpika_send_bytes(CpikaConnection *conn, CpikaChannel *ch, const uint8_t *bytes, size_t n,
                     unsigned frames);

#endif
