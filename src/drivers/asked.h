/* asked.h - asking an event loop for a flush: soon(callback) has it call the callback in its next turn.
 * Layer: drivers.
 * Owns: nothing; a callback holds its connection until it is called.
 * Threads: with the GIL, from any thread; soon() sees to the rest.
 * Errors: -1 with what soon() raised.  A signal handler's does not undo the wish; where a wish is repeated there is nobody to
 *         raise it to, as in a finalizer.
 *
 * A loop may lose a callback that it has taken out and not called yet: a signal handler raises between the two, and the loop
 * is run again later, as pika's manual has it for Ctrl-C.  So each wish is an object of its own: when it goes without having
 * been called, another one takes its place.  It does so once, until somebody asks again: a queue that is emptied stays empty,
 * and a connection that is garbage with its loop is found to be so the second time. */
#ifndef CPIKA_DRIVERS_ASKED_H
#define CPIKA_DRIVERS_ASKED_H

#include "objects.h"

/* Has the loop flush, unless it was asked already, or a call of its runs, which does so by itself at its end. */
int cpika_ask(CpikaConnection *conn);

/* The same, but for a wish that stands already another one is made, one in each turn of the loop: it may have lost that one,
 * and not let go of it yet. */
int cpika_ask_again(CpikaConnection *conn);

/* The output has been taken: more of it has to be asked for. */
static inline void
cpika_asked_and_done(CpikaConnection *conn)
{
    conn->loop.asked = NULL;
}

int cpika_asked_exec(PyObject *module, cpika_state *st);

#endif
