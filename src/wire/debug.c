/* debug.c - see debug.h.
 * Layer: wire.  Owns: the hook.  Threads: see debug.h.  Errors: none. */
#include "debug.h"

#ifdef CPIKA_DEBUG
#    include <stdio.h>
#    include <stdlib.h>

void (*cpika_debug_wait_hook)(void);
#    ifndef __SANITIZE_THREAD__
_Thread_local int cpika_debug_handling;
#    endif

void
cpika_debug_abort(const char *what)
{
    fprintf(stderr, "Fatal error: %s\n", what);
    abort();
}
#else
typedef int cpika_debug_is_off;  // a file with nothing in it is none
#endif
