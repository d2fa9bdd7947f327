/* raised.c - see raised.h.
 * Layer: values.  Owns: nothing.  Threads: see raised.h.  Errors: none. */
#include "raised.h"

#ifdef CPIKA_DEBUG
#    include <stdio.h>

#    include "wire/debug.h"

void
cpika_nothing_raised(const char *function)
{
    if (!PyErr_Occurred()) {
        return;
    }
    PyErr_Print();
    fprintf(stderr, "%s: ", function);
    cpika_debug_abort("cpika goes on with an exception set");
}
#endif
