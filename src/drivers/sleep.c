/* sleep.c - see sleep.h.
 * Layer: drivers.  Owns: see sleep.h.  Threads: see sleep.h.  Errors: see sleep.h.
 *
 * A signal that comes between the last look for it and the wait interrupts nothing.  So a wait that is short anyway (a
 * round trip) ends after SHORT_MS and looks again; a long one, of the main thread, has the interpreter's C handler write
 * into a pipe that the wait includes, whichever thread the signal was given to.  Where the program uses that one wakeup
 * descriptor for itself (asyncio in the main thread), waits stay short. */
#include "sleep.h"

#include "values/gate.h"
#include "values/gil.h"
#include "wire/sock.h"

enum {
    SHORT_MS = 50,
    LONG_MS = 4000,  // an asynchronous exception is delivered within 5 s
    BUSY_MS = 1,     // a Python socket that another thread is inside
    UNWOKEN_MS = 5,  // there is no descriptor left by which another thread could end the wait
};

/* ---- signals ---- */

static bool
have_pipe(cpika_state *st)
{
    if (st->signal_generation == cpika_fork_generation() && cpika_pipe_is_there(&st->signals)) {
        return true;
    }
    cpika_pipe_close(&st->signals);  // the parent's, or what a program has left of it
    if (cpika_pipe_new(&st->signals) != CPIKA_OK) {
        return false;
    }
    st->signal_generation = cpika_fork_generation();
    return true;
}

void
cpika_sleep_free_state(cpika_state *st)
{
    cpika_pipe_close(&st->signals);
}

typedef enum {
    NOT_MAIN,   // no signal handler runs in this thread
    UNWATCHED,  // the program uses the wakeup descriptor itself
    WATCHED,
    WATCHED_BY_OUTER,  // a wait further down in the stack, inside a Python socket's poll
    HUBS_OWN,  // greenlets: signals wake the hub in which they all wait, and many watches would not nest
} watch;

/* signal.set_wakeup_fd: the descriptor before; NOBODYS where this thread may not. */
enum { NOBODYS = -2 };

static int
set_wakeup_fd(cpika_state *st, int fd)
{
    PyObject *module = PyImport_GetModule(st->names._signal);
    PyObject *set = module == NULL ? NULL : PyObject_GetAttr(module, st->names.set_wakeup_fd);
    PyObject *args[] = {PyLong_FromLong(fd), Py_False};
    PyObject *before = NULL;
    if (set != NULL && args[0] != NULL) {
        PyObject *names = PyTuple_Pack(1, st->names.warn_on_full_buffer);
        before = names == NULL ? NULL : PyObject_Vectorcall(set, args, 1, names);
        Py_XDECREF(names);
    }
    int number = before == NULL ? NOBODYS : (int)PyLong_AsLong(before);
    PyErr_Clear();
    Py_XDECREF(before);
    Py_XDECREF(args[0]);
    Py_XDECREF(set);
    Py_XDECREF(module);
    return number;
}

static watch
begin_watch(cpika_state *st)
{
    if (!have_pipe(st)) {
        return UNWATCHED;
    }
    int before = set_wakeup_fd(st, st->signals.wr);
    if (before == NOBODYS || before == st->signals.wr) {
        return before == NOBODYS ? NOT_MAIN : WATCHED_BY_OUTER;
    }
    if (before >= 0) {
        set_wakeup_fd(st, before);
        return UNWATCHED;
    }
    return WATCHED;
}

/* An exception on its way stays. */
static void
end_watch(cpika_state *st, watch how)
{
    if (how == WATCHED) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        int set = set_wakeup_fd(st, -1);
        if (set >= 0 && set != st->signals.wr) {
            set_wakeup_fd(st, set);  // a signal handler's own
        }
        PyErr_Restore(type, value, traceback);
    }
    bool ours = st->signal_generation == cpika_fork_generation();  // else a handler has forked
    if (ours && (how == WATCHED || how == WATCHED_BY_OUTER)) {
        cpika_sock_wake_drain(st->signals.rd);
    }
}

/* ---- the wait ---- */

/* In the functions of Python's select module, looked up when used: monkey-patching replaces them, and a greenlet waits
 * without holding up the others. */
static int
wait_in_python(CpikaConnection *conn, PyObject *sock, int wake_rd, bool want_write, int signal_rd,
               int timeout_ms)
{
    cpika_transport *io = &conn->io;
    bool read = sock != NULL && !io->wants_write;
    bool write = sock != NULL && ((want_write && !io->wants_read) || io->wants_write);
    PyObject *args[] = {sock == NULL ? Py_None : sock, PyLong_FromLong(wake_rd),
                        read ? Py_True : Py_False,     write ? Py_True : Py_False,
                        PyLong_FromLong(signal_rd),    PyLong_FromLong(timeout_ms)};
    PyObject *done = NULL;
    if (args[1] != NULL && args[4] != NULL && args[5] != NULL) {
        PyObject *method = PyObject_GetAttr((PyObject *)conn, conn->st->names._wait_socket);
        done = method == NULL ? NULL : PyObject_Vectorcall(method, args, 6, NULL);
        Py_XDECREF(method);
    }
    Py_XDECREF(args[1]);
    Py_XDECREF(args[4]);
    Py_XDECREF(args[5]);
    io->others_ran_ns = cpika_now_ns();
    int ready = done == NULL ? -1 : PyObject_IsTrue(done);
    Py_XDECREF(done);
    return ready > 0 ? CPIKA_WOKEN | CPIKA_READABLE : ready;
}

static int
wait_for_socket(CpikaConnection *conn, bool want_write, int signal_rd, int timeout_ms)
{
    cpika_link *link = conn->io.link;
    if (conn->io.sock != NULL) {
        return wait_in_python(conn, conn->io.sock, link->wake_rd, want_write, signal_rd, timeout_ms);
    }
    int bits;
    CPIKA_BEGIN_ALLOW_THREADS bits = cpika_link_poll_with(link, want_write, signal_rd, timeout_ms);
    CPIKA_END_ALLOW_THREADS return bits < 0 ? CPIKA_WOKEN : bits;
}

static int
wait_for_wake(CpikaConnection *conn, int wake_rd, int signal_rd, int timeout_ms)
{
    if (conn->io.sock != NULL) {
        return wait_in_python(conn, NULL, wake_rd, false, signal_rd, timeout_ms);
    }
    struct pollfd fds[2] = {{.fd = wake_rd, .events = POLLIN}, {.fd = signal_rd, .events = POLLIN}};
    int ready;
    CPIKA_BEGIN_ALLOW_THREADS ready = cpika_sock_poll(fds, signal_rd < 0 ? 1 : 2, timeout_ms);
    CPIKA_END_ALLOW_THREADS return ready > 0 ? CPIKA_WOKEN : 0;
}

/* The bits of what ended it, or -1. */
static int
sleep_once(CpikaConnection *conn, cpika_call *call, bool want_write, int signal_rd, int timeout_ms)
{
    cpika_roles *r = &conn->roles;
    int bits;
    if (cpika_roles_may_poll(r, call) && !conn->io.busy) {
        cpika_call *before = cpika_roles_begin_poll(r, call, want_write);
        bits = wait_for_socket(conn, want_write, signal_rd, timeout_ms);
        if (bits & CPIKA_WOKEN) {  // else there is nothing to drain: a system call less for each wait
            cpika_link_drain_wake(conn->io.link);
        }
        cpika_roles_end_poll(r, call, before, conn->io.link);
        return bits;
    }
    cpika_roles_begin_park(r, call);
    if (want_write) {
        cpika_roles_want_write(r, conn->io.link);
    }
    if (conn->io.busy && timeout_ms > BUSY_MS) {
        timeout_ms = BUSY_MS;
    } else if (call->wake_rd < 0 && timeout_ms > UNWOKEN_MS) {
        timeout_ms = UNWOKEN_MS;
    }
    bits = wait_for_wake(conn, call->wake_rd, signal_rd, timeout_ms);
    cpika_roles_end_park(r, call, conn->io.link);
    return bits;
}

static int
milliseconds_until(uint64_t until_ns, int most)
{
    uint64_t now = cpika_now_ns();
    if (until_ns <= now) {
        return 0;
    }
    uint64_t ms = (until_ns - now + CPIKA_NS_PER_MS - 1) / CPIKA_NS_PER_MS;
    return ms < (uint64_t)most ? (int)ms : most;
}

int
cpika_tick(CpikaConnection *conn)
{
    cpika_gate_section *gate = cpika_gate_leave();
    PyObject *done = PyObject_CallMethodNoArgs((PyObject *)conn, conn->st->names._tick);
    cpika_gate_return(gate);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* A wait that has lasted: rarely woken, and Python code runs now and then, which is where exceptions that other threads
 * have set are raised. */
static int
sleep_long(CpikaConnection *conn, cpika_call *call, bool want_write, uint64_t until_ns)
{
    cpika_state *st = conn->st;
    watch watched = conn->io.cooperative ? HUBS_OWN : begin_watch(st);
    int signal_rd = watched == WATCHED || watched == WATCHED_BY_OUTER ? st->signals.rd : -1;
    int most = watched == UNWATCHED ? SHORT_MS : LONG_MS;
    // What came before the watch began.  Its handler may have done what this call waits for.
    int bits = PyErr_CheckSignals() < 0 ? -1 : 0;
    if (bits == 0 && !cpika_roles_has_reason(&conn->roles, &conn->engine, call)) {
        bits = sleep_once(conn, call, want_write, signal_rd, milliseconds_until(until_ns, most));
    }
    end_watch(st, watched);
    if ((bits & CPIKA_READABLE) == 0) {  // perhaps a signal, whose handler may take long
        cpika_roles_hand_over(&conn->roles, conn->io.link);
    }
    if (bits < 0 || PyErr_CheckSignals() < 0) {
        return -1;
    }
    return cpika_tick(conn);
}

/* The GIL keeps others from becoming threads of Python meanwhile. Where there is none, nobody can know. */
static bool
is_only_thread(void)
{
    return !CPIKA_FREE_THREADED
           && PyThreadState_Next(PyInterpreterState_ThreadHead(PyInterpreterState_Get())) == NULL;
}

/* Whether an answer can be awaited in recv itself, which nobody can wake: there is no other thread that could want to. */
static bool
may_wait_in_recv(CpikaConnection *conn, const cpika_call *call, bool want_write, uint64_t until_ns)
{
    const cpika_transport *io = &conn->io;
    return call->wants != NULL && !want_write && io->sock == NULL && !io->receiving
           && conn->engine.in_place.channel == NULL && is_only_thread()
           && cpika_roles_may_poll(&conn->roles, call)
           && milliseconds_until(until_ns, CPIKA_RECV_WAITS_MS) == CPIKA_RECV_WAITS_MS
           && cpika_link_waits_in_recv(io->link);
}

/* As sleep_once. */
static int
wait_in_recv(CpikaConnection *conn, cpika_call *call)
{
    uint64_t received = conn->engine.bytes_received;
    cpika_call *before = cpika_roles_begin_poll(&conn->roles, call, false);
    cpika_transport_read_waiting(&conn->io);
    if (call->woken) {  // by a thread that Python did not know before
        cpika_link_drain_wake(conn->io.link);
    }
    cpika_roles_end_poll(&conn->roles, call, before, conn->io.link);
    return conn->engine.bytes_received != received || conn->engine.input_over ? CPIKA_READABLE : 0;
}

int
cpika_sleep(CpikaConnection *conn, cpika_call *call, bool want_write, uint64_t until_ns)
{
    if (call->slept > 0) {
        call->slept++;
        return sleep_long(conn, call, want_write, until_ns);
    }
    int bits = may_wait_in_recv(conn, call, want_write, until_ns)
                   ? wait_in_recv(conn, call)
                   : sleep_once(conn, call, want_write, -1, milliseconds_until(until_ns, SHORT_MS));
    if (bits < 0) {
        return -1;
    }
    if (bits == 0) {  // its time was over, or a signal came, whose handler may take long
        call->slept++;
        cpika_roles_hand_over(&conn->roles, conn->io.link);
    }
    return PyErr_CheckSignals();
}
