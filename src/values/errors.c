/* errors.c - how the core raises: pika's classes, made and raised.
 * Layer: values.  Owns: the references to the exception classes in the module state.  Threads: with the GIL.
 * Errors: functions return NULL or -1 with an exception set. */
#include "errors.h"

#include <string.h>

static const char *const exception_names[CPIKA_EXC_COUNT] = {
#define CPIKA_EXC_NAME(name) #name,
    CPIKA_EXCEPTIONS(CPIKA_EXC_NAME)
#undef CPIKA_EXC_NAME
};

int
cpika_errors_exec(cpika_state *st)
{
    PyObject *module = PyImport_ImportModule("cpika.exceptions");
    if (module == NULL) {
        return -1;
    }
    int rc = 0;
    for (int i = 0; i < CPIKA_EXC_COUNT && rc == 0; i++) {
        st->exceptions[i] = PyObject_GetAttrString(module, exception_names[i]);
        rc = st->exceptions[i] == NULL ? -1 : 0;
    }
    Py_DECREF(module);
    return rc;
}

/* An instance without its __init__: no Python code runs, so no signal handler takes its place. */
static PyObject *
bare(PyTypeObject *type, PyObject *args)
{
    return args == NULL ? NULL : ((PyTypeObject *)PyExc_BaseException)->tp_new(type, args, NULL);
}

static PyObject *
exc_from_va(cpika_state *st, cpika_exc which, const char *format, va_list va)
{
    PyObject *text = PyUnicode_FromFormatV(format, va);
    if (text == NULL) {
        return NULL;
    }
    PyObject *args = PyTuple_Pack(1, text);
    PyObject *exc = bare((PyTypeObject *)st->exceptions[which], args);
    Py_XDECREF(args);
    Py_DECREF(text);
    return exc;
}

PyObject *
cpika_exc_new(cpika_state *st, cpika_exc which, const char *format, ...)
{
    va_list va;
    va_start(va, format);
    PyObject *exc = exc_from_va(st, which, format, va);
    va_end(va);
    return exc;
}

PyObject *
cpika_raise(cpika_state *st, cpika_exc which, const char *format, ...)
{
    va_list va;
    va_start(va, format);
    PyObject *exc = exc_from_va(st, which, format, va);
    va_end(va);
    if (exc != NULL) {
        PyErr_SetObject(st->exceptions[which], exc);
        Py_DECREF(exc);
    }
    return NULL;
}

PyObject *
cpika_exc_reply(cpika_state *st, cpika_exc which, int reply_code, PyObject *reply_text)
{
    PyObject *args = Py_BuildValue("(iO)", reply_code, reply_text);
    PyObject *exc = bare((PyTypeObject *)st->exceptions[which], args);
    Py_XDECREF(args);
    return exc;
}

PyObject *
cpika_exc_stream_lost(cpika_state *st, int sys_errno)
{
    PyObject *error = NULL;
    PyObject *exc = NULL;

    PyObject *text = PyUnicode_DecodeLocale(strerror(sys_errno), "surrogateescape");

    error = text == NULL ? NULL : PyObject_CallFunction(PyExc_OSError, "iO", sys_errno, text);
    Py_XDECREF(text);
    if (error == NULL) {
        goto done;
    }
    exc = cpika_exc_new(st, CPIKA_EXC_StreamLostError, "Stream connection lost: %R", error);

done:
    Py_XDECREF(error);
    return exc;
}

/* Another instance with the same arguments, and the same attributes; of a class with a constructor in C, what that
 * makes of the arguments. */
static PyObject *
another(PyObject *error)
{
    PyTypeObject *type = Py_TYPE(error);
    PyObject *args = PyObject_GetAttrString(error, "args");
    PyObject *fresh = NULL;
    if (args != NULL && type->tp_new != ((PyTypeObject *)PyExc_BaseException)->tp_new) {
        fresh = PyObject_Call((PyObject *)type, args, NULL);
    } else if (args != NULL && (fresh = bare(type, args)) != NULL) {
        PyObject *theirs = PyObject_GenericGetDict(error, NULL);
        PyObject *ours = theirs == NULL ? NULL : PyObject_GenericGetDict(fresh, NULL);
        if (ours == NULL || PyDict_Update(ours, theirs) < 0) {
            Py_CLEAR(fresh);
        }
        Py_XDECREF(ours);
        Py_XDECREF(theirs);
    }
    Py_XDECREF(args);
    if (fresh != NULL && !PyExceptionInstance_Check(fresh)) {  // its class has a __new__ of its own
        Py_CLEAR(fresh);
    }
    return fresh;
}

int
cpika_raise_again(PyObject *error)
{
    // A fresh instance: the traceback of the one that is kept would hold the frames that hold the connection.
    PyObject *fresh = another(error);
    if (fresh == NULL) {
        cpika_drop_for(NULL, NULL, NULL);
        if (PyErr_Occurred()) {
            return -1;  // the one that is kept is told to the next who asks
        }
        fresh = Py_NewRef(error);
    } else {
        PyObject *cause = PyException_GetCause(error);
        if (cause != NULL) {  // to set one, even none, hides what the caller handles just now
            PyException_SetCause(fresh, cause);
        }
    }
    PyErr_SetObject((PyObject *)Py_TYPE(fresh), fresh);
    Py_DECREF(fresh);
    return -1;
}

void
cpika_put_behind(PyObject *type, PyObject *error, PyObject *traceback)
{
    PyObject *later_type, *later, *later_traceback;
    PyErr_Fetch(&later_type, &later, &later_traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(error, traceback);
    }
    PyErr_NormalizeException(&later_type, &later, &later_traceback);
    if (later_traceback != NULL) {
        PyException_SetTraceback(later, later_traceback);
    }
    // As an `except` that handles the one would have raised the other: CPython knows how to keep a circle out of the chain, which
    // an exception object that is raised more than once would close.
    PyObject *outer_type, *outer, *outer_traceback;
    PyErr_GetExcInfo(&outer_type, &outer, &outer_traceback);
    PyErr_SetExcInfo(type, error, traceback);
    PyErr_SetObject(later_type, later);
    PyErr_SetExcInfo(outer_type, outer, outer_traceback);
    Py_DECREF(later_type);
    Py_DECREF(later);
    Py_XDECREF(later_traceback);
}

void
cpika_restore_behind(PyObject *type, PyObject *error, PyObject *traceback)
{
    if (PyErr_Occurred() == NULL) {
        PyErr_Restore(type, error, traceback);
    } else if (type != NULL) {
        cpika_put_behind(type, error, traceback);
    }
}

void
cpika_drop_for(PyObject *type, PyObject *error, PyObject *traceback)
{
    if (PyErr_Occurred() != NULL && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear();
    }
    cpika_restore_behind(type, error, traceback);
}
