/* debug.h - in a build with CPIKA_DEBUG, what must not be is an abort where it happens.
 * Layer: wire (libc only).
 * Owns: in such a build the hook below.  Threads: the hook is set once, before there is a second thread.
 * Errors: none: it aborts. */
#ifndef CPIKA_WIRE_DEBUG_H
#define CPIKA_WIRE_DEBUG_H

#ifdef CPIKA_DEBUG
#    include <stdint.h>

/* Says so on standard error, and aborts. */
_Noreturn void cpika_debug_abort(const char *what);

/* Called wherever a thread may wait: for a lock, for a descriptor.  Aborts when it holds what it must not (the GIL: the
 * floors above, which know of one, set this). */
extern void (*cpika_debug_wait_hook)(void);

/* How many frames this thread is handling, and questions about the state answering: it does not wait then, whatever it
 * holds.  (ThreadSanitizer takes the memory of an ended thread's variable for a race.) */
#    ifdef __SANITIZE_THREAD__
enum { cpika_debug_handling = 0 };
#    else
extern _Thread_local int cpika_debug_handling;
#    endif

/* Where a lock is taken that may have to be awaited. */
static inline void
cpika_debug_may_lock(void)
{
    if (cpika_debug_handling > 0) {
        cpika_debug_abort("cpika may wait, and is handling a frame or answering what a call waits for");
    }
}

static inline void
cpika_debug_may_wait(void)
{
    cpika_debug_may_lock();
    if (cpika_debug_wait_hook != 0) {
        cpika_debug_wait_hook();
    }
}

/* What others look at while its owner waits: not on his stack, which a greenlet's switch takes away. */
static inline void
cpika_debug_not_on_stack(const void *shared)
{
    enum { NEAR = 8192 };  // bytes of the core's own frames; above are those of CPython
    if ((uintptr_t)shared - (uintptr_t)__builtin_frame_address(0) < NEAR) {
        cpika_debug_abort("cpika waits, and others look at something on its stack meanwhile");
    }
}

static inline void
cpika_debug_begin_handling(void)
{
#    ifndef __SANITIZE_THREAD__
    cpika_debug_handling++;
#    endif
}

static inline void
cpika_debug_end_handling(void)
{
#    ifndef __SANITIZE_THREAD__
    cpika_debug_handling--;
#    endif
}
#else
static inline void
cpika_debug_may_lock(void)
{
}

static inline void
cpika_debug_not_on_stack(const void *shared)
{
    (void)shared;
}

static inline void
cpika_debug_may_wait(void)
{
}

static inline void
cpika_debug_begin_handling(void)
{
}

static inline void
cpika_debug_end_handling(void)
{
}
#endif

#endif
