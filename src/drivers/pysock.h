/* pysock.h - the transport over a Python socket: TLS, monkey-patched, or any class with a socket's methods (rule 9).
 * Layer: drivers.
 * Owns: nothing; the transport does.  Threads: see transport.h.
 * Errors: see transport.h. */
#ifndef CPIKA_DRIVERS_PYSOCK_H
#define CPIKA_DRIVERS_PYSOCK_H

#include "stream.h"

/* True for the class that CPython's own socket module defines, not for what was patched in its place; -1: exception. */
int cpika_pysock_is_plain(PyObject *sock);
int cpika_pysock_load_errors(cpika_state *st);

/* True where a library of green threads has replaced select.select; -1: exception. */
int cpika_pysock_waits_in_greenlets(cpika_state *st);

/* Whether it is an ssl.SSLSocket; needs the errors.  -1 with an exception. */
int cpika_pysock_is_secure(const cpika_state *st, PyObject *sock);

int cpika_pysock_flush(cpika_transport *t);
Py_ssize_t cpika_pysock_read(cpika_transport *t);

/* Raises pika's ReentrancyError when whoever calls is inside the socket's own method: he may not wait.  0 or -1. */
int cpika_pysock_check_inside(cpika_transport *t);
int cpika_pysock_close(cpika_transport *t);
int cpika_pysock_leave_to_parent(cpika_transport *t);

#endif
