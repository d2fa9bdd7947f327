/* gate.h - one thread at a time in the C core.
 * Layer: values.
 * Owns: in an interpreter without the GIL, one lock of the process.
 * Threads: each function that Python calls takes it first.
 * Errors: none.
 *
 * Where there is a GIL, it is the gate, and nothing here costs anything.  In a free-threaded interpreter the gate is a
 * critical section: CPython gives it away wherever it would give away the GIL, and takes it back as it would take that
 * back, so that no thread waits for it while another one waits for that thread.  What CPython does not give it away
 * for is Python code that runs without a wait: callbacks of the program run outside of it (cpika_gate_leave). */
#ifndef CPIKA_VALUES_GATE_H
#define CPIKA_VALUES_GATE_H

#include "compat.h"

#include <structmember.h>

/* Critical sections of a mutex are there from 3.14 on; before, the module has the GIL enabled. */
#if defined(Py_GIL_DISABLED) && PY_VERSION_HEX >= 0x030E0000
#    define CPIKA_FREE_THREADED 1

extern PyMutex cpika_gate_mutex;

typedef PyCriticalSection cpika_gate_section;

static inline void
cpika_gate_end(cpika_gate_section *section)
{
    PyCriticalSection_End(section);
}

/* First in a function that Python calls: its other lines are inside the gate, and so is what it calls. */
#    define CPIKA_GATE                                                            \
        __attribute__((cleanup(cpika_gate_end))) cpika_gate_section gate_section; \
        PyCriticalSection_BeginMutex(&gate_section, &cpika_gate_mutex)

/* Around code of the program that may run for long: out of the gate, and in again.  NULL: it was not inside. */
cpika_gate_section *cpika_gate_leave(void);
void cpika_gate_return(cpika_gate_section *section);

#else
#    define CPIKA_FREE_THREADED 0
#    define CPIKA_GATE ((void)0)

typedef void cpika_gate_section;

static inline cpika_gate_section *
cpika_gate_leave(void)
{
    return NULL;
}

static inline void
cpika_gate_return(const cpika_gate_section *Py_UNUSED(section))
{
}
#endif

/* ---- fields of an object as its attributes ---- */

/* The last of an entry in a table of getters and setters whose others are these two: a PyMemberDef is read and written
 * without the gate. */
#define CPIKA_FIELD(name, type, offset) ((void *)&(const PyMemberDef){name, type, offset, 0, NULL})

PyObject *cpika_field_get(PyObject *self, void *field);
int cpika_field_set(PyObject *self, PyObject *value, void *field);

#endif
