/* claim.c - see claim.h.
 * Layer: api.  Owns: see claim.h.  Threads: see claim.h.  Errors: see claim.h. */
#include "claim.h"

#include "drivers/ended.h"
#include "values/gate.h"
#include "values/setup.h"

typedef struct {
    PyObject_HEAD
    CpikaChannel *channel;  // owned; NULL: the claim has ended
} Claim;

static void
end_claim(Claim *self)
{
    CpikaChannel *ch = self->channel;
    if (ch == NULL) {
        return;
    }
    self->channel = NULL;
    CpikaConnection *conn = ch->conn;
    cpika_roles_unclaim(&conn->roles, &ch->roles);
    if (conn->io.link != NULL && !cpika_transport_forked(&conn->io)) {
        cpika_roles_notify(&conn->roles, &conn->engine, conn->io.link);
    }
    Py_DECREF(ch);
}

static PyObject *
claim_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    CPIKA_GATE;
    static char *names[] = {"channel", NULL};
    cpika_state *st = cpika_state_of_type(type);
    CpikaChannel *channel;
    if (st == NULL
        || !PyArg_ParseTupleAndKeywords(args, kwargs, "O!:Claim", names, st->channel_type, &channel)
        || (channel->conn == NULL && cpika_check_channel(channel) < 0)) {
        return NULL;
    }
    Claim *self = (Claim *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->channel = (CpikaChannel *)Py_NewRef(channel);
        cpika_roles_claim(&channel->roles);
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

PyDoc_STRVAR(claim_doc, "Claim(channel)\n--\n\n"
                        "The context manager of a call that dispatches a channel by several calls of _process: as long\n"
                        "as it stands, others leave the channel's events alone also between two of them.");

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
