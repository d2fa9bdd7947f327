/* replaced.c - see replaced.h.
 * Layer: drivers.  Owns: see replaced.h.  Threads: see replaced.h.  Errors: see replaced.h. */
#include "replaced.h"

#include "values/compat.h"  // Python.h before any other header

#include <string.h>

#include "values/gil.h"
#include "wire/keeper.h"

#if PY_VERSION_HEX >= 0x030B0000
/* Those over Python sockets have a keeper of their own, in Python. */
static void
send_of_python_sockets(void)
{
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *module = Py_XNewRef(PyDict_GetItemString(modules, "cpika.adapters._pykeeper"));
    if (module == NULL) {
        return;
    }
    PyObject *done = PyObject_CallMethod(module, "send_held", NULL);
    if (done == NULL) {
        PyErr_Clear();  // the program goes on to its exec
    }
    Py_XDECREF(done);
    Py_DECREF(module);
}

static int
on_audit(const char *event, PyObject *args, void *data)
{
    (void)args;
    (void)data;
    if (strcmp(event, "os.exec") == 0) {
        CPIKA_BEGIN_ALLOW_THREADS cpika_keeper_send_held();
        CPIKA_END_ALLOW_THREADS send_of_python_sockets();
    }
    return 0;
}

int
cpika_watch_exec(void)
{
    return cpika_keeper_first_to_ask() ? PySys_AddAuditHook(on_audit, NULL) : 0;
}
#else
/* Where there is an audit hook, sys._getframe() of CPython 3.9 and 3.10 crashes when C code asks for it without a Python
 * frame around, as uwsgi's gevent loop does. */
int
cpika_watch_exec(void)
{
    return 0;
}
#endif
