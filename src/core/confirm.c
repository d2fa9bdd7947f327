/* confirm.c - publisher confirms: the broker's word for each publish.
 * Layer: core.
 * Owns: the list of publishes in flight, which lie on the stacks of their calls.
 * Threads: with the GIL; of publishes that are awaited one by one, one a channel at a time.
 * Errors: -1 with an exception. */
#include "publish.h"

int
engine_confirmed(CpikaChannel *ch, uint64_t delivery_tag, bool multiple, PyObject *nack)
{
    int rc = 0;
    for (cpika_window *w = ch->windows; w != NULL; w = w->outer) {
        rc = cpika_window_settle(w, delivery_tag, multiple, nack != NULL) < 0 ? -1 : rc;
    }
    bool settled = false;
    for (cpika_confirm *c = ch->confirms; c != NULL; c = c->next) {
        if (!c->done && (c->delivery_tag == delivery_tag || (multiple && c->delivery_tag <= delivery_tag))) {
            c->nack = Py_XNewRef(nack);
            c->done = true;
            settled = true;
        }
    }
    if (settled || ch->windows != NULL) {
        engine_wake_others(ch->conn);
    }
    return rc;
}

/* cpika_message_hash of what came back.  0 or -1. */
static int
hash_returned(CpikaChannel *ch, const cpika_content *c, uint64_t *hash)
{
    const uint8_t *exchange_bytes, *key_bytes;
    Py_ssize_t exchange_len, key_len;
    int rc = -1;
    PyObject *exchange = PyObject_GetAttrString(c->method, "exchange");
    PyObject *key = PyObject_GetAttrString(c->method, "routing_key");
    if (exchange != NULL && key != NULL
        && cpika_shortstr_check(&ch->st->values, exchange, "exchange", &exchange_bytes, &exchange_len) == 0
        && cpika_shortstr_check(&ch->st->values, key, "routing_key", &key_bytes, &key_len) == 0) {
        *hash = cpika_message_hash(exchange_bytes, (size_t)exchange_len, key_bytes, (size_t)key_len,
                                   (const uint8_t *)PyBytes_AS_STRING(c->body),
                                   (size_t)PyBytes_GET_SIZE(c->body));
        rc = 0;
    }
    Py_XDECREF(exchange);
    Py_XDECREF(key);
    return rc;
}

/* To the oldest publish in flight that is like it; one that an interrupted call has left behind is nobody's. */
static int
give_returned(CpikaChannel *ch, uint64_t hash, PyObject *message)
{
    cpika_confirm *confirm = NULL;
    cpika_window *window = NULL;
    uint64_t oldest = UINT64_MAX;
    for (cpika_confirm *c = ch->confirms; c != NULL; c = c->next) {
        if (!c->done && c->returned == NULL && c->hash == hash && c->delivery_tag < oldest) {
            confirm = c;
            oldest = c->delivery_tag;
        }
    }
    for (cpika_window *w = ch->windows; w != NULL; w = w->outer) {
        uint64_t tag = cpika_window_find(w, hash);
        if (tag < oldest) {
            window = w;
            oldest = tag;
        }
    }
    if (window != NULL) {
        return cpika_window_note_return(window, oldest, message);
    }
    if (confirm != NULL) {
        confirm->returned = Py_NewRef(message);
    }
    return 0;
}

int
channel_note_return(CpikaChannel *ch, const cpika_content *c)
{
    if (ch->returned == NULL) {
        return 0;  // without confirms
    }
    PyObject *message = ch->returned;
    ch->returned = NULL;
    uint64_t hash;
    int rc = hash_returned(ch, c, &hash);
    if (rc == 0) {
        rc = give_returned(ch, hash, message);
    }
    Py_DECREF(message);
    return rc;
}

static bool
confirm_settled(CpikaConnection *conn, void *arg)
{
    (void)conn;
    const cpika_confirm *confirm = arg;
    return confirm->done || confirm->failed;
}

static bool
turn_is_free(CpikaConnection *conn, void *arg)
{
    (void)conn;
    const CpikaChannel *ch = arg;
    return ch->confirm_owner == 0 || ch->state != CHANNEL_OPEN;
}

/* Takes the turn, after those who have it.  *nested: this very thread has it already (a signal handler). */
static int
take_turn(CpikaChannel *ch, bool *nested)
{
    unsigned long self = PyThread_get_thread_ident();
    *nested = ch->confirm_owner == self;
    if (*nested) {
        return 0;
    }
    if (ch->confirm_owner != 0 && engine_wait(ch->conn, turn_is_free, ch, ENGINE_FOREVER) < 0) {
        return -1;
    }
    if (channel_check_open(ch) < 0) {
        return -1;
    }
    ch->confirm_owner = self;
    return 0;
}

static void
leave_turn(CpikaChannel *ch, bool nested)
{
    if (!nested) {
        ch->confirm_owner = 0;
        engine_wake_others(ch->conn);
    }
}

static void
remove_confirm(CpikaChannel *ch, cpika_confirm *confirm)
{
    for (cpika_confirm **at = &ch->confirms; *at != NULL; at = &(*at)->next) {
        if (*at == confirm) {
            *at = confirm->next;
            return;
        }
    }
}

/* NackError or UnroutableError with the message that came back, if one did.  Always -1. */
static int
raise_refused(CpikaChannel *ch, cpika_exc which, PyObject *returned)
{
    PyObject *messages = returned == NULL ? PyList_New(0) : Py_BuildValue("[O]", returned);
    if (messages == NULL) {
        return -1;
    }
    PyObject *error = PyObject_CallOneArg(ch->st->exceptions[which], messages);
    Py_DECREF(messages);
    if (error != NULL) {
        PyErr_SetObject(ch->st->exceptions[which], error);
        Py_DECREF(error);
    }
    return -1;
}

static int
judge(CpikaChannel *ch, const publish_args *a, const cpika_confirm *confirm)
{
    if (!confirm->done) {
        return ch->conn->state == CONNECTION_CLOSED ? engine_raise_closed(ch->conn)
                                                    : channel_raise_not_open(ch);
    }
    if (confirm->nack != NULL) {
        PyObject *args[] = {confirm->nack, a->exchange, a->routing_key, a->mandatory ? Py_True : Py_False};
        engine_hook((PyObject *)ch, ch->st->names._on_nack, args, 4);
        return raise_refused(ch, CPIKA_EXC_NackError, confirm->returned);
    }
    return confirm->returned != NULL ? raise_refused(ch, CPIKA_EXC_UnroutableError, confirm->returned) : 0;
}

int
channel_publish_confirmed(CpikaChannel *ch, const publish_args *a)
{
    bool nested;
    if (take_turn(ch, &nested) < 0) {
        return -1;
    }
    cpika_confirm confirm = {0};
    const publish_mode mode = {.confirm = &confirm};
    int rc = channel_publish(ch, a, &mode);
    if (rc == 0) {
        rc = engine_wait_answer(ch->conn, confirm_settled, &confirm, ENGINE_FOREVER);
    }
    remove_confirm(ch, &confirm);
    leave_turn(ch, nested);
    if (rc == 0) {
        rc = judge(ch, a, &confirm);
    }
    Py_XDECREF(confirm.nack);
    Py_XDECREF(confirm.returned);
    return rc;
}
