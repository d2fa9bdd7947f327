/* keeper.h - the one background thread: heartbeats when due, acks that were held back (rules 3, 4).
 * Layer: wire (libc only).
 * Owns: the thread, the list of links (one reference each), its lock.  The only static mutable state of cpika.
 * Threads: all signals are blocked in it; it takes a link's lock only by trylock, and never a Python object.
 *          It ends when it has had no link for a second, and holds up neither exit nor the interpreter's end.
 *          It is absent between cpika_keeper_pause and cpika_keeper_resume.
 * Fork:    closes the child's copies of all kept links; the child gets a keeper of its own with its first link.
 * Errors: negative cpika_status. */
#ifndef CPIKA_WIRE_KEEPER_H
#define CPIKA_WIRE_KEEPER_H

#include <stdbool.h>

#include "link.h"

/* Starts keeping `l` (takes a reference of its own); starts the thread when there is none.  Safe to repeat.
 * CPIKA_OK, CPIKA_E_NOMEM, CPIKA_E_SYS (errno), CPIKA_E_CLOSED (the link is a parent's). */
int cpika_keeper_add(cpika_link *l);

/* Stops keeping it; afterwards the keeper does not touch the link any more.  Safe to repeat; no lock held. */
void cpika_keeper_remove(cpika_link *l);

/* Tells a sleeping keeper that links hold acks.  Cheap when it is awake already (one atomic load): called once per
 * burst, under the link's lock or not. */
void cpika_keeper_notify_held(void);

/* Whether it looks at all links in short order anyway, and need not be told. */
bool cpika_keeper_is_awake(void);

/* Sends what kept links hold, now: the process is about to become another program.  Without waiting. */
void cpika_keeper_send_held(void);

/* Ends the thread and waits for that, which takes no longer than a send: the process is about to fork by somebody who
 * counts threads.  What is kept stays. */
void cpika_keeper_pause(void);

/* Has it go on, if anything is kept. */
void cpika_keeper_resume(void);

/* Whether there was no room for the thread then: whoever looks at input tries again. */
bool cpika_keeper_is_missing(void);

/* True for the first who asks in the process. */
bool cpika_keeper_first_to_ask(void);

/* Tells the keeper that heartbeat_ns of a link changed. */
void cpika_keeper_notify_heartbeat(void);

#endif
