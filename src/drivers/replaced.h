/* replaced.h - a process that becomes another program by exec sends what its connections hold first.
 * Layer: drivers.
 * Owns: an audit hook of the interpreter, one a process; it looks at no event but os.exec.  None before CPython 3.11.
 * Threads: with the GIL, given away while it sends.
 * Errors: -1 with an exception where the interpreter takes no hook. */
#ifndef CPIKA_DRIVERS_REPLACED_H
#define CPIKA_DRIVERS_REPLACED_H

/* Watches from now on. */
int cpika_watch_exec(void);

#endif
