/* user.h - who calls: a thread, or a greenlet of one.
 * Layer: drivers.
 * Owns: a weak reference to its greenlet.  Threads: with the GIL.
 * Errors: none.
 *
 * A thread's ident is given again when it has ended, and all greenlets of a thread have the same: neither says whether two
 * calls stand in one stack.  The interpreter's number of a thread state is never given twice.  A greenlet is known by the
 * weak reference to it that Python keeps: there is one at a time, and none comes to its address while somebody has it.  The
 * greenlet itself must not be held, by a call in its own stack least of all: forgotten in the midst of one, it would never
 * be told to end. */
#ifndef CPIKA_DRIVERS_USER_H
#define CPIKA_DRIVERS_USER_H

#include "values/state.h"  // Python.h before any other header

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t thread;     // 0: nobody
    PyObject *greenlet;  // owned weak reference; NULL where the program has no greenlets
} cpika_user;

#define CPIKA_NOBODY {0, NULL}

/* Whoever calls.  Pair with cpika_user_clear. */
cpika_user cpika_user_here(cpika_state *st);
void cpika_user_clear(cpika_user *user);

/* The same where no other thread may run: a weak reference runs no code when it goes. */
static inline void
cpika_user_clear_here(cpika_user *user)
{
    user->thread = 0;
    cpika_let_go_of_one(user->greenlet);
    user->greenlet = NULL;
}

/* Whether that one calls. */
bool cpika_user_is_here(cpika_state *st, const cpika_user *user);

static inline bool
cpika_user_same(const cpika_user *a, const cpika_user *b)
{
    return a->thread == b->thread && a->greenlet == b->greenlet;
}

#endif
