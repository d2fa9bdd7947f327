/* asked.c - see asked.h.
 * Layer: drivers.  Owns: see asked.h.  Threads: see asked.h.  Errors: see asked.h. */
#include "asked.h"

#include "engine/engine.h"
#include "values/gate.h"

/* What a loop is given to call. */
typedef struct {
    PyObject_HEAD
    CpikaConnection *conn;  // owned; NULL: it was called
} wish;

/* ---- asking ---- */

/* soon(made), once more where a signal handler has raised in it: it is Python code.  Called twice, the second does nothing. */
static int
call_soon(CpikaConnection *conn, PyObject *made)
{
    PyObject *soon = Py_NewRef(conn->loop.soon);
    PyObject *done = PyObject_CallOneArg(soon, made);
    bool asked = done != NULL;
    if (!asked) {
        PyObject *type, *error, *traceback;
        PyErr_Fetch(&type, &error, &traceback);
        PyObject *again = PyObject_CallOneArg(soon, made);
        asked = again != NULL;
        Py_XDECREF(again);
        PyErr_Clear();
        PyErr_Restore(type, error, traceback);
    }
    int rc = done == NULL ? -1 : 0;
    Py_XDECREF(done);
    Py_DECREF(soon);
    if (!asked && conn->loop.asked == made) {
        conn->loop.asked = NULL;
    }
    return rc;
}

static int
ask(CpikaConnection *conn)
{
    wish *made = PyObject_GC_New(wish, conn->st->wish_type);
    if (made == NULL) {
        return -1;
    }
    made->conn = (CpikaConnection *)Py_NewRef((PyObject *)conn);
    PyObject_GC_Track((PyObject *)made);
    conn->loop.asked = (PyObject *)made;
    conn->loop.asking++;
    int rc = call_soon(conn, (PyObject *)made);
    Py_DECREF(made);
    conn->loop.asking--;
    return rc;
}

int
cpika_ask(CpikaConnection *conn)
{
    const cpika_loop *loop = &conn->loop;
    return loop->asked != NULL || loop->inside > 0 || loop->soon == NULL ? 0 : ask(conn);
}

int
cpika_ask_again(CpikaConnection *conn)
{
    return conn->loop.inside > 0 || conn->loop.soon == NULL ? 0 : ask(conn);
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
    if (conn->loop.asked == op) {
        conn->loop.asked = NULL;
    }
    PyObject *flush = Py_XNewRef(conn->loop.flush);
    PyObject *done = flush == NULL ? Py_NewRef(Py_None) : PyObject_CallNoArgs(flush);
    Py_XDECREF(flush);
    Py_DECREF(conn);
    return done;
}

static int
wish_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT((PyObject *)((wish *)op)->conn);
    return 0;
}

static int
wish_clear(PyObject *op)
{
    CPIKA_GATE;
    CpikaConnection *conn = ((wish *)op)->conn;
    ((wish *)op)->conn = NULL;
    if (conn != NULL && conn->loop.asked == op) {
        conn->loop.asked = NULL;
    }
    Py_XDECREF(conn);
    return 0;
}

/* Nobody is going to call it: another takes its place, unless the loop has dropped it at once. */
static void
repeat(CpikaConnection *conn)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    if (conn->loop.asking == 0 && !cpika_engine_ended(&conn->engine) && !conn->io.closed
        && !cpika_transport_forked(&conn->io) && cpika_ask(conn) < 0) {
        PyErr_Clear();  // the loop is closed, for example
    }
    PyErr_Restore(type, error, traceback);
}

static void
wish_dealloc(PyObject *op)
{
    CPIKA_GATE;
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    CpikaConnection *conn = ((wish *)op)->conn;
    ((wish *)op)->conn = NULL;
    if (conn != NULL && conn->loop.asked == op) {
        conn->loop.asked = NULL;
        repeat(conn);
    }
    Py_XDECREF(conn);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyType_Slot wish_slots[] = {
    {Py_tp_call, wish_call},
    {Py_tp_traverse, wish_traverse},
    {Py_tp_clear, wish_clear},
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
