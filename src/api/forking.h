/* forking.h - what is done around os.fork().
 * Layer: api.
 * Owns: nothing.  Threads: with the GIL.
 * Errors: -1 with an exception. */
#ifndef CPIKA_API_FORKING_H
#define CPIKA_API_FORKING_H

#include "drivers/objects.h"

/* Functions of _core: pause_keeper, resume_keeper. */
int cpika_forking_exec(PyObject *module);

#endif
