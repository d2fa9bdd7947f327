/* debug.c - see debug.h.
 * Layer: wire.  Owns: the hook.  Threads: see debug.h.  Errors: none. */
#include "debug.h"

#ifdef CPIKA_DEBUG
void (*cpika_debug_wait_hook)(void);
#else
typedef int cpika_debug_is_off;  // a file with nothing in it is none
#endif
