/* buffered.c - see buffered.h.
 * Layer: api.  Owns: see buffered.h.  Threads: see buffered.h.  Errors: see buffered.h. */
#include "buffered.h"

#include "bulk.h"
#include "drivers/ended.h"
#include "publish.h"
#include "values/args.h"
#include "values/gate.h"
#include "values/open_block.h"
#include "values/setup.h"

enum { MOST_DELAY_S = 3600 };  // a publish that waits longer is a mistake

struct cpika_block {
    cpika_block *next;  // of the channel
    int refs;           // of those who have entered it
    cpika_user user;
    int depth;         // how many are inside; 0: it is being ended, and nobody's publishes belong to it
    size_t max_bytes;  // of the innermost
    uint64_t max_delay_ns;
    uint64_t unconfirmed;  // publishes before that mode
    cpika_window *window;  // in confirm mode, from the first publish on
};

/* One time that a context manager was entered: what the block was before. */
typedef struct {
    cpika_block *block;  // counted
    size_t max_bytes;
    uint64_t max_delay_ns;
} entry;

typedef struct {
    PyObject_HEAD
    CpikaChannel *channel;  // owned
    PyObject *max_bytes;    // owned
    PyObject *max_delay;    // owned
    entry *entries;         // innermost last
    size_t count, cap;
} BufferedPublishing;

/* ---- blocks ---- */

cpika_block *
buffered_block(const CpikaChannel *ch)
{
    if (ch->blocks == NULL) {
        return NULL;
    }
    cpika_user user = cpika_user_here(ch->st);  // first: others may run meanwhile
    cpika_block *block = ch->blocks;
    while (block != NULL && !cpika_user_same(&block->user, &user)) {
        block = block->next;
    }
    cpika_user_clear_here(&user);
    return block;
}

static cpika_block *
new_block(CpikaChannel *ch)
{
    cpika_block *block = PyMem_Calloc(1, sizeof *block);
    if (block == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    block->user = cpika_user_here(ch->st);
    block->next = ch->blocks;
    ch->blocks = block;
    return block;
}

static void
unlink_block(CpikaChannel *ch, cpika_block *block)
{
    for (cpika_block **at = &ch->blocks; *at != NULL; at = &(*at)->next) {
        if (*at == block) {
            *at = block->next;
            return;
        }
    }
}

/* Where the innermost block of whoever calls stands in `entries`; `count`: nowhere. */
static size_t
innermost(const BufferedPublishing *self)
{
    cpika_user user = cpika_user_here(self->channel->st);  // first: others may run meanwhile
    size_t at = self->count;
    while (at > 0 && !cpika_user_same(&self->entries[at - 1].block->user, &user)) {
        at--;
    }
    at = at > 0 ? at - 1 : self->count;
    cpika_user_clear_here(&user);
    return at;
}

static entry
take_entry(BufferedPublishing *self, size_t at)
{
    entry taken = self->entries[at];
    self->count--;
    memmove(&self->entries[at], &self->entries[at + 1], (self->count - at) * sizeof(entry));
    return taken;
}

/* Leaves it once; the last one out takes it from the channel: whatever is published from now on is not its. */
static bool
leave_block(CpikaChannel *ch, const entry *e)
{
    cpika_block *block = e->block;
    block->max_bytes = e->max_bytes;
    block->max_delay_ns = e->max_delay_ns;
    if (--block->depth > 0) {
        return false;
    }
    unlink_block(ch, block);
    return true;
}

static void
release_block(CpikaChannel *ch, cpika_block *block)
{
    if (--block->refs > 0) {
        return;
    }
    if (block->window != NULL) {
        bulk_close_window(ch, block->window);
    }
    cpika_user_clear(&block->user);
    PyMem_Free(block);
}

int
buffered_publish(CpikaChannel *ch, cpika_block *block, const publish_args *a)
{
    if (bulk_need_window(ch, &block->window, block->unconfirmed) < 0) {
        return -1;
    }
    const publish_mode mode = {
        .window = block->window, .hold_bytes = block->max_bytes, .hold_ns = block->max_delay_ns};
    block->refs++;  // user code may end it meanwhile
    int rc = publish_now(ch, a, &mode);
    block->unconfirmed += rc == 0 && mode.window == NULL;
    release_block(ch, block);
    return rc;
}

/* ---- entering ---- */

/* Up to max_bytes and max_delay.  0 or -1. */
static int
read_limits(const BufferedPublishing *self, size_t *bytes, uint64_t *delay_ns)
{
    Py_ssize_t most = cpika_arg_count("max_bytes", self->max_bytes);
    if (most < 0) {
        return -1;
    }
    if (!PyNumber_Check(self->max_delay)) {
        PyErr_Format(PyExc_TypeError, "max_delay must be a number of seconds, but got %R", self->max_delay);
        return -1;
    }
    double delay = PyFloat_AsDouble(self->max_delay);
    if (delay == -1 && PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_OverflowError)) {
        return -1;
    }
    if (!(delay >= 0 && delay <= MOST_DELAY_S)) {
        PyErr_Format(PyExc_ValueError, "max_delay must be 0 to %d seconds, but got %S", MOST_DELAY_S,
                     self->max_delay);
        return -1;
    }
    *bytes = (size_t)most;
    *delay_ns = (uint64_t)(delay * 1e9);
    return 0;
}

static bool
is_raw(const BufferedPublishing *self)
{
    if (self->channel == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the block's __init__ was not called");
    }
    return self->channel == NULL;
}

/* For one entry more.  0 or -1. */
static int
make_room(BufferedPublishing *self)
{
    if (self->count < self->cap) {
        return 0;
    }
    size_t cap = self->cap > 0 ? self->cap * 2 : 1;
    entry *entries = PyMem_Realloc(self->entries, cap * sizeof(entry));
    if (entries == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->entries = entries;
    self->cap = cap;
    return 0;
}

static PyObject *
buffered_enter(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    BufferedPublishing *self = (BufferedPublishing *)op;
    CpikaChannel *ch = self->channel;
    size_t bytes;
    uint64_t delay_ns;
    if (is_raw(self) || cpika_check_channel(ch) < 0 || read_limits(self, &bytes, &delay_ns) < 0) {
        return NULL;
    }
    cpika_block *block = buffered_block(ch);
    if (block == NULL) {
        block = new_block(ch);
    }
    if (block == NULL) {
        return NULL;
    }
    block->refs++;
    if (make_room(self) < 0) {  // only now: to ask who calls may have let others enter
        if (block->depth == 0) {
            unlink_block(ch, block);
        }
        release_block(ch, block);
        return NULL;
    }
    self->entries[self->count++] = (entry){block, block->max_bytes, block->max_delay_ns};
    block->depth++;
    block->max_bytes = bytes;
    block->max_delay_ns = delay_ns;
    return Py_NewRef((PyObject *)ch);
}

/* ---- leaving ---- */

/* Sends what is held and, with `await`, waits for the confirms and raises what was refused.  In a hurry nothing waits:
 * what the socket does not take now is the keeper's. */
static int
finish_block(CpikaChannel *ch, cpika_block *block, bool await, bool hurry)
{
    CpikaConnection *conn = ch->conn;
    cpika_window *w = block->window;
    if (cpika_transport_forked(&conn->io)) {
        return 0;  // what is held is the parent's to send
    }
    if (cpika_engine_ended(&conn->engine)) {
        // What was held is lost, unless the user closed: that has sent it.  And nothing is confirmed any more.
        if (!conn->engine.ending.by_client || (w != NULL && w->unconfirmed > 0)) {
            return cpika_raise_ended(conn);
        }
    } else if (bulk_flush(conn, hurry) < 0) {
        return -1;
    }
    if (!await || w == NULL) {
        return 0;
    }
    return bulk_await_confirms(ch, w, 0) < 0 ? -1 : bulk_raise_refusals(ch, w);
}

static PyObject *
buffered_exit(PyObject *op, PyObject *args)
{
    CPIKA_GATE;
    BufferedPublishing *self = (BufferedPublishing *)op;
    CpikaChannel *ch = self->channel;
    PyObject *type, *error, *traceback;
    if (!PyArg_ParseTuple(args, "OOO:__exit__", &type, &error, &traceback)) {
        return NULL;
    }
    if (is_raw(self)) {
        return NULL;
    }
    size_t at = innermost(self);
    if (self->count == 0) {
        PyErr_SetString(PyExc_RuntimeError, "the block was not entered");
        return NULL;
    }
    bool failed = error != Py_None || type != Py_None;
    const entry left = take_entry(self, at < self->count ? at : self->count - 1);
    bool last = leave_block(ch, &left);
    // Ctrl-C shall answer although the broker reads nothing.
    bool hurry = failed && !PyErr_GivenExceptionMatches(error != Py_None ? error : type, PyExc_Exception);
    bool told = ch->conn->engine.ending.told;
    int rc = finish_block(ch, left.block, last && !failed, hurry);
    bool goes_on = failed && (rc == 0 || cpika_drop_second(ch->conn, told));  // what leaves the block
    if (goes_on) {
        rc = 0;
        if (PyExceptionInstance_Check(error)) {
            PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        }
    }
    if (left.block->window != NULL && PyErr_Occurred()
        && PyErr_ExceptionMatches(ch->st->exceptions[CPIKA_EXC_AMQPError])) {
        bulk_note_progress(left.block->window);
    }
    if (goes_on) {
        PyErr_Clear();
    }
    release_block(ch, left.block);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- type ---- */

static int
buffered_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    CPIKA_GATE;
    static char *names[] = {"channel", "max_bytes", "max_delay", NULL};
    BufferedPublishing *self = (BufferedPublishing *)op;
    cpika_state *st = cpika_state_of_type(Py_TYPE(op));
    PyObject *channel, *max_bytes, *max_delay;
    if (st == NULL
        || !PyArg_ParseTupleAndKeywords(args, kwargs, "O!OO:BufferedPublishing", names, st->channel_type,
                                        &channel, &max_bytes, &max_delay)) {
        return -1;
    }
    if (self->channel != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "a block is initialised once");
        return -1;
    }
    self->channel = (CpikaChannel *)Py_NewRef(channel);
    self->max_bytes = Py_NewRef(max_bytes);
    self->max_delay = Py_NewRef(max_delay);
    return 0;
}

static int
buffered_traverse(PyObject *op, visitproc visit, void *arg)
{
    BufferedPublishing *self = (BufferedPublishing *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->channel);
    Py_VISIT(self->max_bytes);
    Py_VISIT(self->max_delay);
    return 0;
}

/* How often whoever calls is inside. */
static size_t
buffered_depth(PyObject *op)
{
    const BufferedPublishing *self = (const BufferedPublishing *)op;
    if (self->channel == NULL) {
        return 0;  // its __init__ was not called
    }
    cpika_user user = cpika_user_here(self->channel->st);
    size_t depth = 0;
    for (size_t i = 0; i < self->count; i++) {
        depth += cpika_user_same(&self->entries[i].block->user, &user);
    }
    cpika_user_clear_here(&user);
    return depth;
}

/* Left without its end: what it holds the keeper sends. */
static void
leave_forgotten(BufferedPublishing *self, size_t at)
{
    const entry left = take_entry(self, at);
    leave_block(self->channel, &left);
    release_block(self->channel, left.block);
}

static void
buffered_abandon(PyObject *op)
{
    BufferedPublishing *self = (BufferedPublishing *)op;
    size_t at = innermost(self);
    if (at < self->count) {
        leave_forgotten(self, at);
    }
}

static void
buffered_dealloc(PyObject *op)
{
    CPIKA_GATE;
    BufferedPublishing *self = (BufferedPublishing *)op;
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    while (self->count > 0) {
        leave_forgotten(self, self->count - 1);
    }
    PyMem_Free(self->entries);
    Py_XDECREF(self->channel);
    Py_XDECREF(self->max_bytes);
    Py_XDECREF(self->max_delay);
    type->tp_free(op);
    Py_DECREF(type);
}

PyDoc_STRVAR(enter_doc, "__enter__($self, /)\n--\n\nHold publishes back from now on; returns the channel.");
PyDoc_STRVAR(exit_doc, "__exit__($self, exc_type, value, traceback, /)\n--\n\n"
                       "Send what is held; the outermost block, left without an error, awaits its confirms.");

static PyMethodDef buffered_methods[] = {
    {"__enter__", buffered_enter, METH_NOARGS, enter_doc},
    {"__exit__", buffered_exit, METH_VARARGS, exit_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(buffered_doc, "BufferedPublishing(channel, max_bytes, max_delay)\n--\n\n"
                           "The context manager of BlockingChannel.buffered(): publishes on a channel are held back\n"
                           "and leave together.  max_bytes: how many may stand together, at least 1; max_delay: seconds\n"
                           "that a message may stand, at least 0.  Raises ValueError when it is entered.");

static PyType_Slot buffered_slots[] = {
    {Py_tp_doc, (void *)buffered_doc},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, buffered_init},
    {Py_tp_traverse, buffered_traverse},
    {Py_tp_dealloc, buffered_dealloc},
    {Py_tp_methods, buffered_methods},
    {0, NULL},
};

static PyType_Spec buffered_spec = {
    .name = "cpika._core.BufferedPublishing",
    .basicsize = sizeof(BufferedPublishing),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = buffered_slots,
};

int
cpika_buffered_exec(PyObject *module, cpika_state *st)
{
    (void)st;
    static const cpika_block_kind kind = {buffered_depth, buffered_exit, buffered_abandon};
    if (cpika_add_type(module, &buffered_spec) < 0) {
        return -1;
    }
    PyObject *type = PyObject_GetAttrString(module, "BufferedPublishing");
    int rc = type == NULL ? -1 : cpika_open_block_install((PyTypeObject *)type, &kind);
    Py_XDECREF(type);
    return rc;
}
