/* connection.h - the type _core.Connection.
 * Layer: api.  Owns: nothing.  Threads: with the GIL.  Errors: -1 with an exception. */
#ifndef CPIKA_API_CONNECTION_H
#define CPIKA_API_CONNECTION_H

#include "drivers/objects.h"

int cpika_connection_exec(PyObject *module, cpika_state *st);

#endif
