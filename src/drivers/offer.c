/* offer.c - see offer.h.
 * Layer: drivers.  Owns: nothing.  Threads: with the GIL.  Errors: see offer.h. */
#include "offer.h"

#include "values/gil.h"
#include "wire/clock.h"

enum {
    LOOK_NS = 5 * CPIKA_NS_PER_MS,
    MOST_S = 1000000,  // what is longer is as good as never
};

/* sys.getswitchinterval(), of which the C interface knows nothing. */
static uint64_t
switch_interval_ns(void)
{
    PyObject *get = PySys_GetObject("getswitchinterval");  // borrowed
    PyObject *seconds = get == NULL ? NULL : PyObject_CallNoArgs(get);
    double value = seconds == NULL ? -1 : PyFloat_AsDouble(seconds);
    Py_XDECREF(seconds);
    PyErr_Clear();
    if (value < 0) {
        return LOOK_NS;
    }
    return (uint64_t)((value < MOST_S ? value : MOST_S) * (double)CPIKA_NS_PER_S);
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
        cpika_gil_take(cpika_gil_give());
        offer->due_ns = cpika_now_ns() + 2 * switch_interval_ns();
    }
    return PyErr_CheckSignals();
}
