/* pysock.c - see pysock.h.
 * Layer: drivers.  Owns: nothing.  Threads: see transport.h.  Errors: see transport.h. */
#include "pysock.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "engine/frames.h"
#include "values/errors.h"
#include "values/gil.h"
#include "wire/sock.h"

enum {
    CHUNK = 65536,  // bytes given to one send()
    WRONG = -2,     // what a socket has returned is nothing that can be: the exception is of this file
};

int
cpika_pysock_is_plain(PyObject *sock)
{
    PyObject *type = (PyObject *)Py_TYPE(sock);
    PyObject *module = PyObject_GetAttrString(type, "__module__");
    PyObject *name = module == NULL ? NULL : PyObject_GetAttrString(type, "__qualname__");
    int plain = -1;
    if (name != NULL) {
        plain = PyUnicode_Check(module) && PyUnicode_CompareWithASCIIString(module, "socket") == 0
                && PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, "socket") == 0;
    }
    Py_XDECREF(module);
    Py_XDECREF(name);
    return plain;
}

int
cpika_pysock_load_errors(cpika_state *st)
{
    if (st->want_read != NULL) {
        return 0;
    }
    PyObject *ssl = PyImport_ImportModule("ssl");
    if (ssl == NULL) {
        return -1;
    }
    st->ssl_socket = PyObject_GetAttrString(ssl, "SSLSocket");
    st->want_write = PyObject_GetAttrString(ssl, "SSLWantWriteError");
    st->want_read = PyObject_GetAttrString(ssl, "SSLWantReadError");
    Py_DECREF(ssl);
    return st->want_read == NULL || st->want_write == NULL || st->ssl_socket == NULL ? -1 : 0;
}

int
cpika_pysock_is_secure(const cpika_state *st, PyObject *sock)
{
    return PyObject_IsInstance(sock, st->ssl_socket);
}

int
cpika_pysock_waits_in_greenlets(cpika_state *st)
{
    PyObject *module = PyImport_ImportModule("select");
    PyObject *select = module == NULL ? NULL : PyObject_GetAttr(module, st->names.select);
    int replaced = select == NULL ? -1 : !PyCFunction_Check(select);
    Py_XDECREF(select);
    Py_XDECREF(module);
    return replaced;
}

/* ---- one user at a time ---- */

static void
enter(cpika_transport *t)
{
    t->busy = true;
    t->inside = cpika_user_here(t->st);
}

/* Whoever found the socket busy has left his wish behind: to be asked for by the caller. */
static void
leave(cpika_transport *t)
{
    t->busy = false;
    cpika_user_clear(&t->inside);
}

/* What CPython's own socket is closed with: in C, where no handler raises.  One of another kind has had its two tries. */
static void
close_below_python(PyObject *sock)
{
    PyObject *module = PyImport_ImportModule("_socket");
    PyObject *type = module == NULL ? NULL : PyObject_GetAttrString(module, "socket");
    if (type != NULL && PyObject_IsInstance(sock, type) > 0) {
        Py_XDECREF(PyObject_CallMethod(type, "close", "O", sock));
    }
    PyErr_Clear();
    Py_XDECREF(type);
    Py_XDECREF(module);
}

/* close() was interrupted by the exception that is on its way: left open, the broker would go on delivering to nobody.  A
 * second one, of somebody impatient, would leave it open again. */
static void
close_again(PyObject *sock)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyObject *done = PyObject_CallMethod(sock, "close", NULL);
    if (done != NULL) {
        Py_DECREF(done);
        PyErr_Restore(type, error, traceback);
        return;
    }
    PyObject *again_type, *again, *again_traceback;
    PyErr_Fetch(&again_type, &again, &again_traceback);
    close_below_python(sock);
    PyErr_Restore(again_type, again, again_traceback);
    if (PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear();  // it is closed all the same
    }
    cpika_restore_behind(type, error, traceback);
}

static int
close_sock(cpika_transport *t)
{
    if (t->sock_closed) {
        return 0;
    }
    t->sock_closed = true;
    Py_CLEAR(t->chunk);
    PyObject *done = PyObject_CallMethod(t->sock, "close", NULL);
    bool struck = done == NULL && !PyErr_ExceptionMatches(PyExc_OSError);
    if (struck) {
        close_again(t->sock);
    } else if (done == NULL) {
        PyErr_Clear();  // it is closed all the same
    }
    cpika_link_wake(t->link);
    Py_XDECREF(done);
    return struck ? -1 : 0;
}

static uint64_t
this_thread(void)
{
    return PyThreadState_GetID(PyThreadState_Get());
}

int
cpika_pysock_close(cpika_transport *t)
{
    if (cpika_link_forked(t->link)) {
        return close_sock(t);  // who is inside is the parent's
    }
    // The keeper comes out after one chunk, and closes no socket of green threads.
    while (t->cooperative && t->busy && t->inside.thread != this_thread()) {
        CPIKA_BEGIN_ALLOW_THREADS cpika_sock_poll(NULL, 0, 1);
        CPIKA_END_ALLOW_THREADS
    }
    if (t->busy) {
        cpika_link_wake(t->link);
        return 0;  // who is inside closes it when he comes out
    }
    return close_sock(t);
}

/* A library of green threads is told of it in its event loop, which is that of the socket's own thread. */
static bool
may_close_here(const cpika_transport *t)
{
    return !t->cooperative || t->home == this_thread();
}

/* By who comes out of a socket that somebody wanted to close meanwhile. */
static int
close_on_the_way_out(cpika_transport *t)
{
    return may_close_here(t) ? close_sock(t) : 0;  // else who wanted it waits
}

/* The same with an exception on its way, which stays, behind what is raised meanwhile. */
static int
close_behind(cpika_transport *t)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    int rc = close_on_the_way_out(t);
    cpika_restore_behind(type, error, traceback);
    return rc;
}

int
cpika_pysock_leave_to_parent(cpika_transport *t)
{
    PyObject *number = PyObject_CallMethod(t->sock, "fileno", NULL);
    long fd = number == NULL ? -1 : PyLong_AsLong(number);
    Py_XDECREF(number);
    if (fd < 0) {
        return PyErr_Occurred() ? -1 : 0;  // it is closed
    }
    return cpika_sock_replace_by_end((int)fd) != CPIKA_OK ? close_sock(t) : 0;
}

/* ---- what it says ---- */

/* Whether the pending exception is a system call's EINTR, as pika looks for it: nothing was done.  A class derived from it is
 * a program's own. */
static bool
is_interrupted_call(void)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    PyObject *number = type != PyExc_InterruptedError ? NULL : PyObject_GetAttrString(error, "errno");
    bool is = number != NULL && PyLong_Check(number) && PyLong_AsLong(number) == EINTR;
    Py_XDECREF(number);
    PyErr_Clear();
    PyErr_Restore(type, error, traceback);
    return is;
}

/* Classifies the exception of a socket call.  CPIKA_AGAIN: it would have to wait, or a signal came before it did anything
 * (cleared); -1: it failed. */
static int
would_wait(bool *wants_other, PyObject *other_error, PyObject *own_error)
{
    if (PyErr_ExceptionMatches(other_error)) {
        *wants_other = true;
    } else if (!PyErr_ExceptionMatches(own_error) && !PyErr_ExceptionMatches(PyExc_BlockingIOError)
               && !is_interrupted_call()) {
        return -1;
    }
    PyErr_Clear();
    return CPIKA_AGAIN;
}

/* The pending exception ends the connection: an OSError, or what this file has to say of the socket, as pika's StreamLostError.
 * Another one, a signal handler's for example, goes on as it is; but whether bytes had gone or come by then nobody knows, and
 * going on would be out of step.  Inside. */
static int
failed(cpika_transport *t, bool wrong)
{
    bool tell = wrong || PyErr_ExceptionMatches(PyExc_OSError) != 0;
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    PyObject *lost = cpika_exc_new(t->st, CPIKA_EXC_StreamLostError, "Stream connection lost: %R", error);
    if (lost
        == NULL) {  // its repr may be the program's code, and a handler may raise in there: that leaves the call
        cpika_put_behind(type, error, traceback);
        PyErr_Fetch(&type, &error, &traceback);
        tell = false;
        lost = cpika_exc_new(t->st, CPIKA_EXC_StreamLostError, "Stream connection lost: %s",
                             Py_TYPE(error)->tp_name);
    }
    const cpika_ending why = {.kind = lost == NULL ? CPIKA_ENDING_NO_MEMORY : CPIKA_ENDING_GIVEN,
                              .error = lost};
    if (lost == NULL) {
        PyErr_Clear();
    }
    cpika_engine_finish(t->engine, &why);
    if (!tell && !t->link->watched && may_close_here(t)) {
        // The exception leaves the call at once: nobody else closes the socket for it.  (A loop does, once it has
        // taken the descriptor from what it watches: not before, its number would be another's.)
        t->engine->ending.told = true;
        t->closed = true;
        (void)close_sock(t);
        cpika_restore_behind(type, error, traceback);
        return CPIKA_IO_RAISED;
    }
    if (!tell) {
        cpika_link_wake(t->link);  // whoever waits closes it
        PyErr_Restore(type, error, traceback);
        return CPIKA_IO_RAISED;
    }
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    return CPIKA_IO_ENDED;
}

/* What the peer said before it hung up tells more than the error of a send: that is read and handled first.  The pending
 * OSError goes on, or is forgotten where the connection has ended for a reason of its own. */
static void
hear_out(cpika_transport *t)
{
    cpika_engine *e = t->engine;
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    bool more = true;
    while (cpika_engine_step(e, NULL) == CPIKA_STEP_DONE) {
    }
    while (more && !cpika_engine_ended(e)) {
        PyObject *data = PyObject_CallMethod(t->sock, "recv", "i", CHUNK);
        more = data != NULL && PyBytes_Check(data) && PyBytes_GET_SIZE(data) > 0
               && cpika_input_append(&e->in, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data))
                      == CPIKA_OK;
        if (data == NULL
            && !PyErr_ExceptionMatches(PyExc_OSError)) {  // a signal handler's: it goes on instead
            Py_CLEAR(type);
            Py_CLEAR(error);
            Py_CLEAR(traceback);
            return;
        }
        PyErr_Clear();
        Py_XDECREF(data);
        while (more && cpika_engine_step(e, NULL) == CPIKA_STEP_DONE) {
        }
    }
    PyErr_Restore(type, error, traceback);
}

/* ---- sending ---- */

/* The bytes that send() gets: the ones it refused before (TLS wants the same again), else the oldest queued. */
static PyObject *
next_chunk(cpika_transport *t)
{
    if (t->chunk != NULL) {
        return t->chunk;
    }
    struct iovec iov[64];
    int n = cpika_outq_iov(&t->link->out, iov, 64);
    size_t size = 0;
    for (int i = 0; i < n; i++) {
        size += iov[i].iov_len;
    }
    size = size < CHUNK ? size : CHUNK;
    t->chunk = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (t->chunk == NULL) {
        return NULL;
    }
    char *to = PyBytes_AS_STRING(t->chunk);
    for (int i = 0; size > 0; i++) {
        size_t part = iov[i].iov_len < size ? iov[i].iov_len : size;
        memcpy(to, iov[i].iov_base, part);
        to += part;
        size -= part;
    }
    return t->chunk;
}

/* One send: CPIKA_OK, CPIKA_AGAIN, or -1 with the socket's exception, or WRONG with one about it.  Inside. */
static int
send_once(cpika_transport *t)
{
    PyObject *chunk = next_chunk(t);
    if (chunk == NULL) {
        return -1;
    }
    Py_INCREF(chunk);
    Py_ssize_t size = PyBytes_GET_SIZE(chunk);
    PyObject *sent = PyObject_CallMethodOneArg(t->sock, t->st->names.send, chunk);
    Py_DECREF(chunk);
    if (sent == NULL) {
        return would_wait(&t->wants_read, t->st->want_read, t->st->want_write);
    }
    Py_ssize_t n = PyLong_Check(sent) ? PyLong_AsSsize_t(sent) : -1;
    if (n < 0 || n > size) {
        PyErr_Clear();  // no number that fits
        PyErr_Format(PyExc_ValueError, "send() of the socket returned %R for %zd bytes", sent, size);
        Py_DECREF(sent);
        return PyErr_ExceptionMatches(PyExc_ValueError) ? WRONG : -1;
    }
    Py_DECREF(sent);
    if (n == 0) {
        return CPIKA_AGAIN;
    }
    // Less is there when it was given up meanwhile, without memory.
    size_t left = t->link->out.bytes;
    cpika_outq_consume(&t->link->out, (size_t)n < left ? (size_t)n : left);
    t->link->bytes_sent += (uint64_t)n;
    t->link->last_send_ns = cpika_now_ns();
    Py_CLEAR(t->chunk);
    return CPIKA_OK;
}

int
cpika_pysock_flush(cpika_transport *t)
{
    if (t->busy) {
        t->left_over = true;
        return CPIKA_AGAIN;  // who is inside goes on with what is queued now
    }
    if (t->sock_closed) {
        return CPIKA_IO_ENDED;
    }
    int rc = CPIKA_OK;
    enter(t);
    t->wants_read = false;
    while (rc == CPIKA_OK && cpika_link_has_output(t->link) && !t->closed) {
        rc = send_once(t);
    }
    if (rc < 0 && PyErr_ExceptionMatches(PyExc_OSError)) {
        hear_out(t);
    }
    t->link->held = t->link->held && cpika_link_has_output(t->link);
    if (rc < 0) {
        // Still inside: it runs user code, which would find the connection alive and send the same again.
        rc = failed(t, rc == WRONG);
    }
    leave(t);
    t->left_over = false;
    if (t->closed && close_behind(t) < 0) {
        return CPIKA_IO_RAISED;
    }
    return rc;
}

/* ---- receiving ---- */

/* New reference to bytes, or NULL: with an exception, or without (nothing there). */
static PyObject *
receive(cpika_transport *t)
{
    enter(t);
    t->wants_write = false;
    PyObject *data = PyObject_CallMethod(t->sock, "recv", "i", CHUNK);
    if (data == NULL) {
        bool waits = would_wait(&t->wants_write, t->st->want_write, t->st->want_read) == CPIKA_AGAIN;
        if (!waits && failed(t, false) == CPIKA_IO_ENDED) {
            PyErr_Clear();
        }
    } else if (!PyBytes_Check(data) || PyBytes_GET_SIZE(data) > CHUNK) {
        PyErr_Format(PyExc_TypeError, "recv(%d) of the socket must return bytes of at most that size, not %R",
                     CHUNK, data);
        Py_CLEAR(data);
        failed(t, PyErr_ExceptionMatches(PyExc_TypeError));
    }
    leave(t);  // behind what runs user code: the connection has ended by then
    return data;
}

/* What others have wished for while this thread was inside. */
static int
after(cpika_transport *t)
{
    if (t->closed) {
        return close_on_the_way_out(t);
    }
    if (t->left_over) {
        int rc = cpika_pysock_flush(t);
        return rc == CPIKA_IO_RAISED ? -1 : 0;
    }
    return 0;
}

int
cpika_pysock_check_inside(cpika_transport *t)
{
    if (!t->busy || !cpika_user_is_here(t->st, &t->inside)) {
        return 0;
    }
    cpika_raise(
        t->st, CPIKA_EXC_ReentrancyError,
        "a signal handler may not wait for the broker while it interrupts this thread inside its socket");
    return -1;
}

Py_ssize_t
cpika_pysock_read(cpika_transport *t)
{
    // Now rather than inside recv(), where what a handler raises costs the bytes that had come, and the connection.
    if (PyErr_CheckSignals() < 0) {
        return CPIKA_IO_RAISED;
    }
    if (t->busy) {
        return cpika_pysock_check_inside(t) < 0 ? CPIKA_IO_RAISED : 0;
    }
    if (t->sock_closed) {
        return 0;
    }
    PyObject *data = receive(t);
    if (data == NULL && PyErr_Occurred() != NULL) {
        if (t->closed) {
            (void)close_behind(t);
        }
        return CPIKA_IO_RAISED;
    }
    if (data == NULL) {
        return after(t) < 0 ? CPIKA_IO_RAISED : 0;
    }
    Py_ssize_t n = 0;
    if (!cpika_engine_ended(t->engine)) {  // else it ended meanwhile
        n = PyBytes_GET_SIZE(data);
        if (n == 0) {
            cpika_engine_input_over(t->engine, CPIKA_ENDING_EOF, 0);
        } else if (cpika_input_append(&t->engine->in, PyBytes_AS_STRING(data), (size_t)n) < 0) {
            // The bytes are gone: nothing that follows would be in step.
            cpika_engine_input_over(t->engine, CPIKA_ENDING_NO_MEMORY, 0);
        }
    }
    Py_DECREF(data);
    return after(t) < 0 ? CPIKA_IO_RAISED : n;
}
