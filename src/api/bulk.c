/* bulk.c - see bulk.h.
 * Layer: api.  Owns: nothing.  Threads: with the GIL.  Errors: see bulk.h. */
#include "bulk.h"

#include "confirmed.h"
#include "drivers/ended.h"
#include "drivers/settle.h"
#include "drivers/wait.h"
#include "values/errors.h"

int
bulk_need_window(CpikaChannel *ch, cpika_window **w, uint64_t before)
{
    if (*w != NULL || !ch->engine.confirming) {
        return 0;
    }
    *w = cpika_window_new(ch->engine.published + 1, before);
    if (*w == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    (*w)->outer = ch->engine.windows;
    ch->engine.windows = *w;
    return 0;
}

void
bulk_close_window(CpikaChannel *ch, cpika_window *w)
{
    for (cpika_window **at = &ch->engine.windows; *at != NULL; at = &(*at)->outer) {
        if (*at == w) {
            *at = w->outer;
            break;
        }
    }
    cpika_window_free(w);
}

static bool
has_room(void *arg)
{
    const cpika_window *w = arg;
    return w->unconfirmed <= w->bearable || w->over;
}

int
bulk_await_confirms(CpikaChannel *ch, cpika_window *w, size_t most)
{
    w->bearable = most;
    if (cpika_wait(ch->conn, has_room, w, CPIKA_FOREVER, true) < 0) {
        return -1;
    }
    if (w->unconfirmed <= most) {
        return 0;
    }
    return cpika_engine_ended(&ch->conn->engine) ? cpika_raise_ended(ch->conn) : cpika_raise_not_open(ch);
}

/* ---- what came of them ---- */

static int
compare_indexes(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* New list; NULL with an exception. */
static PyObject *
list_of(const cpika_indexes *indexes)
{
    PyObject *list = PyList_New((Py_ssize_t)indexes->count);
    for (size_t i = 0; i < indexes->count && list != NULL; i++) {
        PyObject *number = PyLong_FromUnsignedLongLong(indexes->items[i]);
        if (number == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, number);
        }
    }
    return list;
}

static PyObject *
list_of_messages(CpikaChannel *ch, const cpika_window *w)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; i < w->returned.count && list != NULL; i++) {
        PyObject *message = publish_returned_message(ch, w->messages[i]);
        if (message == NULL || PyList_Append(list, message) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(message);
    }
    return list;
}

int
bulk_raise_refusals(CpikaChannel *ch, const cpika_window *w)
{
    if (!cpika_window_failed(w)) {
        return 0;
    }
    cpika_indexes refused = {0};
    PyObject *type =
        ch->st->exceptions[w->nacked.count > 0 ? CPIKA_EXC_NackError : CPIKA_EXC_UnroutableError];
    PyObject *messages = list_of_messages(ch, w);
    PyObject *error = messages == NULL ? NULL : PyObject_CallOneArg(type, messages);
    PyObject *indexes = NULL;
    if (error != NULL) {
        if (cpika_window_refused(w, &refused) < 0) {
            PyErr_NoMemory();
        } else {
            indexes = list_of(&refused);
        }
    }
    if (indexes != NULL && PyObject_SetAttrString(error, "indexes", indexes) == 0) {
        PyErr_SetObject(type, error);
    }
    PyMem_Free(refused.items);
    Py_XDECREF(messages);
    Py_XDECREF(error);
    Py_XDECREF(indexes);
    return -1;
}

void
bulk_note_progress(const cpika_window *w)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    uint64_t leading = cpika_window_leading(w);
    cpika_indexes open = {0};
    PyObject *unconfirmed = NULL;
    if (cpika_window_unconfirmed(w, &open) == CPIKA_OK && cpika_window_refused(w, &open) == CPIKA_OK) {
        if (open.count > 0) {
            qsort(open.items, open.count, sizeof(uint64_t), compare_indexes);
            leading = open.items[0] < leading ? open.items[0] : leading;
        }
        unconfirmed = list_of(&open);
    }
    PyMem_Free(open.items);
    PyObject *confirmed = unconfirmed == NULL ? NULL : PyLong_FromUnsignedLongLong(leading);
    if (error != NULL && confirmed != NULL && PyObject_SetAttrString(error, "confirmed", confirmed) == 0) {
        (void)PyObject_SetAttrString(error, "unconfirmed", unconfirmed);
    }
    Py_XDECREF(confirmed);
    Py_XDECREF(unconfirmed);
    cpika_drop_for(type, error, traceback);
}

int
bulk_flush(CpikaConnection *conn, bool hurry)
{
    if (cpika_raise_io(conn, cpika_transport_flush(&conn->io)) < 0) {
        return -1;
    }
    return hurry ? cpika_raise_io(conn, cpika_transport_leave_output(&conn->io)) : cpika_wait_output(conn);
}
