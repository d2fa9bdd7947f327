/* transport.h - bytes to and from the peer: over the link's descriptor, or over a Python socket (rule 9).
 * Layer: drivers.
 * Owns: the link (counted), the Python socket.
 * Threads: with the GIL; the link's lock guards output and descriptor against the keeper (rule 5): tried with the GIL held,
 *          awaited only without it, and never held while the GIL is awaited.  A Python socket has one user at a time, who
 *          may lose the GIL inside; whoever else comes leaves his bytes in the queue.
 * Errors: what ends the connection becomes a state of the engine (CPIKA_IO_ENDED: it has ended); CPIKA_IO_RAISED: an
 *         exception is set, which is the caller's to let through. */
#ifndef CPIKA_DRIVERS_TRANSPORT_H
#define CPIKA_DRIVERS_TRANSPORT_H

#include "stream.h"

/* Takes the socket, or the descriptor (an int), over; None: there is none, bytes are fed and taken by hand.  0, or -1 with an exception. */
int cpika_transport_attach(cpika_transport *t, PyObject *sock);
void cpika_transport_free(cpika_transport *t);

/* The only way to the link's lock for who holds the GIL. */
void cpika_transport_lock(cpika_transport *t);

static inline void
cpika_transport_unlock(cpika_transport *t)
{
    cpika_link_unlock(t->link);
}

/* The same, with what the engine owes queued before anything else.  CPIKA_OK, or CPIKA_IO_ENDED (not locked then). */
int cpika_transport_lock_output(cpika_transport *t);

/* A caller's bytes that are still unsent are copied.  Where there is no memory for that nothing leaves any more, and the
 * connection is closed, with whatever exception is set.  CPIKA_OK, or CPIKA_IO_... */
int cpika_transport_adopt(cpika_transport *t);

/* Sends what is owed and queued, without waiting: CPIKA_OK, CPIKA_AGAIN, CPIKA_IO_... */
int cpika_transport_flush(cpika_transport *t);

/* The same over a descriptor, for who does not drive the connection: true when all has left.  Else whoever drives it has to
 * flush, and learns what is wrong. */
bool cpika_transport_try_flush(cpika_transport *t);

/* For a caller who has the lock; both give it back.  Sends `n` bytes behind what is queued: CPIKA_OK (all has left),
 * CPIKA_AGAIN (the rest is queued), CPIKA_IO_...  `now_ns`: see cpika_link_send_locked. */
int cpika_transport_send_unlock(cpika_transport *t, const uint8_t *bytes, size_t n, uint64_t now_ns);

/* Queues them; they leave with the next flush, or by the keeper for_ns after clock_ns at the latest (a clock read for each
 * ack would be 7 % of a consumer's time; a stale one lets it leave earlier).  *queued: bytes in the queue now. */
int cpika_transport_hold_unlock(cpika_transport *t, const uint8_t *bytes, size_t n, uint64_t for_ns,
                                size_t *queued);

/* Leaves what is queued to the keeper. */
int cpika_transport_leave_output(cpika_transport *t);

bool cpika_transport_has_output(const cpika_transport *t);

/* One read of what is there into the engine's input: the bytes, 0 (nothing now, or no more: the engine knows), or
 * CPIKA_IO_RAISED. */
Py_ssize_t cpika_transport_read(cpika_transport *t);

/* The same over a descriptor, but waits for bytes, some 50 ms, without the GIL: a system call less than a poll and a read.
 * Nothing else ends the wait but a signal; and until it has ended other calls read nothing.  No body is being read in place. */
void cpika_transport_read_waiting(cpika_transport *t);

/* Nothing goes or comes any more.  0, or -1 with an exception of a Python socket. */
int cpika_transport_close(cpika_transport *t);

/* The same with an exception on its way, which stays, or stands behind the socket's. */
int cpika_transport_close_behind(cpika_transport *t);

/* In a child made by fork, whose loop watches the descriptor: puts a stream that has ended in its place.  0, or -1 with an
 * exception of a Python socket; elsewhere it does nothing. */
int cpika_transport_leave_to_parent(cpika_transport *t);

/* The keeper's own list and lock, from a thread that holds the GIL.  0, or -1 with an exception. */
int cpika_transport_keep(cpika_transport *t);
void cpika_transport_unkeep(cpika_transport *t);

static inline bool
cpika_transport_forked(const cpika_transport *t)
{
    return t->link != NULL && cpika_link_forked(t->link);
}

#endif
