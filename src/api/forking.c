/* forking.c - see forking.h.
 * Layer: api.  Owns: nothing.  Threads: with the GIL.  Errors: see forking.h. */
#include "forking.h"

#include "values/gate.h"
#include "values/gil.h"
#include "wire/keeper.h"

PyDoc_STRVAR(pause_keeper_doc, "pause_keeper($module, /)\n--\n\n"
                               "Ends the core's background thread until resume_keeper(), for a fork: CPython counts threads and\n"
                               "warns of any.");

static PyObject *
pause_keeper(PyObject *module, PyObject *ignored)
{
    CPIKA_GATE;
    (void)module;
    (void)ignored;
    CPIKA_BEGIN_ALLOW_THREADS cpika_keeper_pause();
    CPIKA_END_ALLOW_THREADS Py_RETURN_NONE;
}

PyDoc_STRVAR(resume_keeper_doc, "resume_keeper($module, /)\n--\n\nHas the background thread go on.");

static PyObject *
resume_keeper(PyObject *module, PyObject *ignored)
{
    CPIKA_GATE;
    (void)module;
    (void)ignored;
    CPIKA_BEGIN_ALLOW_THREADS cpika_keeper_resume();
    CPIKA_END_ALLOW_THREADS Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"pause_keeper", pause_keeper, METH_NOARGS, pause_keeper_doc},
    {"resume_keeper", resume_keeper, METH_NOARGS, resume_keeper_doc},
    {NULL, NULL, 0, NULL},
};

int
cpika_forking_exec(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
