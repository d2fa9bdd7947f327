/* many.c - see many.h.
 * Layer: api.  Owns: see many.h.  Threads: with the GIL.  Errors: see many.h. */
#include "many.h"

#include "bulk.h"
#include "drivers/ended.h"
#include "drivers/offer.h"
#include "publish.h"
#include "values/args.h"
#include "values/errors.h"
#include "values/gate.h"

enum {
    DEFAULT_WINDOW = 1024,           // unconfirmed publishes
    MANY_HOLD_BYTES = 65536,         // what is given to one send()
    MANY_HOLD_NS = CPIKA_NS_PER_MS,  // how long a slow iterable keeps what it gave before
    OFFER_EVERY = 64,                // messages between two looks at the clock
};

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
    if (mandatory >= 0 && cpika_check_channel(ch) == 0) {
        publish_args a = {PyTuple_GET_ITEM(fields, 0), PyTuple_GET_ITEM(fields, 1),
                          PyTuple_GET_ITEM(fields, 2), n > 3 ? PyTuple_GET_ITEM(fields, 3) : NULL,
                          mandatory != 0};
        publish_strings held = {NULL, NULL};
        rc = publish_take_strings(&ch->st->values, &a, &held);
        if (rc == 0) {
            rc = publish_now(ch, &a, mode);
        }
        publish_release(&held);
    }
    Py_DECREF(fields);
    return rc;
}

/* Publishes what the iterator gives until it ends, raises, or the broker refuses something.  *count: how many.  *window:
 * opened when the broker confirms, which the program may ask for at any time. */
static int
publish_all(CpikaChannel *ch, PyObject *iterator, size_t most, cpika_window **window, uint64_t *count)
{
    publish_mode mode = {.hold_bytes = MANY_HOLD_BYTES, .hold_ns = MANY_HOLD_NS};
    cpika_offer offer = {0};
    for (;;) {
        cpika_window *w = *window;
        if (w != NULL) {
            if (cpika_window_failed(w)) {
                return 0;
            }
            // Half a window at a time: waiting for each single place would be a round trip for each message.
            if (w->unconfirmed >= most && bulk_await_confirms(ch, w, most / 2) < 0) {
                return -1;
            }
        }
        PyObject *item = PyIter_Next(iterator);
        if (item == NULL) {
            return PyErr_Occurred() ? -1 : 0;
        }
        int rc = bulk_need_window(ch, window, *count);
        mode.window = *window;
        rc = rc < 0 ? rc : publish_item(ch, item, &mode);
        Py_DECREF(item);
        if (rc < 0 || (++*count % OFFER_EVERY == 0 && cpika_offer_gil(&offer) < 0)) {
            return -1;
        }
    }
}

/* Sends the rest and awaits the outstanding confirms; an exception on its way stays, unless an interrupt comes. */
static int
drain(CpikaChannel *ch, cpika_window *w, int rc)
{
    if (rc < 0 && (ch->engine.state != CHANNEL_OPEN || !PyErr_ExceptionMatches(PyExc_Exception))) {
        return rc;  // nothing more will be answered; and an interrupt does not wait
    }
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    bool told = ch->conn->engine.ending.told;
    int drained = bulk_flush(ch->conn, false);
    if (drained == 0 && w != NULL) {
        drained = bulk_await_confirms(ch, w, 0);
    }
    if (rc < 0 && drained < 0) {
        (void)cpika_drop_second(ch->conn, told);
    }
    if (rc < 0) {
        cpika_restore_behind(type, error, traceback);
    }
    return rc < 0 ? rc : drained;
}

static int
publish_many(CpikaChannel *ch, PyObject *iterator, size_t most, uint64_t *count)
{
    cpika_window *window = NULL;
    int rc = publish_all(ch, iterator, most, &window, count);
    rc = drain(ch, window, rc);
    if (window == NULL) {
        return rc;
    }
    if (rc == 0) {
        rc = bulk_raise_refusals(ch, window);
    }
    if (rc < 0) {
        bulk_note_progress(window);
    }
    bulk_close_window(ch, window);
    return rc;
}

PyObject *
channel_publish_many(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    CPIKA_GATE;
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
    if (cpika_check_channel(ch) < 0) {
        return NULL;
    }
    PyObject *iterator = PyObject_GetIter(given[0]);
    if (iterator == NULL) {
        return NULL;
    }
    uint64_t count = 0;
    int rc = publish_many(ch, iterator, (size_t)window, &count);
    Py_DECREF(iterator);
    return rc < 0 ? NULL : PyLong_FromUnsignedLongLong(count);
}
