/* stream.h - the stream of bytes to and from the peer: what transport.h and pysock.h work on.
 * Layer: drivers.
 * Owns: see the struct.  Threads: see transport.h.
 * Errors: the answers of transport.h beside cpika_status. */
#ifndef CPIKA_DRIVERS_STREAM_H
#define CPIKA_DRIVERS_STREAM_H

#include "user.h"  // Python.h before any other header

#include "engine/engine.h"
#include "wire/link.h"

enum { CPIKA_IO_RAISED = -201, CPIKA_IO_ENDED = -202 };

typedef struct {
    cpika_state *st;
    PyObject *owner;  // borrowed: the connection, whose Python side keeps Python sockets
    cpika_engine *engine;
    cpika_link *link;  // counted; NULL before it is attached
    PyObject *sock;    // owned: Python socket that does the I/O; NULL: the link's descriptor does
    bool secure;       // it is one of TLS, whose end the peer announces
    bool cooperative;  // waits let other greenlets of the thread run: a library has put in its own select
    uint64_t home;     //   and this thread's event loop knows the socket
    uint64_t others_ran_ns;  //   when they last could
    PyObject *chunk;         // owned bytes that sock.send() wants again; NULL: none
    bool wants_write;        // a TLS read that waits for room to write
    bool wants_read;         // a TLS write that waits for bytes to read
    bool busy;               // somebody is inside sock.send() or sock.recv():
    cpika_user inside;       //   who
    bool left_over;          //   and others have queued something meanwhile
    bool receiving;          // a call waits in recv itself: what it gets comes before what others would read
    bool closed;             // nothing goes or comes any more
    bool sock_closed;        // and the Python socket has been told
    bool holding;            // acks or publishes are held
    uint64_t holding_until_ns;  // what the keeper was told
    uint64_t last_look_ns;      // when the input was last looked at, or that was left to another call
    uint64_t last_read_ns;      // when it was looked at
    uint64_t clock_ns;          // the last time that was read: good enough for what may leave early
    uint64_t frames_sent;
} cpika_transport;

#endif
