/* fork.c - the generation number and the handler that raises it in the child.
 * Layer: wire (libc only).
 * Owns: the generation number.
 * Threads: pthread_once guards the installation.
 * Errors: see fork.h. */
#include "fork.h"

#include <pthread.h>

#include "status.h"

atomic_uint cpika_fork_count = 1;

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static int fork_status;  // of the one pthread_atfork; written inside pthread_once only

static void
fork_in_child(void)
{
    atomic_fetch_add_explicit(&cpika_fork_count, 2, memory_order_relaxed);  // stays odd, so it is never 0
}

static void
fork_install(void)
{
    fork_status = pthread_atfork(NULL, NULL, fork_in_child) == 0 ? CPIKA_OK : CPIKA_E_NOMEM;
}

int
cpika_fork_watch(void)
{
    pthread_once(&fork_once, fork_install);
    return fork_status;
}
