/* consuming.c - see consuming.h.
 * Layer: api.  Owns: nothing.  Threads: with the GIL.  Errors: see consuming.h. */
#include "consuming.h"

#include <string.h>

#include "drivers/deliver.h"
#include "drivers/dispatch.h"
#include "drivers/ended.h"
#include "drivers/rpc.h"
#include "drivers/settle.h"
#include "drivers/wait.h"
#include "values/errors.h"
#include "values/gate.h"
#include "wire/frame.h"
#include "wire/method.h"

static bool
no_requests(void *arg)
{
    const cpika_channel *ch = arg;
    return ch->requests.first == NULL || ch->state == CHANNEL_CLOSED;
}

/* From now on what is delivered to the consumer, and what waits to be dispatched, goes back, unless nobody acknowledges
 * it.  Returns its state before, TEARING_DOWN: another call is at it; or -1. */
static int
begin_cancel(CpikaChannel *ch, CpikaConsumerInfo *info, const cpika_consumer_tag *tag)
{
    int before = info->state;
    if (before == CONSUMER_TEARING_DOWN) {
        return before;
    }
    if (!info->auto_ack && before != CONSUMER_CANCELLED_BY_BROKER
        && cpika_consumers_refuse(&ch->engine.consumers, tag) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    info->state = CONSUMER_TEARING_DOWN;
    cpika_refuse_in_hand(ch, info);
    return !info->auto_ack && cpika_reject_pending(ch, tag) < 0 ? -1 : before;
}

/* Basic.Cancel and its answer.  0 or -1. */
static int
send_cancel(CpikaChannel *ch, const cpika_consumer_tag *tag, uint64_t deadline)
{
    uint8_t frame[CPIKA_FRAME_OVERHEAD + 4 + 1 + UINT8_MAX + 1];
    if (tag->n > UINT8_MAX) {
        PyObject *bytes = PyBytes_FromStringAndSize((const char *)tag->bytes, (Py_ssize_t)tag->n);
        if (bytes != NULL) {
            PyErr_SetObject(ch->st->values.short_string_too_long, bytes);
            Py_DECREF(bytes);
        }
        return -1;
    }
    size_t payload = 4 + 1 + tag->n + 1;
    cpika_frame_put_head(frame, CPIKA_FRAME_METHOD, (uint16_t)ch->engine.number, (uint32_t)payload);
    cpika_put32(frame + 7, CPIKA_ID_basic_cancel);
    frame[11] = (uint8_t)tag->n;
    memcpy(frame + 12, tag->bytes, tag->n);
    frame[12 + tag->n] = 0;  // nowait
    frame[13 + tag->n] = CPIKA_FRAME_END;
    cpika_request *request = cpika_request_new(CPIKA_ID_basic_cancel_ok, 0);
    if (request == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    cpika_message *answer =
        cpika_call_bytes(ch->conn, ch, request, frame, payload + CPIKA_FRAME_OVERHEAD, deadline);
    cpika_message_decref(answer);
    return answer == NULL ? -1 : 0;
}

/* The consumer is not known any more, whatever exception is on its way.  -1: with that, or with what the program's tag has
 * raised meanwhile. */
static int
forget_consumer(CpikaChannel *ch, PyObject *tag, CpikaConsumerInfo *info)
{
    if (info->forgotten) {  // whoever forgets first takes it out: what is there now may be another one
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    info->forgotten = true;
    cpika_refuse_in_hand(ch, info);
    PyObject *infos = Py_NewRef(ch->consumer_infos);  // the channel may get another one meanwhile
    PyObject *known = cpika_dict_get(infos, tag);
    if (known == (const PyObject *)info) {
        PyDict_DelItem(infos, tag);
    }
    Py_XDECREF(known);
    Py_DECREF(infos);
    cpika_forget_found(ch);  // behind that: whoever delivers meanwhile may have found it
    cpika_roles_ask_return(&ch->conn->roles, ch->conn->io.link);
    cpika_drop_for(type, value, traceback);
    return PyErr_Occurred() ? -1 : 0;
}

/* Has the engine cancel it, whoever waits for the answer.  Without memory for that, no connection is better than a consumer
 * that the broker alone knows. */
static int
cancel_by_engine(CpikaChannel *ch, const cpika_consumer_tag *bytes, bool refuse)
{
    cpika_engine *e = &ch->conn->engine;
    int rc = cpika_engine_cancel_for_nobody(e, &ch->engine, bytes->bytes, bytes->n, refuse);
    if (rc < 0) {
        cpika_engine_input_over(e, CPIKA_ENDING_NO_MEMORY, 0);
    }
    return rc;
}

/* What is left of _cancel() when its arguments are there; `bytes` are those of `tag`. */
static PyObject *
cancel(CpikaChannel *ch, CpikaConsumerInfo *info, PyObject *tag, const cpika_consumer_tag *bytes,
       uint64_t deadline)
{
    bool usable = cpika_check_channel(ch) == 0;
    if (usable && cpika_check_may_wait(ch->conn) < 0) {
        return NULL;
    }
    if (usable && info->unsent) {  // by the time its turn comes, it is not wanted any more
        info->state = CONSUMER_TEARING_DOWN;
        return forget_consumer(ch, tag, info) < 0 ? NULL : PyList_New(0);
    }
    int before = usable ? begin_cancel(ch, info, bytes) : -1;
    if (before == CONSUMER_TEARING_DOWN) {
        return cpika_wait(ch->conn, no_requests, &ch->engine, deadline, true) < 0 ? NULL : PyList_New(0);
    }
    int rc = before < 0 ? -1 : before == CONSUMER_CANCELLED_BY_BROKER ? 0 : send_cancel(ch, bytes, deadline);
    PyObject *pending = rc < 0 ? NULL : cpika_take_pending(ch, tag);
    if (usable && rc < 0 && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        // Nothing was sent; and a second one would harm nobody.
        (void)cancel_by_engine(ch, bytes, !info->auto_ack);
    }
    if (forget_consumer(ch, tag, info) < 0) {
        Py_CLEAR(pending);
    }
    return pending;
}

PyDoc_STRVAR(cancel_doc, "_cancel($self, info, timeout=None, /)\n--\n\n"
                         "Cancel a consumer, a _ConsumerInfo (AMQP Basic.Cancel), unless the broker has or another call is\n"
                         "at it.  Returns its messages that were not dispatched, list of (method, properties, body): those\n"
                         "that nobody acknowledges; the others go back.  Interrupted, the engine goes on with it.");

static PyObject *
channel_cancel(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    CPIKA_GATE;
    CpikaChannel *ch = (CpikaChannel *)op;
    cpika_consumer_tag bytes;
    uint64_t deadline;
    if (nargs < 1 || nargs > 2 || !PyObject_TypeCheck(args[0], ch->st->consumer_info_type)) {
        PyErr_SetString(PyExc_TypeError, "_cancel() takes a _ConsumerInfo and a timeout");
        return NULL;
    }
    CpikaConsumerInfo *info = (CpikaConsumerInfo *)args[0];
    PyObject *tag = Py_XNewRef(info->consumer_tag);  // the attribute may be another one meanwhile
    PyObject *pending = cpika_deadline(nargs > 1 ? args[1] : Py_None, &deadline) < 0
                                || cpika_tag_of(tag, &bytes) < 0
                                || (ch->conn == NULL && cpika_check_channel(ch) < 0)
                            ? NULL
                            : cancel(ch, info, tag, &bytes, deadline);
    Py_XDECREF(tag);
    return pending;
}

PyDoc_STRVAR(consume_doc, "_consume($self, info, method, timeout=None, /)\n--\n\n"
                          "Send Basic.Consume for a _ConsumerInfo, which is known as soon as messages may come.  It stays\n"
                          "known if and only if the broker has it: interrupted, the engine cancels it again; cancelled\n"
                          "meanwhile by somebody else, it is not sent.");

/* In one step, for two threads may ask for one tag.  0 or -1. */
static int
make_known(CpikaChannel *ch, PyObject *tag, CpikaConsumerInfo *info)
{
    PyObject *infos = Py_NewRef(ch->consumer_infos);
    const PyObject *known = PyDict_SetDefault(infos, tag, (PyObject *)info);
    int rc = known == (PyObject *)info ? 0 : -1;
    if (rc < 0 && known != NULL) {
        PyErr_SetObject(ch->st->exceptions[CPIKA_EXC_DuplicateConsumerTag], tag);
    }
    Py_DECREF(infos);
    return rc;
}

static bool
is_still_wanted(void *arg)
{
    CpikaConsumerInfo *info = arg;
    info->unsent = false;
    return !info->forgotten;
}

static PyObject *
channel_consume(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    CPIKA_GATE;
    CpikaChannel *ch = (CpikaChannel *)op;
    uint64_t deadline;
    if (nargs < 2 || nargs > 3 || !PyObject_TypeCheck(args[0], ch->st->consumer_info_type)) {
        PyErr_SetString(PyExc_TypeError, "_consume() takes a _ConsumerInfo, a method and a timeout");
        return NULL;
    }
    CpikaConsumerInfo *info = (CpikaConsumerInfo *)args[0];
    PyObject *tag = info->consumer_tag;
    if (cpika_deadline(nargs > 2 ? args[2] : Py_None, &deadline) < 0 || cpika_check_channel(ch) < 0) {
        return NULL;
    }
    if (tag == NULL) {
        PyErr_SetString(PyExc_AttributeError, "consumer_tag");
        return NULL;
    }
    if (info->unsent || info->forgotten || info->state != CONSUMER_SETTING_UP) {
        PyErr_SetObject(ch->st->exceptions[CPIKA_EXC_DuplicateConsumerTag], tag);
        return NULL;
    }
    Py_INCREF(tag);
    info->unsent = true;
    if (make_known(ch, tag, info) < 0) {
        info->unsent = false;
        Py_DECREF(tag);
        return NULL;
    }
    cpika_joining joining = {is_still_wanted, info};
    PyObject *answer =
        cpika_call_method(ch->conn, ch, args[1], CPIKA_ID_basic_consume_ok, deadline, &joining);
    if (answer == NULL && !PyErr_Occurred()) {
        answer = Py_NewRef(Py_None);  // cancelled before it was sent
    } else if (answer == NULL) {
        (void)forget_consumer(ch, tag, info);
    } else if (info->state == CONSUMER_SETTING_UP) {  // the broker may have cancelled it already
        info->state = CONSUMER_ACTIVE;
    }
    Py_DECREF(tag);
    return answer;
}

PyDoc_STRVAR(cancel_for_nobody_doc, "_cancel_for_nobody($self, consumer_tag, /)\n--\n\n"
                                    "Have the engine cancel a consumer, if it is still known, and wait for nothing: for a call\n"
                                    "that was interrupted after it began one.");

static PyObject *
channel_cancel_for_nobody(PyObject *op, PyObject *tag)
{
    CPIKA_GATE;
    CpikaChannel *ch = (CpikaChannel *)op;
    cpika_consumer_tag bytes;
    PyObject *infos = Py_NewRef(ch->consumer_infos);
    PyObject *found = cpika_dict_get(infos, tag);
    bool taken = found != NULL && cpika_tag_of(tag, &bytes) == 0 && PyDict_DelItem(infos, tag) == 0;
    Py_DECREF(infos);
    if (!taken) {
        Py_XDECREF(found);
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    cpika_forget_found(ch);  // behind that: whoever delivers meanwhile may have found it
    bool refuse = true;
    if (PyObject_TypeCheck(found, ch->st->consumer_info_type)) {
        CpikaConsumerInfo *info = (CpikaConsumerInfo *)found;
        info->forgotten = true;
        refuse = !info->auto_ack;
        cpika_refuse_in_hand(ch, info);
    }
    Py_DECREF(found);
    if (ch->conn == NULL || cpika_transport_forked(&ch->conn->io)) {
        Py_RETURN_NONE;
    }
    if (cancel_by_engine(ch, &bytes, refuse) < 0) {
        return PyErr_NoMemory();
    }
    if (refuse && cpika_reject_pending(ch, &bytes) < 0) {
        return NULL;
    }
    return cpika_settle(ch->conn) < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(await_cancelled_doc, "_await_requests($self, timeout, /)\n--\n\n"
                                  "Wait until the requests that are under way on the channel have been answered: another call's\n"
                                  "Channel.Close, for example; for at most `timeout` seconds (None: no limit).");

static PyObject *
channel_await_requests(PyObject *op, PyObject *timeout)
{
    CPIKA_GATE;
    CpikaChannel *ch = (CpikaChannel *)op;
    uint64_t deadline;
    if (cpika_deadline(timeout, &deadline) < 0 || (ch->conn == NULL && cpika_check_channel(ch) < 0)
        || cpika_check_connection(ch->conn) < 0
        || cpika_wait(ch->conn, no_requests, &ch->engine, deadline, true) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef cpika_consuming_methods[] = {
    {"_consume", (PyCFunction)(void (*)(void))channel_consume, METH_FASTCALL, consume_doc},
    {"_cancel", (PyCFunction)(void (*)(void))channel_cancel, METH_FASTCALL, cancel_doc},
    {"_cancel_for_nobody", channel_cancel_for_nobody, METH_O, cancel_for_nobody_doc},
    {"_await_requests", channel_await_requests, METH_O, await_cancelled_doc},
    {NULL, NULL, 0, NULL},
};
