/* claim.c - see claim.h.
 * Layer: api.  Owns: see claim.h.  Threads: see claim.h.  Errors: see claim.h. */
#include "claim.h"

#include "drivers/deliver.h"
#include "drivers/ended.h"
#include "drivers/wait.h"
#include "values/gate.h"
#include "values/setup.h"

typedef struct cpika_claim {
    PyObject_HEAD
    CpikaChannel *channel;     // owned; NULL: the claim has ended
    struct cpika_claim *next;  // of the connection's
    cpika_user user;
    bool holds;  // the channel's events back from other calls
    // Of one that is to be taken up:
    PyObject *sink;  // owned: tag of a consumer, or None; NULL: it is not
    uint64_t asks;   // of the roles, when whoever claims has looked
    bool looked;     //   and no call has gone by that yet
    bool in_use;     // a call goes by it
} Claim;

/* ---- to be taken up ---- */

/* Has the claims of the loops around this one hold the channel, or not.  The program's own process_data_events may call ours
 * in another thread or greenlet: nobody is held off meanwhile.  The call that takes a claim up claims for itself. */
static void
have_loops_hold(const Claim *self, bool holds)
{
    CpikaConnection *conn = self->channel->conn;
    for (Claim *claim = conn->claims; claim != NULL; claim = claim->next) {
        if (claim->sink == NULL && claim->holds != holds && claim->channel == self->channel
            && cpika_user_same(&claim->user, &self->user)) {
            claim->holds = holds;
            if (holds) {
                cpika_roles_claim(&claim->channel->roles);
            } else {
                cpika_roles_unclaim(&conn->roles, &claim->channel->roles);
            }
        }
    }
}

PyObject *
cpika_claim_take_up(CpikaConnection *conn, cpika_process_args *args, cpika_consumer_tag *tag)
{
    cpika_user user = cpika_user_here(conn->st);  // first: others may run meanwhile
    Claim *claim = conn->claims;
    while (claim != NULL && (claim->sink == NULL || !cpika_user_same(&claim->user, &user))) {
        claim = claim->next;
    }
    cpika_user_clear_here(&user);
    if (claim == NULL || claim->in_use) {  // a call inside a callback of the one that goes by it
        return NULL;
    }
    args->channel = claim->channel;
    if (claim->sink != Py_None && cpika_tag_of(claim->sink, tag) == 0) {
        args->sink = tag;
    }
    PyErr_Clear();
    if (claim->looked) {  // what changes behind a call that has returned, the caller sees himself
        claim->looked = false;
        args->asks_seen = claim->asks;
    }
    claim->in_use = true;
    return Py_NewRef((PyObject *)claim);
}

void
cpika_claim_put_down(PyObject *claim)
{
    if (claim != NULL) {
        ((Claim *)claim)->in_use = false;
        Py_DECREF(claim);
    }
}

/* ---- its life ---- */

static void
begin_claim(Claim *self, CpikaChannel *channel, PyObject *sink, uint64_t asks)
{
    CpikaConnection *conn = channel->conn;
    self->user = cpika_user_here(conn->st);
    self->channel = (CpikaChannel *)Py_NewRef(channel);
    self->sink = Py_XNewRef(sink);
    self->asks = asks;
    self->looked = true;
    self->holds = sink == NULL;
    self->next = conn->claims;
    conn->claims = self;
    if (self->holds) {
        cpika_roles_claim(&channel->roles);
    } else {
        have_loops_hold(self, false);
    }
}

static void
end_claim(Claim *self)
{
    CpikaChannel *ch = self->channel;
    if (ch == NULL) {
        return;
    }
    CpikaConnection *conn = ch->conn;
    for (Claim **at = &conn->claims; *at != NULL; at = &(*at)->next) {
        if (*at == self) {
            *at = self->next;
            break;
        }
    }
    if (self->holds) {
        cpika_roles_unclaim(&conn->roles, &ch->roles);
    } else if (self->sink != NULL) {
        have_loops_hold(self, true);
    }
    self->channel = NULL;
    if (conn->io.link != NULL && !cpika_transport_forked(&conn->io)) {
        cpika_roles_notify(&conn->roles, &conn->engine, conn->io.link);
    }
    cpika_user_clear(&self->user);
    Py_CLEAR(self->sink);
    Py_DECREF(ch);
}

static PyObject *
claim_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    CPIKA_GATE;
    static char *names[] = {"channel", "sink", "asks", NULL};
    cpika_state *st = cpika_state_of_type(type);
    CpikaChannel *channel;
    PyObject *sink = Py_None;
    PyObject *asks = NULL;  // none: it is not to be taken up
    if (st == NULL
        || !PyArg_ParseTupleAndKeywords(args, kwargs, "O!|OO!:Claim", names, st->channel_type, &channel,
                                        &sink, &PyLong_Type, &asks)
        || (channel->conn == NULL && cpika_check_channel(channel) < 0)) {
        return NULL;
    }
    uint64_t seen = asks == NULL ? 0 : PyLong_AsUnsignedLongLong(asks);
    if (PyErr_Occurred()) {
        return NULL;
    }
    Claim *self = (Claim *)type->tp_alloc(type, 0);
    if (self != NULL) {
        begin_claim(self, channel, asks == NULL ? NULL : sink, seen);
    }
    return (PyObject *)self;
}

static PyObject *
claim_enter(PyObject *op, PyObject *ignored)
{
    CPIKA_GATE;
    (void)ignored;
    return Py_NewRef(op);
}

static PyObject *
claim_exit(PyObject *op, PyObject *args)
{
    CPIKA_GATE;
    (void)args;
    end_claim((Claim *)op);
    Py_RETURN_NONE;
}

static void
claim_dealloc(PyObject *op)
{
    CPIKA_GATE;
    PyTypeObject *type = Py_TYPE(op);
    end_claim((Claim *)op);
    type->tp_free(op);
    Py_DECREF(type);
}

PyDoc_STRVAR(enter_doc, "__enter__($self, /)\n--\n\nReturns the claim, which stands already.");
PyDoc_STRVAR(exit_doc, "__exit__($self, exc_type, value, traceback, /)\n--\n\n"
                       "End the claim: the channel's events are for any dispatching call.");

static PyMethodDef claim_methods[] = {
    {"__enter__", claim_enter, METH_NOARGS, enter_doc},
    {"__exit__", claim_exit, METH_VARARGS, exit_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(claim_doc, "Claim(channel, sink=None, asks=None)\n--\n\n"
                        "The context manager of a call that dispatches a channel by several calls of _process: as long\n"
                        "as it stands, others leave the channel's events alone also between two of them.  With asks\n"
                        "they need not, and a _process without a channel that its user calls inside takes up channel,\n"
                        "sink and asks.");

static PyType_Slot claim_slots[] = {
    {Py_tp_doc, (void *)claim_doc},
    {Py_tp_new, claim_new},
    {Py_tp_dealloc, claim_dealloc},
    {Py_tp_methods, claim_methods},
    {0, NULL},
};

static PyType_Spec claim_spec = {
    .name = "cpika._core.Claim",
    .basicsize = sizeof(Claim),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = claim_slots,
};

int
cpika_claim_exec(PyObject *module)
{
    return cpika_add_type(module, &claim_spec);
}
