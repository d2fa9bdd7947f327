/* fair.c - see fair.h.
 * Layer: drivers.  Owns: nothing.  Threads: with the GIL.  Errors: see fair.h. */
#include "fair.h"

#include "ended.h"
#include "values/gate.h"

enum {
    FAIR_NS = 10 * CPIKA_NS_PER_MS
};  // what threads give each other: two of the interpreter's switch intervals

int
cpika_let_others_run(CpikaConnection *conn)
{
    cpika_transport *io = &conn->io;
    uint64_t now = cpika_now_ns();
    // Inside the socket: a signal handler has interrupted this user there.
    if (now - io->others_ran_ns < FAIR_NS || io->busy) {
        return 0;
    }
    if (io->holding && cpika_transport_flush(io) == CPIKA_IO_RAISED) {  // the others may take long
        return -1;
    }
    io->others_ran_ns = now;  // for those who run now
    cpika_gate_section *gate = cpika_gate_leave();
    PyObject *done = PyObject_CallMethodNoArgs((PyObject *)conn, conn->st->names._let_run);
    cpika_gate_return(gate);
    Py_XDECREF(done);
    io->others_ran_ns = cpika_now_ns();
    return done == NULL ? -1 : cpika_check_fork(conn);
}
