/* posix.h - asks libc for the POSIX and Linux names that -std=c17 hides.  Include it before any system header.
 * Layer: wire (nothing included).  Owns: nothing.  Threads: any.  Errors: none. */
#ifndef CPIKA_WIRE_POSIX_H
#define CPIKA_WIRE_POSIX_H

// macOS shows everything unless asked otherwise; glibc and musl want this one.
#ifndef _GNU_SOURCE
#    define _GNU_SOURCE 1  // NOLINT(bugprone-reserved-identifier): the name is libc's
#endif

#endif
