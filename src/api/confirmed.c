/* confirmed.c - see confirmed.h.
 * Layer: api.  Owns: nothing.  Threads: see confirmed.h.  Errors: see confirmed.h.
 *
 * Basic.Return carries no tag.  So a confirm is awaited before the next publish of its kind leaves, also that of a call
 * that was interrupted; and what comes back is compared with the very bytes of the caller. */
#include "confirmed.h"

#include "drivers/ended.h"
#include "drivers/made.h"
#include "drivers/wait.h"
#include "publish.h"
#include "values/values.h"
#include "wire/method.h"

PyObject *
publish_returned_message(CpikaChannel *ch, const cpika_message *message)
{
    cpika_made made = {0};
    if (cpika_make_message(ch->conn, message, &made) < 0) {
        return NULL;
    }
    PyObject *args[] = {(PyObject *)ch, made.method, made.properties, made.body};
    PyObject *returned = PyObject_VectorcallMethod(ch->st->names._returned_message, args,
                                                   4 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    cpika_made_clear(&made);
    return returned;
}

static bool
is_answered(void *arg)
{
    const cpika_confirm *confirm = arg;
    return confirm->settled || confirm->failed;
}

static bool
nobody_publishes(void *arg)
{
    const cpika_channel *ch = arg;
    return ch->confirms == NULL || ch->state != CHANNEL_OPEN;
}

/* NackError or UnroutableError with the message that came back, if one did.  Always -1. */
static int
raise_refused(CpikaChannel *ch, cpika_exc which, const cpika_message *returned)
{
    PyObject *messages = PyList_New(0);
    PyObject *message = messages == NULL || returned == NULL ? NULL : publish_returned_message(ch, returned);
    PyObject *error = NULL;
    if (messages != NULL
        && (returned == NULL || (message != NULL && PyList_Append(messages, message) == 0))) {
        error = PyObject_CallOneArg(ch->st->exceptions[which], messages);
    }
    if (error != NULL) {
        PyErr_SetObject(ch->st->exceptions[which], error);
    }
    Py_XDECREF(error);
    Py_XDECREF(message);
    Py_XDECREF(messages);
    return -1;
}

/* The log's record of a Nack.  0 or -1. */
static int
tell_nack(CpikaChannel *ch, const publish_args *a, const cpika_confirm *confirm)
{
    uint8_t payload[4 + 8 + 1];
    uint32_t id;
    int status;
    cpika_put32(payload, CPIKA_ID_basic_nack);
    cpika_put64(payload + 4, confirm->nack_tag);
    payload[12] = (uint8_t)(confirm->multiple | confirm->requeue << 1);
    PyObject *nack = cpika_method_decode(&ch->st->values, payload, sizeof payload, &id, &status);
    if (nack == NULL) {
        return -1;
    }
    PyObject *args[] = {(PyObject *)ch, nack, a->exchange, a->routing_key, a->mandatory ? Py_True : Py_False};
    PyObject *done =
        PyObject_VectorcallMethod(ch->st->names._on_nack, args, 5 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(nack);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
judge(CpikaChannel *ch, const publish_args *a, const cpika_confirm *confirm)
{
    if (!confirm->settled) {
        return cpika_engine_ended(&ch->conn->engine) ? cpika_raise_ended(ch->conn) : cpika_raise_not_open(ch);
    }
    if (confirm->nacked) {
        return tell_nack(ch, a, confirm) < 0 ? -1 : raise_refused(ch, CPIKA_EXC_NackError, confirm->returned);
    }
    return confirm->returned != NULL ? raise_refused(ch, CPIKA_EXC_UnroutableError, confirm->returned) : 0;
}

/* Publishes when its turn has come.  0 or -1. */
static int
publish_in_turn(CpikaChannel *ch, const publish_args *a, const publish_body *body, cpika_confirm *confirm)
{
    const publish_mode mode = {.confirm = confirm};
    int rc;
    do {
        if (ch->engine.confirms != NULL
            && (cpika_wait(ch->conn, nobody_publishes, &ch->engine, CPIKA_FOREVER, true) < 0
                || cpika_check_channel(ch) < 0)) {
            return -1;
        }
        rc = publish_message(ch, a, body, &mode);
    } while (rc == PUBLISH_NOT_YET);
    return rc;
}

int
publish_confirmed(CpikaChannel *ch, const publish_args *a)
{
    publish_body body;
    if (cpika_check_may_wait(ch->conn) < 0) {
        return -1;
    }
    if (publish_body_take(&ch->st->values, a->body, &body) < 0) {
        return -1;
    }
    if (a->mandatory && publish_body_freeze(&body) < 0) {
        publish_body_free(&body);
        return -1;
    }
    cpika_confirm *confirm = cpika_confirm_new();
    int rc = -1;
    if (confirm == NULL) {
        PyErr_NoMemory();
    } else {
        rc = publish_in_turn(ch, a, &body, confirm);
    }
    if (rc == 0) {
        rc = cpika_wait(ch->conn, is_answered, confirm, CPIKA_FOREVER, false);
    }
    if (rc == 0) {
        rc = judge(ch, a, confirm);
    }
    if (confirm != NULL && !cpika_transport_forked(&ch->conn->io)) {
        cpika_confirm_abandon(confirm);
    }
    publish_body_free(&body);
    return rc;
}
