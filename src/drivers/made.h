/* made.h - from the bytes of a message to the objects that users get.
 * Layer: drivers.
 * Owns: nothing.  Threads: with the GIL.  Making objects may run user code (a finalizer that the collector runs, an
 *       __init__ that a tracer has replaced), so the bytes are counted or pinned by the caller.
 * Errors: -1 or NULL with an exception. */
#ifndef CPIKA_DRIVERS_MADE_H
#define CPIKA_DRIVERS_MADE_H

#include "objects.h"

#include "engine/frames.h"
#include "wire/hot.h"

typedef struct {
    PyObject *method;  // all owned
    PyObject *properties;
    PyObject *body;
    PyObject *tag;  // of the consumer of a Deliver; else NULL
} cpika_made;

CPIKA_HOT void
cpika_made_clear(cpika_made *made)
{
    cpika_made old = *made;
    *made = (cpika_made){0};
    Py_XDECREF(old.tag);
    Py_XDECREF(old.method);
    Py_XDECREF(old.properties);
    Py_XDECREF(old.body);
}

/* A delivery that stands in the input.  Its method's fields are split here: a malformed one ends the connection (1: it
 * has, nothing was made). */
int cpika_make_raw(CpikaConnection *conn, const cpika_raw_delivery *raw, cpika_made *made);

/* A Deliver, GetOk or Return with its content. */
int cpika_make_message(CpikaConnection *conn, const cpika_message *message, cpika_made *made);

/* New method object. */
PyObject *cpika_make_method(CpikaConnection *conn, const cpika_message *message);

#endif
