/* offer.c - see offer.h.
 * Layer: core.  Owns: nothing.  Threads: with the GIL.  Errors: see offer.h. */
#include "compat.h"  // Python.h before any other header

#include "offer.h"
#include "wire/clock.h"

enum { LOOK_NS = 5 * CPIKA_NS_PER_MS };

/* sys.getswitchinterval(), of which the C interface knows nothing. */
static uint64_t
switch_interval_ns(void)
{
    PyObject *get = PySys_GetObject("getswitchinterval");  // borrowed
    PyObject *seconds = get == NULL ? NULL : PyObject_CallNoArgs(get);
    double value = seconds == NULL ? -1 : PyFloat_AsDouble(seconds);
    Py_XDECREF(seconds);
    PyErr_Clear();
    return value >= 0 && value < 1e6 ? (uint64_t)(value * (double)CPIKA_NS_PER_S) : LOOK_NS;
}

int
cpika_offer_gil(cpika_offer *offer)
{
    uint64_t now = cpika_now_ns();
    if (now - offer->looked_ns < LOOK_NS) {
        return 0;
    }
    offer->looked_ns = now;
    if (now >= offer->due_ns) {
        // Whoever wants the GIL asks for it when nobody gave it away for one interval, and then gets it here.  Given
        // and taken back more often than that, it would begin to wait anew each time, and might never get it.
        Py_BEGIN_ALLOW_THREADS Py_END_ALLOW_THREADS offer->due_ns = cpika_now_ns() + 2 * switch_interval_ns();
    }
    return PyErr_CheckSignals();
}
