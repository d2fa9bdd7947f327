/* module.c - cpika._core: multi-phase initialisation, nothing else.
 * Layer: module, above all others.
 * Owns: the module state.  Threads: the import lock and the GIL.
 * Errors: the import fails with the exception of the part that failed. */
#include "api/buffered.h"
#include "api/channel.h"
#include "api/claim.h"
#include "api/connection.h"
#include "api/forking.h"
#include "api/loop_channel.h"
#include "drivers/asked.h"
#include "drivers/replaced.h"
#include "drivers/sleep.h"
#include "values/compat.h"
#include "values/consumer.h"
#include "values/deque.h"
#include "values/errors.h"
#include "values/gate.h"
#include "values/hot_method.h"
#include "values/setup.h"
#include "values/within.h"
#include "wire/debug.h"
#include "wire/method.h"

#ifdef CPIKA_DEBUG
static bool
has_the_gil(void)
{
#    if PY_VERSION_HEX >= 0x030D0000
    return PyThreadState_GetUnchecked() != NULL;
#    elif PY_VERSION_HEX >= 0x030C0000
    return _PyThreadState_UncheckedGet() != NULL;
#    else
    // PyGILState_Check() asks just that, until there has been a second interpreter: then it always says yes.
    const PyThreadState *holder = _PyThreadState_UncheckedGet();
    return holder != NULL && holder == PyGILState_GetThisThreadState();
#    endif
}

/* Whoever waits while it holds the GIL holds up the program, or waits for whom it holds up. */
static void
abort_with_the_gil(void)
{
    if (!Py_IsFinalizing() && has_the_gil()) {  // which is kept then, where it has to be (values/gil.h)
        Py_FatalError("cpika waits, and holds the GIL");
    }
}
#endif

static int
intern_names(cpika_state *st)
{
#define CPIKA_NAME_INTERN(name)                                         \
    if ((st->names.name = PyUnicode_InternFromString(#name)) == NULL) { \
        return -1;                                                      \
    }
    CPIKA_NAMES(CPIKA_NAME_INTERN)
#undef CPIKA_NAME_INTERN
    st->names.basic_ack_name = PyUnicode_InternFromString("Basic.Ack");
    st->names.basic_nack_name = PyUnicode_InternFromString("Basic.Nack");
    if (st->names.basic_ack_name == NULL || st->names.basic_nack_name == NULL) {
        return -1;
    }
    st->empty_bytes = PyBytes_FromStringAndSize(NULL, 0);
    return st->empty_bytes == NULL ? -1 : 0;
}

/* Methods that an older rabbitmq-c does not know would be refused one by one, as if the peer had sent nonsense. */
static int
check_codec(void)
{
    cpika_codec_versions v = cpika_codec_versions_here();
    if (v.library >= v.headers) {
        return 0;
    }
    PyErr_Format(
        PyExc_ImportError,
        "cpika was built with the headers of rabbitmq-c %u.%u, but the library that is loaded is %u.%u: "
        "it has to be that version or newer",
        v.headers >> 8, v.headers & 0xFF, v.library >> 8, v.library & 0xFF);
    return -1;
}

static int
core_exec(PyObject *module)
{
#ifdef CPIKA_DEBUG
    cpika_debug_wait_hook = abort_with_the_gil;
#endif
    cpika_state *st = PyModule_GetState(module);
    st->signals.rd = st->signals.wr = -1;
    st->modules_seen = -1;
    st->modules = Py_NewRef(PyImport_GetModuleDict());
    if (check_codec() < 0 || cpika_errors_exec(st) < 0 || intern_names(st) < 0 || cpika_deque_exec(st) < 0
        || cpika_values_exec(module, &st->values) < 0 || cpika_consumer_exec(module, st) < 0
        || cpika_asked_exec(module, st) < 0 || cpika_connection_exec(module, st) < 0
        || cpika_channel_exec(module, st) < 0 || cpika_loop_channel_exec(module, st) < 0
        || cpika_buffered_exec(module, st) < 0 || cpika_claim_exec(module) < 0
        || cpika_within_exec(module) < 0 || cpika_forking_exec(module) < 0
        || cpika_hot_method_exec(module) < 0 || cpika_watch_exec() < 0) {
        return -1;
    }
    return 0;
}

static int
core_traverse(PyObject *module, visitproc visit, void *arg)
{
    cpika_state *st = PyModule_GetState(module);
    for (int i = 0; i < CPIKA_EXC_COUNT; i++) {
        Py_VISIT(st->exceptions[i]);
    }
    Py_VISIT(st->connection_type);
    Py_VISIT(st->channel_type);
    Py_VISIT(st->loop_channel_type);
    Py_VISIT(st->method_frame);
    Py_VISIT(st->header_frame);
    Py_VISIT(st->consumer_info_type);
    Py_VISIT(st->delivery_evt_type);
    Py_VISIT(st->wish_type);
    Py_VISIT(st->want_read);
    Py_VISIT(st->want_write);
    Py_VISIT(st->ssl_socket);
    Py_VISIT(st->greenlet_getcurrent);
    Py_VISIT(st->modules);
    Py_VISIT(st->deque_type);
    Py_VISIT(st->deque_append);
    Py_VISIT(st->deque_popleft);
    return cpika_values_traverse(&st->values, visit, arg);
}

static int
core_clear(PyObject *module)
{
    cpika_state *st = PyModule_GetState(module);
    for (int i = 0; i < CPIKA_EXC_COUNT; i++) {
        Py_CLEAR(st->exceptions[i]);
    }
    Py_CLEAR(st->connection_type);
    Py_CLEAR(st->channel_type);
    Py_CLEAR(st->loop_channel_type);
    Py_CLEAR(st->method_frame);
    Py_CLEAR(st->header_frame);
    Py_CLEAR(st->names.basic_ack_name);
    Py_CLEAR(st->names.basic_nack_name);
    Py_CLEAR(st->consumer_info_type);
    Py_CLEAR(st->delivery_evt_type);
    Py_CLEAR(st->wish_type);
    Py_CLEAR(st->want_read);
    Py_CLEAR(st->want_write);
    Py_CLEAR(st->ssl_socket);
    Py_CLEAR(st->greenlet_getcurrent);
    Py_CLEAR(st->modules);
    Py_CLEAR(st->deque_type);
    Py_CLEAR(st->deque_append);
    Py_CLEAR(st->deque_popleft);
    Py_CLEAR(st->empty_bytes);
#define CPIKA_NAME_CLEAR(name) Py_CLEAR(st->names.name);
    CPIKA_NAMES(CPIKA_NAME_CLEAR)
#undef CPIKA_NAME_CLEAR
    cpika_values_clear(&st->values);
    return 0;
}

static void
core_free(void *module)
{
    core_clear(module);
    cpika_sleep_free_state(PyModule_GetState(module));
}

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters,
     Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},  // what they share is C's: the keeper's
#endif
#if CPIKA_FREE_THREADED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},  // the gate is there instead
#endif
    {0, NULL},
};

static PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = CPIKA_MODULE_NAME,
    .m_doc = "The C core of cpika: protocol values, and the engine of a connection.",
    .m_size = sizeof(cpika_state),
    .m_slots = core_slots,
    .m_traverse = core_traverse,
    .m_clear = core_clear,
    .m_free = core_free,
};

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
