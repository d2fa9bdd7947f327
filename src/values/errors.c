/* errors.c - how the core raises: pika's classes, and the one place where wire statuses become exceptions.
 * Layer: values.  Owns: the references to the exception classes in the module state.  Threads: with the GIL.
 * Errors: functions return NULL or -1 with an exception set. */
#include "errors.h"

#include <string.h>

#include "wire/status.h"

static const char *const exception_names[CPIKA_EXC_COUNT] = {
#define CPIKA_EXC_NAME(name) #name,
    CPIKA_EXCEPTIONS(CPIKA_EXC_NAME)
#undef CPIKA_EXC_NAME
};

/* AMQP 0-9-1 reply codes. */
enum {
    REPLY_FRAME_ERROR = 501,
    REPLY_SYNTAX_ERROR = 502,
    REPLY_COMMAND_INVALID = 503,
    REPLY_INTERNAL_ERROR = 541,
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

PyObject *
cpika_exc_violation(cpika_state *st, int status, long detail, int *reply_code)
{
    switch (status) {
    case CPIKA_E_FRAME_END:
        *reply_code = REPLY_FRAME_ERROR;
        return cpika_exc_new(st, CPIKA_EXC_InvalidFrameError, "Invalid FRAME_END marker");
    case CPIKA_E_FRAME_TYPE:
        *reply_code = REPLY_FRAME_ERROR;
        return cpika_exc_new(st, CPIKA_EXC_InvalidFrameError, "Unknown frame type: %ld", detail);
    case CPIKA_E_FRAME_SIZE:
        *reply_code = REPLY_FRAME_ERROR;
        return cpika_exc_new(st, CPIKA_EXC_InvalidFrameError,
                             "Frame of %ld bytes is outside of the negotiated size", detail);
    case CPIKA_E_METHOD_ID:
        *reply_code = REPLY_COMMAND_INVALID;
        return cpika_exc_new(st, CPIKA_EXC_InvalidFrameError, "Unknown method: class %ld, method %ld",
                             detail >> 16, detail & 0xffff);
    case CPIKA_E_FIELD_KIND:
        *reply_code = REPLY_SYNTAX_ERROR;
        return cpika_exc_new(st, CPIKA_EXC_InvalidFieldTypeException, "in a table of %ld bytes", detail);
    case CPIKA_E_DEPTH:
        *reply_code = REPLY_SYNTAX_ERROR;
        return cpika_exc_new(st, CPIKA_EXC_InvalidFrameError, "Table nested too deep in a frame of %ld bytes",
                             detail);
    case CPIKA_E_TRUNCATED:
    case CPIKA_E_TRAILING:
    case CPIKA_E_SHORTSTR:
    case CPIKA_E_CODEC:
        *reply_code = REPLY_SYNTAX_ERROR;
        return cpika_exc_new(st, CPIKA_EXC_InvalidFrameError, "Malformed fields in a frame of %ld bytes",
                             detail);
    case CPIKA_E_PROTOCOL:
        *reply_code = 0;  // the peer speaks another protocol: there is no reply that it would read
        return cpika_exc_new(st, CPIKA_EXC_StreamLostError,
                             "The peer answered with a protocol header of its own");
    case CPIKA_E_NOMEM:
        *reply_code = REPLY_INTERNAL_ERROR;
        return PyObject_CallNoArgs(PyExc_MemoryError);
    default:
        *reply_code = REPLY_INTERNAL_ERROR;
        return cpika_exc_new(st, CPIKA_EXC_ProtocolSyntaxError, "status %d (%ld)", status, detail);
    }
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
