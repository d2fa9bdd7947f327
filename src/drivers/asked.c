/* asked.c - see asked.h.
 * Layer: drivers.  Owns: see asked.h.  Threads: see asked.h.  Errors: see asked.h. */
#include "asked.h"

#include "engine/engine.h"
#include "values/errors.h"
#include "values/gate.h"

/* What a loop is given to call. */
typedef struct {
    PyObject_HEAD
    CpikaConnection *conn;  // owned; NULL: it was called
    bool kept;              // the loop has it, or had it
} wish;

/* ---- asking ---- */

/* soon(made).  0 or -1. */
static int
offer(PyObject *soon, PyObject *made)
{
    cpika_gate_section *gate = cpika_gate_leave();
    PyObject *done = PyObject_CallOneArg(soon, made);
    cpika_gate_return(gate);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Once more where a signal handler has raised in it: it is Python code.  Called twice, a wish does nothing the second time.
 * `*kept`: whether one of the two went well. */
static int
offer_surely(PyObject *soon, PyObject *made, bool *kept)
{
    *kept = true;
    if (offer(soon, made) == 0) {
        return 0;
    }
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    *kept = offer(soon, made) == 0;
    if (*kept || PyErr_ExceptionMatches(type)) {  // the same again: the loop is closed, for example
        PyErr_Clear();
    }
    cpika_restore_behind(type, error, traceback);
    return -1;
}

static int
ask(CpikaConnection *conn)
{
    if (conn->st->wish_type == NULL) {  // the module is being torn down
        return 0;
    }
    wish *made = PyObject_GC_New(wish, conn->st->wish_type);
    if (made == NULL) {
        return -1;
    }
    made->conn = (CpikaConnection *)Py_NewRef((PyObject *)conn);
    made->kept = false;
    PyObject_GC_Track((PyObject *)made);
    conn->loop.asked = (PyObject *)made;
    PyObject *soon = Py_NewRef(conn->loop.soon);
    bool kept;
    int rc = offer_surely(soon, (PyObject *)made, &kept);
    Py_DECREF(soon);
    made->kept = kept && Py_REFCNT(made) > 1;
    Py_DECREF(made);
    return rc;
}

int
cpika_ask(CpikaConnection *conn)
{
    cpika_loop *loop = &conn->loop;
    if (loop->asked != NULL || loop->inside > 0 || loop->soon == NULL) {
        return 0;
    }
    loop->repeated = false;
    return ask(conn);
}

int
cpika_ask_again(CpikaConnection *conn)
{
    cpika_loop *loop = &conn->loop;
    if (loop->inside > 0 || loop->soon == NULL
        || (loop->asked != NULL && loop->asked_again_at == loop->reads)) {
        return 0;
    }
    loop->asked_again_at = loop->reads;
    loop->repeated = false;
    return ask(conn);
}

/* The wish was not fulfilled: another one takes its place, once.  A loop that is emptied is not filled up again and again. */
static void
repeat(CpikaConnection *conn, PyObject *op)
{
    cpika_loop *loop = &conn->loop;
    if (loop->repeated || loop->inside > 0 || loop->soon == NULL || cpika_engine_ended(&conn->engine)
        || conn->io.closed || cpika_transport_forked(&conn->io) || Py_IsFinalizing()) {
        return;
    }
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    loop->repeated = true;
    if (ask(conn) < 0) {
        if (PyErr_ExceptionMatches(PyExc_RuntimeError)) {
            PyErr_Clear();  // the loop is closed
        } else {
            PyErr_WriteUnraisable(op);  // a signal handler's, which has nowhere to go
        }
    }
    PyErr_Restore(type, error, traceback);
}

/* ---- the callback ---- */

static PyObject *
wish_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    CPIKA_GATE;
    (void)args;
    (void)kwargs;
    CpikaConnection *conn = ((wish *)op)->conn;
    if (conn == NULL) {
        Py_RETURN_NONE;
    }
    ((wish *)op)->conn = NULL;
    PyObject *flush = Py_XNewRef(conn->loop.flush);
    cpika_gate_section *gate = cpika_gate_leave();
    PyObject *done = flush == NULL ? Py_NewRef(Py_None) : PyObject_CallNoArgs(flush);
    cpika_gate_return(gate);
    Py_XDECREF(flush);
    if (conn->loop.asked == op) {  // nothing was taken: a handler has raised before
        conn->loop.asked = NULL;
        if (done == NULL) {
            repeat(conn, op);
        }
    }
    Py_DECREF(conn);
    return done;
}

/* It was let go of and not called.  A finalizer: what the collector has found, the loop among it, is whole yet. */
static void
wish_finalize(PyObject *op)
{
    CPIKA_GATE;
    CpikaConnection *conn = ((wish *)op)->conn;
    if (conn != NULL && conn->loop.asked == op) {
        conn->loop.asked = NULL;
        if (((wish *)op)->kept) {
            repeat(conn, (PyObject *)Py_TYPE(op));
        }
    }
}

/* No tp_clear, which would forget the wish: what holds it in a circle, a loop's queue or an exception's frame, has one. */
static int
wish_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT((PyObject *)((wish *)op)->conn);
    return 0;
}

static void
wish_dealloc(PyObject *op)
{
    CPIKA_GATE;
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        return;
    }
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    Py_XDECREF(((wish *)op)->conn);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyType_Slot wish_slots[] = {
    {Py_tp_call, wish_call},
    {Py_tp_traverse, wish_traverse},
    {Py_tp_finalize, wish_finalize},
    {Py_tp_dealloc, wish_dealloc},
    {0, NULL},
};

static PyType_Spec wish_spec = {
    .name = "cpika._core._Wish",
    .basicsize = sizeof(wish),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = wish_slots,
};

int
cpika_asked_exec(PyObject *module, cpika_state *st)
{
    st->wish_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &wish_spec, NULL);
    return st->wish_type == NULL ? -1 : 0;
}
