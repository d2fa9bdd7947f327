/* transport.c - bytes to and from the peer: over the link's descriptor, or over a Python socket (rule 9).
 * Layer: core.
 * Owns: nothing; the connection owns socket and link.  Threads: with the GIL; the link's lock guards output and socket
 *       (rule 5): tried with the GIL held, awaited only without it.
 * Errors: -1 with an exception; the connection is closed by then. */
#include "engine.h"

#include <string.h>
#include <sys/uio.h>

enum {
    SOCK_CHUNK = 65536,        // bytes given to one send() of a Python socket
    LARGE_BODY = 128 * 1024,   // of smaller ones several come with one read
    LARGE_FOLLOWED_BY = 4096,  // read behind the end of a large body: the begin of the next message
};

/* Whether this very thread holds the lock already: it is inside a Python socket, where a signal handler or a finalizer
 * may run and use the connection.  It may append to the output, then; send and recv are the business of the call further
 * down this stack. */
bool
engine_inside_socket(const CpikaConnection *conn)
{
    return conn->sock_owner != 0 && conn->sock_owner == PyThread_get_thread_ident();
}

void
engine_lock(CpikaConnection *conn)
{
    if (engine_inside_socket(conn) || cpika_link_trylock(conn->link)) {
        return;
    }
    cpika_link *link = conn->link;
    Py_BEGIN_ALLOW_THREADS cpika_link_lock(link);
    Py_END_ALLOW_THREADS
}

void
engine_unlock(CpikaConnection *conn)
{
    if (!engine_inside_socket(conn)) {
        cpika_link_unlock(conn->link);
    }
}

bool
engine_has_output(CpikaConnection *conn)
{
    engine_lock(conn);
    bool has = conn->link->out.bytes > 0;
    engine_unlock(conn);
    return has;
}

/* True for the class that CPython's own socket module defines, not for what was patched in its place. */
static int
is_plain_socket(PyObject *sock)
{
    PyObject *type = (PyObject *)Py_TYPE(sock);
    PyObject *module = PyObject_GetAttrString(type, "__module__");
    PyObject *name = PyObject_GetAttrString(type, "__qualname__");
    int plain = -1;
    if (module != NULL && name != NULL) {
        plain = PyUnicode_Check(module) && PyUnicode_CompareWithASCIIString(module, "socket") == 0
                && PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, "socket") == 0;
    }
    Py_XDECREF(module);
    Py_XDECREF(name);
    return plain;
}

static int
detach_descriptor(PyObject *sock, int *fd)
{
    PyObject *number = PyObject_CallMethod(sock, "detach", NULL);
    if (number == NULL) {
        return -1;
    }
    *fd = (int)PyLong_AsLong(number);
    Py_DECREF(number);
    if (*fd < 0) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "the socket is closed");
        }
        return -1;
    }
    return 0;
}

static int
load_ssl_errors(cpika_state *st)
{
    if (st->want_read != NULL) {
        return 0;
    }
    PyObject *ssl = PyImport_ImportModule("ssl");
    if (ssl == NULL) {
        return -1;
    }
    st->want_write = PyObject_GetAttrString(ssl, "SSLWantWriteError");
    st->want_read = PyObject_GetAttrString(ssl, "SSLWantReadError");
    Py_DECREF(ssl);
    return st->want_read == NULL || st->want_write == NULL ? -1 : 0;
}

int
engine_attach(CpikaConnection *conn, PyObject *sock)
{
    int fd = -1;
    int plain = is_plain_socket(sock);
    if (plain < 0) {
        return -1;
    }
    if (plain) {
        if (detach_descriptor(sock, &fd) < 0) {
            return -1;
        }
    } else if (load_ssl_errors(conn->st) < 0) {
        return -1;
    }
    conn->link = cpika_link_new(fd);
    if (conn->link == NULL) {
        PyErr_SetFromErrno(PyExc_OSError);
        if (plain) {
            // Back into a socket object, which closes it.
            PyObject *type, *value, *traceback;
            PyErr_Fetch(&type, &value, &traceback);
            Py_XDECREF(PyObject_CallFunction((PyObject *)Py_TYPE(sock), "iiii", -1, -1, -1, fd));
            PyErr_Restore(type, value, traceback);
        }
        return -1;
    }
    conn->sock = plain ? NULL : Py_NewRef(sock);
    return 0;
}

/* A frame that its sender has counted could not be queued, or bytes that came not be kept: better no connection than
 * one out of step.  Always -1. */
static int
no_memory(CpikaConnection *conn)
{
    return engine_fail(conn, PyObject_CallNoArgs(PyExc_MemoryError));
}

/* ---- a Python socket ---- */

/* The socket's turn for this thread: 0, or -1 when this very thread is inside the socket already (a signal handler
 * that ran in the middle of a send). */
static int
sock_enter(CpikaConnection *conn)
{
    if (engine_inside_socket(conn)) {
        return -1;
    }
    engine_lock(conn);
    conn->sock_owner = PyThread_get_thread_ident();
    return 0;
}

static void
sock_leave(CpikaConnection *conn)
{
    conn->sock_owner = 0;
    engine_unlock(conn);
}

/* Classifies the exception of a socket call.  CPIKA_AGAIN: it would have to wait (cleared); -1: it failed. */
static int
sock_would_wait(bool *wants_other, PyObject *other_error, PyObject *own_error)
{
    if (PyErr_ExceptionMatches(other_error)) {
        *wants_other = true;
    } else if (!PyErr_ExceptionMatches(own_error) && !PyErr_ExceptionMatches(PyExc_BlockingIOError)) {
        return -1;
    }
    PyErr_Clear();
    return CPIKA_AGAIN;
}

/* The pending exception ends the connection: an OSError as pika's StreamLostError.  Another one, a signal handler's for
 * example, stays as it is; but whether bytes had gone or come by then nobody knows, and going on would be out of step. */
static int
sock_failed(CpikaConnection *conn)
{
    bool tell = PyErr_ExceptionMatches(PyExc_OSError);
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    PyObject *lost = cpika_exc_new(conn->st, CPIKA_EXC_StreamLostError, "Stream connection lost: %R", error);
    if (!tell) {
        engine_terminate(conn, lost);
        PyErr_Restore(type, error, traceback);
        return -1;
    }
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    return engine_fail(conn, lost);
}

/* The bytes that send() gets: the ones it refused before (TLS wants the same again), else the oldest queued. */
static PyObject *
sock_next_chunk(CpikaConnection *conn)
{
    if (conn->sock_chunk == NULL) {
        struct iovec iov[16];
        int n = cpika_outq_iov(&conn->link->out, iov, 16);
        size_t size = 0;
        for (int i = 0; i < n; i++) {
            size += iov[i].iov_len;
        }
        size = size < SOCK_CHUNK ? size : SOCK_CHUNK;
        conn->sock_chunk = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
        if (conn->sock_chunk == NULL) {
            return NULL;
        }
        char *to = PyBytes_AS_STRING(conn->sock_chunk);
        for (int i = 0; size > 0; i++) {
            size_t part = iov[i].iov_len < size ? iov[i].iov_len : size;
            memcpy(to, iov[i].iov_base, part);
            to += part;
            size -= part;
        }
    }
    return conn->sock_chunk;
}

/* One send of the Python socket: CPIKA_OK, CPIKA_AGAIN, or -1 with the socket's exception.  Inside sock_enter. */
static int
sock_send_once(CpikaConnection *conn)
{
    PyObject *chunk = sock_next_chunk(conn);
    if (chunk == NULL) {
        return -1;
    }
    PyObject *sent = PyObject_CallMethodOneArg(conn->sock, conn->st->names.send, chunk);
    if (sent == NULL) {
        return sock_would_wait(&conn->sock_wants_read, conn->st->want_read, conn->st->want_write);
    }
    Py_ssize_t n = PyLong_AsSsize_t(sent);
    Py_DECREF(sent);
    if (n < 0 || n > PyBytes_GET_SIZE(chunk)) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "send() of the socket returned %zd for %zd bytes", n,
                         PyBytes_GET_SIZE(chunk));
        }
        return -1;
    }
    if (n == 0) {
        return CPIKA_AGAIN;
    }
    cpika_outq_consume(&conn->link->out, (size_t)n);
    conn->link->last_send_ns = cpika_now_ns();
    Py_CLEAR(conn->sock_chunk);
    return CPIKA_OK;
}

static int
sock_flush(CpikaConnection *conn)
{
    if (sock_enter(conn) < 0) {
        return CPIKA_AGAIN;  // the send further down this stack goes on with what is queued now
    }
    conn->sock_wants_read = false;
    int rc = CPIKA_OK;
    while (rc == CPIKA_OK && conn->link->out.bytes > 0 && conn->state != CONNECTION_CLOSED) {
        rc = sock_send_once(conn);
    }
    conn->link->held = conn->link->held && conn->link->out.bytes > 0;
    sock_leave(conn);
    return rc < 0 ? sock_failed(conn) : rc;
}

/* What the Python socket has for us: new reference to bytes, or NULL: with an exception, or without (nothing there). */
static PyObject *
sock_recv(CpikaConnection *conn)
{
    // Now rather than inside recv(), where what a handler raises costs the bytes that had come, and the connection.
    if (PyErr_CheckSignals() < 0) {
        return NULL;
    }
    if (sock_enter(conn) < 0) {
        return cpika_raise(
            conn->st, CPIKA_EXC_ReentrancyError,
            "a signal handler may not wait for the broker while it interrupts this thread inside its "
            "socket");
    }
    conn->sock_wants_write = false;
    PyObject *data = PyObject_CallMethod(conn->sock, "recv", "i", SOCK_CHUNK);
    sock_leave(conn);
    if (data == NULL) {
        if (sock_would_wait(&conn->sock_wants_write, conn->st->want_write, conn->st->want_read) < 0) {
            sock_failed(conn);
        }
        return NULL;
    }
    if (!PyBytes_Check(data) || PyBytes_GET_SIZE(data) > SOCK_CHUNK) {
        PyErr_Format(PyExc_TypeError, "recv(%d) of the socket must return bytes of at most that size, not %R",
                     SOCK_CHUNK, data);
        Py_DECREF(data);
        return NULL;
    }
    return data;
}

static Py_ssize_t
sock_read(CpikaConnection *conn)
{
    PyObject *data = sock_recv(conn);
    if (data == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    if (conn->state == CONNECTION_CLOSED) {
        Py_DECREF(data);  // it ended meanwhile, and a message may still be made from what is in the buffer
        return engine_raise_closed(conn);
    }
    // No other thread ran since recv() returned: what it read goes in behind what was read before it.
    Py_ssize_t n = PyBytes_GET_SIZE(data);
    int rc = engine_input_append(conn, PyBytes_AS_STRING(data), (size_t)n);
    Py_DECREF(data);
    if (rc < 0) {  // the bytes are gone: nothing that follows would be in step
        PyErr_Clear();
        return no_memory(conn);
    }
    return n > 0 ? n
                 : engine_fail(conn,
                               cpika_exc_new(conn->st, CPIKA_EXC_StreamLostError, "Transport indicated EOF"));
}

static int
sock_poll(CpikaConnection *conn, bool want_write, int timeout_ms)
{
    bool read = !conn->sock_wants_write;
    bool write = (want_write && !conn->sock_wants_read) || conn->sock_wants_write;
    PyObject *done =
        PyObject_CallMethod((PyObject *)conn, "_wait_socket", "OiOOi", conn->sock, conn->link->wake_rd,
                            read ? Py_True : Py_False, write ? Py_True : Py_False, timeout_ms);
    if (done == NULL) {
        return -1;
    }
    Py_DECREF(done);
    return 0;
}

/* ---- either ---- */

/* A send failed.  What the peer said before it hung up tells more than the errno: read that first. */
static int
send_failed(CpikaConnection *conn, int sys_errno)
{
    while (conn->state != CONNECTION_CLOSED) {
        Py_ssize_t n = engine_read_some(conn);
        if (n < 0) {
            return -1;
        }
        int handled = 1;
        while (handled > 0) {
            handled = engine_next_frame(conn, NULL);
        }
        if (handled < 0) {
            return -1;
        }
        if (n == 0) {
            return engine_fail(conn, cpika_exc_stream_lost(conn->st, sys_errno));
        }
    }
    return engine_raise_closed(conn);
}

int
engine_flush_some(CpikaConnection *conn)
{
    conn->holding = false;
    if (conn->sock != NULL) {
        return sock_flush(conn);
    }
    engine_lock(conn);
    int rc = cpika_link_flush_locked(conn->link);
    int sys_errno = conn->link->sys_errno;
    engine_unlock(conn);
    if (rc == CPIKA_E_NOMEM) {
        return no_memory(conn);
    }
    return rc < 0 ? send_failed(conn, sys_errno) : rc;
}

int
engine_send_unlock(CpikaConnection *conn, const uint8_t *bytes, size_t n, uint64_t now_ns)
{
    conn->holding = false;
    if (conn->sock != NULL) {
        int pushed = cpika_outq_push(&conn->link->out, bytes, n);
        engine_unlock(conn);
        return pushed < 0 ? no_memory(conn) : sock_flush(conn);
    }
    int rc = cpika_link_send_locked(conn->link, bytes, n, now_ns);
    int sys_errno = conn->link->sys_errno;
    engine_unlock(conn);
    if (rc == CPIKA_E_NOMEM) {
        return no_memory(conn);
    }
    return rc < 0 ? send_failed(conn, sys_errno) : rc;
}

int
engine_send(CpikaConnection *conn, const uint8_t *bytes, size_t n)
{
    engine_lock(conn);
    return engine_send_unlock(conn, bytes, n, cpika_now_ns());
}

int
engine_send_request(CpikaConnection *conn, CpikaChannel *ch, cpika_waiter *waiter, const uint8_t *bytes,
                    size_t n)
{
    engine_lock(conn);  // which may let others run: only behind it is the order settled
    engine_join_waiters(conn, ch, waiter);
    if (ch != NULL && ch->state == CHANNEL_CLOSED) {
        engine_unlock(conn);
        return channel_raise_not_open(ch);
    }
    return engine_send_unlock(conn, bytes, n, cpika_now_ns());
}

/* Whoever keeps the connection is to look at its queue. */
static void
notify_keeper(CpikaConnection *conn)
{
    if (conn->sock == NULL) {
        cpika_keeper_notify_held();
    } else {
        engine_hook((PyObject *)conn, conn->st->names._on_held, NULL, 0);
    }
}

int
engine_hold(CpikaConnection *conn, const uint8_t *bytes, size_t n, uint64_t for_ns, size_t *queued)
{
    engine_lock(conn);
    return engine_hold_unlock(conn, bytes, n, for_ns, queued);
}

int
engine_hold_unlock(CpikaConnection *conn, const uint8_t *bytes, size_t n, uint64_t for_ns, size_t *queued)
{
    uint64_t until = conn->clock_ns + for_ns;
    cpika_link *link = conn->link;
    bool known = conn->holding && link->held;  // else the keeper has sent what it knew of
    int rc;
    if (conn->sock == NULL) {
        rc = cpika_link_hold_locked(link, bytes, n, until);
    } else {
        rc = cpika_outq_push(&link->out, bytes, n);
        link->held_until_ns = link->held && link->held_until_ns < until ? link->held_until_ns : until;
        link->held = true;
    }
    *queued = link->out.bytes;
    int sys_errno = link->sys_errno;
    engine_unlock(conn);
    if (rc < 0) {
        return rc == CPIKA_E_NOMEM ? no_memory(conn) : send_failed(conn, sys_errno);
    }
    if (!known || until < conn->holding_until_ns) {  // for the rest of a burst it knows
        conn->holding = true;
        conn->holding_until_ns = until;
        notify_keeper(conn);
    }
    return 0;
}

void
engine_leave_output(CpikaConnection *conn)
{
    engine_lock(conn);
    bool left = conn->link->out.bytes > 0;
    if (left) {
        conn->link->held = true;
        conn->link->held_until_ns = cpika_now_ns();
    }
    engine_unlock(conn);
    if (left) {
        notify_keeper(conn);
    }
}

/* How much to read into the input buffer behind what goes into a body.  Behind a large one stands more of it, or
 * another like it: what came into the buffer had to be copied out again, 17 % of a 1 MB message's cost. */
static size_t
room_behind_body(const CpikaConnection *conn)
{
    size_t room = conn->in.cap - conn->in.len;
    if (conn->direct == NULL || conn->direct->content.size < LARGE_BODY) {
        return room;
    }
    const cpika_content *c = &conn->direct->content;
    size_t most = c->size - c->received > conn->direct_left ? 1 + CPIKA_FRAME_HEAD_SIZE : LARGE_FOLLOWED_BY;
    return room < most ? room : most;
}

static Py_ssize_t
link_read(CpikaConnection *conn)
{
    uint8_t *body = NULL;
    size_t body_room = 0;
    if (conn->direct != NULL && engine_direct_target(conn, &body, &body_room) < 0) {
        return -1;
    }
    if (engine_input_room(conn, 1) < 0) {
        return -1;
    }
    struct iovec iov[2];
    int n = 0;
    if (body_room > 0) {
        iov[n++] = (struct iovec){body, body_room};
    }
    if (body_room == conn->direct_left) {  // what follows the body part in place is ours to split
        iov[n++] = (struct iovec){conn->in.data + conn->in.len, room_behind_body(conn)};
    }
    long got = cpika_link_recv(conn->link, iov, n);
    if (got == CPIKA_E_SYS) {
        return engine_fail(conn, cpika_exc_stream_lost(conn->st, conn->link->recv_errno));
    }
    if (got < 0) {
        return engine_fail(conn,
                           cpika_exc_new(conn->st, CPIKA_EXC_StreamLostError, "Transport indicated EOF"));
    }
    size_t in_place = (size_t)got < body_room ? (size_t)got : body_room;
    engine_direct_received(conn, in_place);
    conn->in.len += (size_t)got - in_place;
    return (Py_ssize_t)got;
}

Py_ssize_t
engine_read_some(CpikaConnection *conn)
{
    if (conn->state == CONNECTION_CLOSED) {
        return engine_raise_closed(conn);
    }
    if (conn->decoding) {
        return 0;  // a frame in the buffer is being decoded: it must stay where it is
    }
    Py_ssize_t n = conn->sock != NULL ? sock_read(conn) : link_read(conn);
    conn->clock_ns = conn->last_look_ns = cpika_now_ns();
    if (n > 0) {
        conn->bytes_received += (uint64_t)n;
        cpika_heartbeat_received(&conn->heartbeat, conn->last_look_ns);
    }
    return n;
}

int
engine_poll(CpikaConnection *conn, bool want_write, int timeout_ms)
{
    cpika_link *link = conn->link;
    if (conn->sock != NULL) {
        if (sock_poll(conn, want_write, timeout_ms) < 0) {
            return -1;
        }
    } else {
        PyThreadState *saved = PyEval_SaveThread();
        int bits = cpika_link_poll(link, want_write, timeout_ms);
        PyEval_RestoreThread(saved);
        if (bits >= 0 && (bits & CPIKA_WOKEN) == 0) {
            return 0;  // nothing to drain: a system call less for each wait
        }
    }
    cpika_link_drain_wake(link);
    return 0;
}

void
engine_close_transport(CpikaConnection *conn)
{
    if (conn->link == NULL) {
        return;
    }
    if (conn->sock == NULL) {
        cpika_link_close(conn->link);  // the keeper has the lock for the time of a send() at most
        return;
    }
    // Another thread may be inside send() or recv(), and want the GIL before it gives the lock back.
    int entered = sock_enter(conn);
    PyObject *done = PyObject_CallMethod(conn->sock, "close", NULL);
    if (done == NULL) {
        PyErr_WriteUnraisable(conn->sock);
    }
    Py_XDECREF(done);
    if (entered == 0) {
        sock_leave(conn);
        Py_CLEAR(conn->sock_chunk);
    }
    cpika_link_wake(conn->link);
}
