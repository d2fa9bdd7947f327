/* pipeline.c - many publishes in flight: `with channel.buffered()` and publish_many.
 * Layer: core.
 * Owns: the window of a call or block.  Threads: with the GIL.
 * Errors: NULL or -1 with an exception; what the broker refused is told when all have been answered. */
#include "publish.h"

#include "values/args.h"

enum {
    DEFAULT_WINDOW = 1024,           // unconfirmed publishes of publish_many
    MANY_HOLD_BYTES = 65536,         // what publish_many gives to one send()
    MANY_HOLD_NS = CPIKA_NS_PER_MS,  // how long a slow iterable keeps what it gave before
    MOST_DELAY_S = 3600,             // a publish that waits longer is a mistake
    OFFER_EVERY = 64,                // messages between two looks at the clock
};

/* ---- windows ---- */

static void
open_window(CpikaChannel *ch, cpika_window *w)
{
    w->outer = ch->windows;
    ch->windows = w;
}

static void
close_window(CpikaChannel *ch, cpika_window *w)
{
    for (cpika_window **at = &ch->windows; *at != NULL; at = &(*at)->outer) {
        if (*at == w) {
            *at = w->outer;
            break;
        }
    }
    cpika_window_free(w);
}

/* Up to how many unconfirmed publishes are waited for. */
typedef struct {
    CpikaChannel *ch;
    const cpika_window *window;
    size_t most;
} room;

static bool
has_room(CpikaConnection *conn, void *arg)
{
    (void)conn;
    const room *r = arg;
    return r->window->unconfirmed <= r->most || r->ch->state != CHANNEL_OPEN;
}

/* Waits until at most `most` publishes of the window are unconfirmed.  0 or -1. */
static int
await_confirms(CpikaChannel *ch, const cpika_window *w, size_t most)
{
    room r = {ch, w, most};
    if (engine_wait(ch->conn, has_room, &r, ENGINE_FOREVER) < 0) {
        return -1;
    }
    if (w->unconfirmed <= most) {
        return 0;
    }
    return ch->conn->state == CONNECTION_CLOSED ? engine_raise_closed(ch->conn) : channel_raise_not_open(ch);
}

/* NackError or UnroutableError with .messages and .indexes.  0 when there is nothing to raise, else -1. */
static int
raise_refusals(CpikaChannel *ch, const cpika_window *w)
{
    if (!cpika_window_failed(w)) {
        return 0;
    }
    bool nacked = PyList_GET_SIZE(w->nacked) > 0;
    PyObject *type = ch->st->exceptions[nacked ? CPIKA_EXC_NackError : CPIKA_EXC_UnroutableError];
    PyObject *error = PyObject_CallOneArg(type, w->messages);
    PyObject *indexes = cpika_window_refused(w);
    if (error != NULL && indexes != NULL && PyObject_SetAttrString(error, "indexes", indexes) == 0) {
        PyErr_SetObject(type, error);
    }
    Py_XDECREF(error);
    Py_XDECREF(indexes);
    return -1;
}

/* How far the publishes of a window got: *confirmed, how many from the first on; and a new list of the indexes of
 * those that are not, refused ones too.  NULL with an exception. */
static PyObject *
progress(const cpika_window *w, uint64_t *confirmed)
{
    *confirmed = cpika_window_leading(w);
    PyObject *list = cpika_window_unconfirmed(w);
    PyObject *refused = cpika_window_refused(w);
    if (list != NULL && refused != NULL) {
        Py_SETREF(list, PySequence_InPlaceConcat(list, refused));
    }
    Py_XDECREF(refused);
    if (refused == NULL || list == NULL || PyList_Sort(list) < 0) {
        Py_XDECREF(list);
        return NULL;
    }
    uint64_t first =
        PyList_GET_SIZE(list) > 0 ? PyLong_AsUnsignedLongLong(PyList_GET_ITEM(list, 0)) : *confirmed;
    *confirmed = first < *confirmed ? first : *confirmed;
    return list;
}

/* Tells the pending exception: .confirmed and .unconfirmed. */
static void
note_progress(const cpika_window *w)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    uint64_t leading;
    PyObject *unconfirmed = progress(w, &leading);
    PyObject *confirmed = unconfirmed == NULL ? NULL : PyLong_FromUnsignedLongLong(leading);
    if (error == NULL || confirmed == NULL || PyObject_SetAttrString(error, "confirmed", confirmed) < 0
        || PyObject_SetAttrString(error, "unconfirmed", unconfirmed) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(confirmed);
    Py_XDECREF(unconfirmed);
    PyErr_Restore(type, error, traceback);
}

/* ---- with channel.buffered() ---- */

static cpika_block *
block_of(const CpikaChannel *ch, unsigned long thread)
{
    cpika_block *block = ch->blocks;
    while (block != NULL && block->thread != thread) {
        block = block->next;
    }
    return block;
}

cpika_block *
channel_block(const CpikaChannel *ch)
{
    return ch->blocks == NULL ? NULL : block_of(ch, PyThread_get_thread_ident());
}

static void
drop_block(CpikaChannel *ch, cpika_block *block)
{
    cpika_block **at = &ch->blocks;
    while (*at != block) {
        at = &(*at)->next;
    }
    *at = block->next;
    close_window(ch, &block->window);
    PyMem_Free(block);
}

void
channel_free_blocks(CpikaChannel *ch)
{
    while (ch->blocks != NULL) {
        drop_block(ch, ch->blocks);
    }
}

int
channel_publish_buffered(CpikaChannel *ch, cpika_block *block, const publish_args *a)
{
    publish_mode mode = {.hold_bytes = block->max_bytes, .hold_ns = block->max_delay_ns};
    if (ch->confirming) {
        if (block->window.nacked == NULL) {
            if (cpika_window_init(&block->window, ch->published + 1) < 0) {
                return -1;
            }
            open_window(ch, &block->window);
        }
        mode.window = &block->window;
    }
    return channel_publish(ch, a, &mode);
}

PyObject *
channel_begin_buffered(PyObject *op, PyObject *args)
{
    CpikaChannel *ch = (CpikaChannel *)op;
    PyObject *max_bytes, *max_delay;
    if (!PyArg_ParseTuple(args, "OO:_begin_buffered", &max_bytes, &max_delay) || channel_check_open(ch) < 0) {
        return NULL;
    }
    Py_ssize_t bytes = cpika_arg_count("max_bytes", max_bytes);
    if (bytes < 0) {
        return NULL;
    }
    if (!PyNumber_Check(max_delay)) {
        return PyErr_Format(PyExc_TypeError, "max_delay must be a number of seconds, but got %R", max_delay);
    }
    double delay = PyFloat_AsDouble(max_delay);
    if (delay == -1 && PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_OverflowError)) {
        return NULL;
    }
    if (!(delay >= 0 && delay <= MOST_DELAY_S)) {
        return PyErr_Format(PyExc_ValueError, "max_delay must be 0 to %d seconds, but got %S", MOST_DELAY_S,
                            max_delay);
    }
    unsigned long self = PyThread_get_thread_ident();
    cpika_block *block = block_of(ch, self);
    if (block == NULL) {
        block = PyMem_Calloc(1, sizeof *block);
        if (block == NULL) {
            return PyErr_NoMemory();
        }
        block->thread = self;
        block->next = ch->blocks;
        ch->blocks = block;
    }
    PyObject *outer =
        Py_BuildValue("knK", self, (Py_ssize_t)block->max_bytes, (unsigned long long)block->max_delay_ns);
    if (outer == NULL) {
        if (block->depth == 0) {
            drop_block(ch, block);
        }
        return NULL;
    }
    block->max_bytes = (size_t)bytes;
    block->max_delay_ns = (uint64_t)(delay * 1e9);
    block->depth++;
    return outer;
}

/* Sends what is held and, with `await`, waits for the confirms and raises what was refused.  In a hurry nothing waits:
 * what the socket does not take now is the keeper's. */
static int
finish_block(CpikaChannel *ch, const cpika_block *block, bool await, bool hurry)
{
    CpikaConnection *conn = ch->conn;
    const cpika_window *w = block->window.nacked == NULL ? NULL : &block->window;
    if (cpika_link_forked(conn->link)) {
        return 0;  // what is held is the parent's to send
    }
    if (conn->state == CONNECTION_CLOSED) {
        // What was held is lost, unless the user closed: that has sent it.  And nothing is confirmed any more.
        if (!conn->closed_by_client || (w != NULL && w->unconfirmed > 0)) {
            return engine_raise_closed(conn);
        }
    } else if (engine_flush_some(conn) < 0 || (!hurry && engine_wait_output(conn) < 0)) {
        return -1;
    } else if (hurry) {
        engine_leave_output(conn);
    }
    if (!await || w == NULL) {
        return 0;
    }
    return await_confirms(ch, w, 0) < 0 ? -1 : raise_refusals(ch, w);
}

PyObject *
channel_end_buffered(PyObject *op, PyObject *args)
{
    CpikaChannel *ch = (CpikaChannel *)op;
    unsigned long thread;
    Py_ssize_t bytes;
    unsigned long long ns;
    PyObject *error;
    if (!PyArg_ParseTuple(args, "(knK)O:_end_buffered", &thread, &bytes, &ns, &error)) {
        return NULL;
    }
    // Not this thread's own: a generator may end its block in another one.
    cpika_block *block = block_of(ch, thread);
    if (block == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "no buffered() block is open on this channel");
        return NULL;
    }
    block->max_bytes = (size_t)bytes;
    block->max_delay_ns = ns;
    block->depth--;
    bool confirming = block->window.nacked != NULL;
    // Ctrl-C shall answer although the broker reads nothing.
    bool hurry = error != Py_None && !PyErr_GivenExceptionMatches(error, PyExc_Exception);
    int rc = finish_block(ch, block, block->depth == 0 && error == Py_None, hurry);
    if (error != Py_None) {
        PyErr_Clear();  // the exception that leaves the block goes on
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    }
    if (confirming && PyErr_Occurred() && PyErr_ExceptionMatches(ch->st->exceptions[CPIKA_EXC_AMQPError])) {
        note_progress(&block->window);
    }
    if (error != Py_None) {
        PyErr_Clear();
        rc = 0;
    }
    if (block->depth == 0) {
        drop_block(ch, block);
    }
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- publish_many ---- */

/* Publishes one element of the iterable.  0 or -1. */
static int
publish_item(CpikaChannel *ch, PyObject *item, const publish_mode *mode)
{
    // A copy of a list: user code that runs meanwhile (an encode() of properties) may change it.
    PyObject *fields = PyTuple_Check(item) || PyList_Check(item) ? PySequence_Tuple(item) : NULL;
    Py_ssize_t n = fields == NULL ? 0 : PyTuple_GET_SIZE(fields);
    if (n < 3 || n > 5) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_TypeError,
                         "a message is (exchange, routing_key, body[, properties[, mandatory]]), but got %R",
                         item);
        }
        Py_XDECREF(fields);
        return -1;
    }
    PyObject *mandatory_arg = n > 4 ? PyTuple_GET_ITEM(fields, 4) : NULL;
    int mandatory = cpika_arg_true(mandatory_arg, 0);
    int rc = -1;
    if (mandatory >= 0 && channel_check_open(ch) == 0) {
        publish_args a = {PyTuple_GET_ITEM(fields, 0), PyTuple_GET_ITEM(fields, 1),
                          PyTuple_GET_ITEM(fields, 2), n > 3 ? PyTuple_GET_ITEM(fields, 3) : NULL,
                          mandatory != 0};
        rc = channel_publish(ch, &a, mode);
    }
    Py_DECREF(fields);
    return rc;
}

/* Publishes what the iterator gives until it ends, raises, or the broker refuses something.  *count: how many. */
static int
publish_all(CpikaChannel *ch, PyObject *iterator, const publish_mode *mode, size_t most, uint64_t *count)
{
    cpika_offer offer = {0};
    cpika_window *w = mode->window;
    for (;;) {
        if (w != NULL) {
            if (cpika_window_failed(w)) {
                return 0;
            }
            // Half a window at a time: waiting for each single place would be a round trip for each message.
            if (w->unconfirmed >= most && await_confirms(ch, w, most / 2) < 0) {
                return -1;
            }
        }
        PyObject *item = PyIter_Next(iterator);
        if (item == NULL) {
            return PyErr_Occurred() ? -1 : 0;
        }
        int rc = publish_item(ch, item, mode);
        Py_DECREF(item);
        if (rc < 0 || (++*count % OFFER_EVERY == 0 && cpika_offer_gil(&offer) < 0)) {
            return -1;
        }
    }
}

/* Sends the rest and awaits the outstanding confirms; an exception on its way stays, unless it was none. */
static int
drain(CpikaChannel *ch, const cpika_window *w, int rc)
{
    CpikaConnection *conn = ch->conn;
    if (rc < 0 && (ch->state != CHANNEL_OPEN || !PyErr_ExceptionMatches(PyExc_Exception))) {
        return rc;  // nothing more will be answered; and an interrupt does not wait
    }
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    int drained = engine_flush_some(conn) < 0 || engine_wait_output(conn) < 0 ? -1 : 0;
    if (drained == 0 && w != NULL) {
        drained = await_confirms(ch, w, 0);
    }
    if (rc < 0) {
        PyErr_Restore(type, error, traceback);
    }
    return rc < 0 ? rc : drained;
}

static int
publish_many_confirmed(CpikaChannel *ch, PyObject *iterator, size_t most, uint64_t *count)
{
    cpika_window window;
    if (cpika_window_init(&window, ch->published + 1) < 0) {
        return -1;
    }
    const publish_mode mode = {.window = &window, .hold_bytes = MANY_HOLD_BYTES, .hold_ns = MANY_HOLD_NS};
    open_window(ch, &window);
    int rc = publish_all(ch, iterator, &mode, most, count);
    rc = drain(ch, &window, rc);
    if (rc == 0) {
        rc = raise_refusals(ch, &window);
    }
    if (rc < 0) {
        note_progress(&window);
    }
    close_window(ch, &window);
    return rc;
}

PyObject *
channel_publish_many(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const cpika_signature signature = {"BlockingChannel.publish_many()", {"messages", "window"}, 2, 1};
    CpikaChannel *ch = (CpikaChannel *)op;
    PyObject *given[2];
    if (cpika_args_parse(&signature, args, nargs, kwnames, given) < 0) {
        return NULL;
    }
    Py_ssize_t window = given[1] == NULL ? DEFAULT_WINDOW : cpika_arg_count("window", given[1]);
    if (window < 0) {
        return NULL;
    }
    if (channel_check_open(ch) < 0) {
        return NULL;
    }
    PyObject *iterator = PyObject_GetIter(given[0]);
    if (iterator == NULL) {
        return NULL;
    }
    uint64_t count = 0;
    int rc;
    if (ch->confirming) {
        rc = publish_many_confirmed(ch, iterator, (size_t)window, &count);
    } else {
        const publish_mode mode = {.hold_bytes = MANY_HOLD_BYTES, .hold_ns = MANY_HOLD_NS};
        rc = drain(ch, NULL, publish_all(ch, iterator, &mode, 0, &count));
    }
    Py_DECREF(iterator);
    return rc < 0 ? NULL : PyLong_FromUnsignedLongLong(count);
}
