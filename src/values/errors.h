/* errors.h - how the core raises.
 * Layer: values.  Owns: nothing.  Threads: with the GIL.
 * Errors: every function here sets an exception, except where it says otherwise. */
#ifndef CPIKA_VALUES_ERRORS_H
#define CPIKA_VALUES_ERRORS_H

#include "state.h"

int cpika_errors_exec(cpika_state *st);

/* Raises pika's exception with one formatted argument.  Always NULL. */
PyObject *cpika_raise(cpika_state *st, cpika_exc which, const char *format, ...);

/* New exception instance with one formatted argument, not raised; NULL with an exception. */
PyObject *cpika_exc_new(cpika_state *st, cpika_exc which, const char *format, ...);

/* New instance of a class that takes (reply_code, reply_text). */
PyObject *cpika_exc_reply(cpika_state *st, cpika_exc which, int reply_code, PyObject *reply_text);

/* New StreamLostError that says what the socket said: pika's text for an OSError with this errno. */
PyObject *cpika_exc_stream_lost(cpika_state *st, int sys_errno);

/* Raises an exception like this one, which stays as it is: kept errors are raised to whoever asks.  Always -1. */
int cpika_raise_again(PyObject *error);

/* The pending exception has come while the given one, as PyErr_Fetch gave it, was on its way: that becomes its context.  The
 * references are taken. */
void cpika_put_behind(PyObject *type, PyObject *error, PyObject *traceback);

/* The given exception, or none (NULL), as PyErr_Fetch gave it, is on its way again: behind the pending one, if there is one.
 * The references are taken. */
void cpika_restore_behind(PyObject *type, PyObject *error, PyObject *traceback);

/* The given exception, or none (NULL), is the one that counts, as PyErr_Fetch gave it: a pending one that is an Exception is
 * dropped, any other - an interrupt - goes before it.  The references are taken. */
void cpika_drop_for(PyObject *type, PyObject *error, PyObject *traceback);

#endif
