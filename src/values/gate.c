/* gate.c - see gate.h.
 * Layer: values.  Owns: the lock.  Threads: any that Python knows.  Errors: none. */
#include "gate.h"

#if CPIKA_FREE_THREADED
PyMutex cpika_gate_mutex;

/* The section that is entered last is where the thread's state says; its last bits tell of what kind and state it is. */
cpika_gate_section *
cpika_gate_leave(void)
{
    cpika_gate_section *last = (cpika_gate_section *)(PyThreadState_Get()->critical_section & ~(uintptr_t)3);
    if (last == NULL || last->_cs_mutex != &cpika_gate_mutex) {
        return NULL;
    }
    PyCriticalSection_End(last);
    return last;
}

void
cpika_gate_return(cpika_gate_section *section)
{
    if (section != NULL) {
        PyCriticalSection_BeginMutex(section, &cpika_gate_mutex);
    }
}
#endif

PyObject *
cpika_field_get(PyObject *self, void *field)
{
    CPIKA_GATE;
    return PyMember_GetOne((const char *)self, field);
}

int
cpika_field_set(PyObject *self, PyObject *value, void *field)
{
    CPIKA_GATE;
    return PyMember_SetOne((char *)self, field, value);
}
