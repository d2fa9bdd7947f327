/* transport.c - see transport.h.
 * Layer: drivers.  Owns: see transport.h.  Threads: see transport.h.  Errors: see transport.h. */
#include "transport.h"

#include <string.h>
#include <sys/uio.h>

#include "engine/frames.h"
#include "pysock.h"
#include "values/errors.h"
#include "values/gil.h"
#include "wire/debug.h"
#include "wire/keeper.h"
#include "wire/sock.h"

enum {
    LARGE_BODY = 128 * 1024,   // of smaller ones several come with one read
    LARGE_FOLLOWED_BY = 4096,  // read behind the end of a large body: the begin of the next message
};

/* ---- locks ---- */

void
cpika_transport_lock(cpika_transport *t)
{
    cpika_debug_may_lock();
    while (!cpika_link_trylock(t->link)) {
        // The keeper is sending.  Not kept over the wait for the GIL: who has that may want this lock.
        cpika_link *link = t->link;
        CPIKA_BEGIN_ALLOW_THREADS cpika_link_lock(link);
        cpika_link_unlock(link);
        CPIKA_END_ALLOW_THREADS
    }
}

static int
no_memory(cpika_transport *t)
{
    const cpika_ending why = {.kind = CPIKA_ENDING_NO_MEMORY};
    cpika_engine_finish(t->engine, &why);
    return CPIKA_IO_ENDED;
}

int
cpika_transport_lock_output(cpika_transport *t)
{
    cpika_transport_lock(t);
    cpika_engine *e = t->engine;
    if (e->owed.len > 0) {
        int rc = cpika_outq_push(&t->link->out, e->owed.data, e->owed.len);
        if (rc < 0) {
            cpika_transport_unlock(t);
            return no_memory(t);
        }
        e->owed.len = 0;
        t->frames_sent += e->frames_owed;
        e->frames_owed = 0;
    }
    return CPIKA_OK;
}

int
cpika_transport_keep(cpika_transport *t)
{
    cpika_link *link = t->link;
    int rc;
    CPIKA_BEGIN_ALLOW_THREADS rc = cpika_keeper_add(link);
    if (rc == CPIKA_OK) {
        cpika_keeper_notify_heartbeat();
    }
    CPIKA_END_ALLOW_THREADS if (rc == CPIKA_E_SYS)
    {
        // CPython's words.  There are no heartbeats without it.
        PyErr_SetString(PyExc_RuntimeError, "can't start new thread");
        return -1;
    }
    if (rc < 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

void
cpika_transport_unkeep(cpika_transport *t)
{
    cpika_link *link = t->link;
    if (link == NULL) {  // its __init__ was not called
        return;
    }
    CPIKA_BEGIN_ALLOW_THREADS cpika_keeper_remove(link);
    CPIKA_END_ALLOW_THREADS
}

/* Whoever keeps the connection is to look at its queue. */
static int
notify_keeper(cpika_transport *t)
{
    if (t->sock != NULL) {
        PyObject *done = PyObject_CallMethodNoArgs(t->owner, t->st->names._on_held);
        Py_XDECREF(done);
        return done == NULL ? CPIKA_IO_RAISED : CPIKA_OK;
    }
    if (!cpika_keeper_is_awake()) {
        CPIKA_BEGIN_ALLOW_THREADS cpika_keeper_notify_held();
        CPIKA_END_ALLOW_THREADS
    }
    return CPIKA_OK;
}

/* ---- life ---- */

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

/* Back into a socket object, which closes it. */
static void
give_up_descriptor(PyObject *sock, int fd)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    Py_XDECREF(PyObject_CallFunction((PyObject *)Py_TYPE(sock), "iiii", -1, -1, -1, fd));
    PyErr_Restore(type, value, traceback);
}

static int
descriptor_of(PyObject *number)
{
    long fd = PyLong_AsLong(number);
    if (fd < 0 || fd > INT_MAX) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "%R is no descriptor", number);
        }
        return -1;
    }
    return (int)fd;
}

int
cpika_transport_attach(cpika_transport *t, PyObject *sock)
{
    int fd = -1;
    bool number = PyLong_Check(sock);  // a descriptor that nobody else has, who could close it
    int plain = sock == Py_None ? 0 : number ? 1 : cpika_pysock_is_plain(sock);
    bool python = plain == 0 && sock != Py_None;
    int cooperative = python ? cpika_pysock_waits_in_greenlets(t->st) : 0;
    int secure = python && cpika_pysock_load_errors(t->st) < 0 ? -1
                 : python                                      ? cpika_pysock_is_secure(t->st, sock)
                                                               : 0;
    if (plain < 0 || cooperative < 0 || secure < 0 || (number && (fd = descriptor_of(sock)) < 0)
        || (plain && !number && detach_descriptor(sock, &fd) < 0)) {
        return -1;
    }
    t->link = cpika_link_new(fd);
    if (t->link == NULL) {
        PyErr_SetFromErrno(PyExc_OSError);
        if (number) {
            cpika_sock_close(fd);
        } else if (plain) {
            give_up_descriptor(sock, fd);
        }
        return -1;
    }
    t->sock = plain || sock == Py_None ? NULL : Py_NewRef(sock);
    t->cooperative = cooperative != 0;
    t->secure = secure != 0;
    t->home = PyThreadState_GetID(PyThreadState_Get());
    t->engine->in_place_allowed = plain != 0;
    return 0;
}

void
cpika_transport_free(cpika_transport *t)
{
    if (t->link != NULL) {
        cpika_transport_unkeep(t);
        cpika_link_decref(t->link);
        t->link = NULL;
    }
    Py_CLEAR(t->sock);
    Py_CLEAR(t->chunk);
}

int
cpika_transport_close(cpika_transport *t)
{
    if (t->closed) {
        return 0;
    }
    t->closed = true;
    t->holding = false;
    cpika_transport_unkeep(t);
    if (t->sock != NULL) {
        return cpika_pysock_close(t);
    }
    if (t->link == NULL) {
        return 0;
    }
    if (cpika_transport_forked(t)) {
        cpika_link_close(t->link);  // nobody may ever release its lock
        return 0;
    }
    cpika_transport_lock(t);
    cpika_link_close_locked(t->link);
    cpika_transport_unlock(t);
    return 0;
}

int
cpika_transport_close_behind(cpika_transport *t)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    bool closed = cpika_transport_close(t) == 0;
    cpika_restore_behind(type, error, traceback);
    return closed ? 0 : -1;
}

int
cpika_transport_leave_to_parent(cpika_transport *t)
{
    if (t->link == NULL || !cpika_transport_forked(t)) {
        return 0;
    }
    if (t->sock != NULL) {
        return cpika_pysock_leave_to_parent(t);
    }
    cpika_link_leave_to_parent(t->link);
    return 0;
}

/* ---- output ---- */

/* A send failed.  What the peer said before it hung up tells more than the errno: that is read and handled first. */
static int
lost(cpika_transport *t, int sys_errno)
{
    cpika_engine *e = t->engine;
    while (t->receiving) {  // what that call has in its hand comes first
        CPIKA_BEGIN_ALLOW_THREADS cpika_sock_poll(NULL, 0, 1);
        CPIKA_END_ALLOW_THREADS
    }
    while (!cpika_engine_ended(e)) {
        Py_ssize_t n = cpika_transport_read(t);
        if (n == CPIKA_IO_RAISED) {
            return CPIKA_IO_RAISED;
        }
        while (cpika_engine_step(e, NULL) == CPIKA_STEP_DONE) {
        }
        if (n == 0 && !cpika_engine_ended(e)) {
            const cpika_ending why = {.kind = CPIKA_ENDING_ERRNO, .reason.code = sys_errno};
            cpika_engine_finish(e, &why);
        }
    }
    return CPIKA_IO_ENDED;
}

/* What the link said, behind its lock. */
static int
link_answer(cpika_transport *t, int rc, int sys_errno)
{
    return rc >= 0 ? rc : rc == CPIKA_E_NOMEM ? no_memory(t) : lost(t, sys_errno);
}

int
cpika_transport_adopt(cpika_transport *t)
{
    cpika_transport_lock(t);
    int rc = cpika_outq_adopt(&t->link->out);
    if (rc < 0) {
        cpika_outq_forget_borrowed(&t->link->out);
        if (t->sock == NULL) {
            cpika_link_close_locked(t->link);  // before anybody else can send: half a frame may have left
        }
    }
    cpika_transport_unlock(t);
    if (rc == CPIKA_OK) {
        return CPIKA_OK;
    }
    no_memory(t);
    return cpika_transport_close_behind(t) < 0 ? CPIKA_IO_RAISED : CPIKA_IO_ENDED;
}

int
cpika_transport_flush(cpika_transport *t)
{
    t->holding = false;
    int rc = cpika_transport_lock_output(t);
    if (rc != CPIKA_OK) {
        return rc;
    }
    if (t->sock != NULL) {
        cpika_transport_unlock(t);
        return cpika_link_has_output(t->link) ? cpika_pysock_flush(t) : CPIKA_OK;
    }
    rc = cpika_link_flush_locked(t->link);
    int sys_errno = t->link->sys_errno;
    cpika_transport_unlock(t);
    return link_answer(t, rc, sys_errno);
}

bool
cpika_transport_try_flush(cpika_transport *t)
{
    if (t->sock != NULL || atomic_load(&t->link->fd) < 0 || cpika_transport_lock_output(t) != CPIKA_OK) {
        return false;
    }
    bool all = cpika_link_flush_locked(t->link) == CPIKA_OK;
    cpika_transport_unlock(t);
    return all;
}

int
cpika_transport_send_unlock(cpika_transport *t, const uint8_t *bytes, size_t n, uint64_t now_ns)
{
    t->holding = false;
    cpika_engine_leaving(t->engine, bytes, n);
    if (t->sock != NULL) {
        int pushed = cpika_outq_push(&t->link->out, bytes, n);
        cpika_transport_unlock(t);
        return pushed < 0 ? no_memory(t) : cpika_pysock_flush(t);
    }
    int rc = cpika_link_send_locked(t->link, bytes, n, now_ns);
    int sys_errno = t->link->sys_errno;
    cpika_transport_unlock(t);
    return link_answer(t, rc, sys_errno);
}

int
cpika_transport_hold_unlock(cpika_transport *t, const uint8_t *bytes, size_t n, uint64_t for_ns,
                            size_t *queued)
{
    uint64_t until = t->clock_ns + for_ns;
    cpika_link *link = t->link;
    bool known = t->holding && link->held;  // else the keeper has sent what it knew of
    int rc;
    cpika_engine_leaving(t->engine, bytes, n);
    if (t->sock == NULL) {
        rc = cpika_link_hold_locked(link, bytes, n, until);
    } else {
        rc = cpika_outq_push(&link->out, bytes, n);
        link->held_until_ns = link->held && link->held_until_ns < until ? link->held_until_ns : until;
        link->held = true;
    }
    *queued = link->out.bytes;
    int sys_errno = link->sys_errno;
    cpika_transport_unlock(t);
    if (rc < 0) {
        return link_answer(t, rc, sys_errno);
    }
    if (!known || until < t->holding_until_ns) {  // for the rest of a burst it knows
        t->holding = true;
        t->holding_until_ns = until;
        rc = notify_keeper(t);
        t->holding = t->holding && rc == CPIKA_OK;  // else the next one is to tell it
        return rc;
    }
    return CPIKA_OK;
}

int
cpika_transport_leave_output(cpika_transport *t)
{
    cpika_transport_lock(t);
    bool left = cpika_link_has_output(t->link);
    if (left) {
        t->link->held = true;
        t->link->held_until_ns = cpika_now_ns();
    }
    cpika_transport_unlock(t);
    return left ? notify_keeper(t) : CPIKA_OK;
}

bool
cpika_transport_has_output(const cpika_transport *t)
{
    return t->engine->owed.len > 0 || cpika_link_has_output(t->link);
}

/* ---- input ---- */

/* How much to read into the input behind what goes into a body.  Behind a large one stands more of it, or another like
 * it: what came into the buffer had to be copied out again, 17 % of a 1 MB message's cost. */
static size_t
room_behind_body(cpika_engine *e)
{
    size_t room = cpika_input_free_room(&e->in);
    if (e->in_place.channel == NULL || e->in_place.channel->content.size < LARGE_BODY) {
        return room;
    }
    const cpika_content *c = &e->in_place.channel->content;
    size_t most = c->size - c->received > e->in_place.left ? 1 + CPIKA_FRAME_HEAD_SIZE : LARGE_FOLLOWED_BY;
    return room < most ? room : most;
}

/* What recv said. */
static void
no_more_input(cpika_transport *t, long said)
{
    int sys_errno = said == CPIKA_E_SYS ? atomic_load(&t->link->recv_errno) : 0;
    if (sys_errno == 0) {
        // A send that has met the peer's reset, anybody's, has taken that from the socket: recv finds an end only.
        cpika_transport_lock(t);
        sys_errno = t->link->sys_errno == ECONNRESET ? ECONNRESET : 0;
        cpika_transport_unlock(t);
    }
    cpika_engine_input_over(t->engine, sys_errno != 0 ? CPIKA_ENDING_ERRNO : CPIKA_ENDING_EOF, sys_errno);
}

static Py_ssize_t
link_read(cpika_transport *t)
{
    cpika_engine *e = t->engine;
    uint8_t *body = NULL;
    size_t body_room = 0;
    if (e->in_place.channel != NULL && !cpika_engine_in_place_target(e, &body, &body_room)) {
        return 0;
    }
    if (cpika_input_room(&e->in, 1) < 0) {
        cpika_engine_input_over(e, CPIKA_ENDING_NO_MEMORY, 0);
        return 0;
    }
    struct iovec iov[2];
    int n = 0;
    if (body_room > 0) {
        iov[n++] = (struct iovec){body, body_room};
    }
    if (body_room == e->in_place.left) {  // what follows the body part in place is ours to split
        iov[n++] = (struct iovec){cpika_input_end(&e->in), room_behind_body(e)};
    }
    long got = cpika_link_recv(t->link, iov, n);
    if (got < 0) {
        no_more_input(t, got);
        return 0;
    }
    size_t in_place = (size_t)got < body_room ? (size_t)got : body_room;
    cpika_engine_in_place_received(e, in_place);
    e->in.len += (size_t)got - in_place;
    return (Py_ssize_t)got;
}

static void
note_read(cpika_transport *t, Py_ssize_t n)
{
    t->clock_ns = t->last_look_ns = t->last_read_ns = cpika_now_ns();
    if (n > 0) {
        t->engine->bytes_received += (uint64_t)n;
        cpika_heartbeat_received(&t->engine->heartbeat, t->last_look_ns);
    }
}

Py_ssize_t
cpika_transport_read(cpika_transport *t)
{
    if (t->closed || t->engine->input_over || t->receiving) {
        return 0;
    }
    Py_ssize_t n = t->sock != NULL ? cpika_pysock_read(t) : link_read(t);
    note_read(t, n);
    return n;
}

void
cpika_transport_read_waiting(cpika_transport *t)
{
    uint8_t bytes[4096];  // an answer; what stands behind it is for the next read
    assert(t->sock == NULL && !t->receiving && t->engine->in_place.channel == NULL);
    t->receiving = true;
    long got;
    CPIKA_BEGIN_ALLOW_THREADS got = cpika_link_recv_waiting(t->link, bytes, sizeof bytes);
    CPIKA_END_ALLOW_THREADS t->receiving = false;
    if (t->closed || t->engine->input_over) {
        return;
    }
    if (got < 0) {
        no_more_input(t, got);
    } else if (got > 0 && cpika_input_append(&t->engine->in, bytes, (size_t)got) < 0) {
        cpika_engine_input_over(t->engine, CPIKA_ENDING_NO_MEMORY, 0);
    }
    note_read(t, got);
}
