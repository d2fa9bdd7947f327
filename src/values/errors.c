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

/* AMQP 0-9-1 reply codes. */
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

static PyObject *
exc_from_va(cpika_state *st, cpika_exc which, const char *format, va_list va)
{
    PyObject *text = PyUnicode_FromFormatV(format, va);
    if (text == NULL) {
        return NULL;
    }
    PyObject *exc = PyObject_CallOneArg(st->exceptions[which], text);
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
    return PyObject_CallFunction(st->exceptions[which], "iO", reply_code, reply_text);
}

PyObject *
cpika_exc_stream_lost(cpika_state *st, int sys_errno)
{
    PyObject *error = NULL;
    PyObject *exc = NULL;

    error = PyObject_CallFunction(PyExc_OSError, "is", sys_errno, strerror(sys_errno));
    if (error == NULL) {
        goto done;
    }
    exc = cpika_exc_new(st, CPIKA_EXC_StreamLostError, "Stream connection lost: %R", error);

done:
    Py_XDECREF(error);
    return exc;
}

int
cpika_raise_again(PyObject *error)
{
    // A fresh instance: the traceback of the one that is kept would hold the frames that hold the connection.
    PyObject *args = PyObject_GetAttrString(error, "args");
    PyObject *fresh = args == NULL ? NULL : PyObject_Call((PyObject *)Py_TYPE(error), args, NULL);
    Py_XDECREF(args);
    if (fresh == NULL) {
        PyErr_Clear();
        fresh = Py_NewRef(error);
    } else {
        PyException_SetCause(fresh, PyException_GetCause(error));
    }
    PyErr_SetObject((PyObject *)Py_TYPE(fresh), fresh);
    Py_DECREF(fresh);
    return -1;
}
