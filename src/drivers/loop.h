/* loop.h - the loop driver: an event loop calls in when the descriptor can be read or written, and gets back what it is to
 * watch.  Callbacks run in those calls, what they send leaves with one flush at their end.
 * Layer: drivers.
 * Owns: nothing; the loop's part of a connection is cpika_loop.
 * Threads: with the GIL; one thread is the loop's, and calls in.  Appending output is allowed to any; another one sends it by
 *          itself, once for each time that the loop has called in, and has the loop flush after that.
 * Errors: -1 with an exception; what a callback raises leaves the call, the rest stays where it is. */
#ifndef CPIKA_DRIVERS_LOOP_H
#define CPIKA_DRIVERS_LOOP_H

#include "objects.h"

/* A channel whose callbacks run on a loop. */
typedef struct {
    CpikaChannel base;    // its consumer_infos: tag -> callable
    PyObject *cancelled;  // owned set: tags of consumers whose end was asked for
    PyObject *prefix;     // owned str: its number, as CallbackManager has it
    uint64_t looked;      // cpika_loop.reads, when the next was looked up
    bool odd_deliver;     // _on_deliver has been replaced
} CpikaLoopChannel;

/* What the loop is to do; bits. */
enum {
    CPIKA_LOOP_WANTS_WRITE = 1,  // call in when there is room
    CPIKA_LOOP_ENDED = 2,        // nothing goes or comes any more
    CPIKA_LOOP_MORE = 4,         // call in again soon: there may be more that the descriptor does not show
};

/* A loop drives this connection from now on: what happens is told to `handler`; soon(callback), from any thread, has the
 * loop call the callback in its next turn, and that calls flush(), which is to send; outcome: see cpika_loop_called, or
 * NULL. */
void cpika_loop_begin(CpikaConnection *conn, PyObject *handler, PyObject *soon, PyObject *flush,
                      PyObject *outcome);
int cpika_loop_traverse(const cpika_loop *loop, visitproc visit, void *arg);
void cpika_loop_clear(cpika_loop *loop);

/* Reads what is there, runs its callbacks, sends what they left.  Bits, or -1. */
int cpika_loop_readable(CpikaConnection *conn);

/* Sends, and reads where that waited for room.  Bits, or -1. */
int cpika_loop_writable(CpikaConnection *conn);

/* What a loop calls for its descriptor: one of the two above, and outcome(bits, exception) where there is something to do:
 * other bits than before, or bits None and what was raised.  So a turn in which all went well runs no Python function but
 * the callbacks.  0, or -1: outcome() has raised. */
int cpika_loop_called(CpikaConnection *conn, int (*call)(CpikaConnection *));

/* Nobody is told any more. */
void cpika_loop_uncalled(CpikaConnection *conn);

/* Bytes that somebody else has read: the same, without sending.  0 or -1. */
int cpika_loop_feed(CpikaConnection *conn, const uint8_t *bytes, size_t n);

/* Queues frames (`frames` of them) and has them sent at the end of the loop's turn, with all that stands before them,
 * whatever the loop may have lost; dropped when the connection has ended.  0 or -1. */
int cpika_loop_append(CpikaConnection *conn, const uint8_t *bytes, size_t n, uint64_t frames);

/* The same for a channel, which has to be open still when its turn has come: other threads may close it.  A publish gets its
 * delivery tag in the order of the stream, also one that is dropped: *tag, 0 without confirms; NULL: it is no publish. */
int cpika_loop_append_of(CpikaChannel *ch, const uint8_t *bytes, size_t n, uint64_t frames, uint64_t *tag);

/* Output has been taken: more of it has to be asked for again; and the handler is told when little is left.  0 or -1. */
int cpika_loop_taken(CpikaConnection *conn);

/* The C method that Channel._on_deliver is, unless somebody has replaced it. */
PyObject *cpika_loop_on_deliver(PyObject *op, PyObject *const *args, Py_ssize_t nargs);

#endif
