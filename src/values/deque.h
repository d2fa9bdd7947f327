/* deque.h - collections.deque, of which CPython has no interface in C.
 * Layer: values.
 * Owns: nothing; the methods are the state's.  Threads: with the GIL.
 * Errors: NULL with an exception. */
#ifndef CPIKA_VALUES_DEQUE_H
#define CPIKA_VALUES_DEQUE_H

#include "state.h"

int cpika_deque_exec(cpika_state *st);

/* Whether it is a deque itself, which takes something in one step or not at all. */
bool cpika_is_deque(const cpika_state *st, PyObject *events);

/* events.append(item) and events.popleft(), of a deque or of whatever stands in its place: new references.  To look the
 * method up by name costs more than what it does. */
PyObject *cpika_deque_append(const cpika_state *st, PyObject *events, PyObject *item);
PyObject *cpika_deque_popleft(const cpika_state *st, PyObject *events);

#endif
