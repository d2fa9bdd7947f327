/* hot.h - what each message passes, put where it is called.
 * Layer: wire (nothing included).  Owns: nothing.  Threads: any.  Errors: none.
 *
 * Optimising across files, a compiler bounds the growth of the whole library by a share of its size, and has spent it
 * before it comes to what is hot: GCC 12 left calls of functions of three instructions in the way of a message.  For what
 * is small or called in a place or two, and passed by every message; nothing else. */
#ifndef CPIKA_WIRE_HOT_H
#define CPIKA_WIRE_HOT_H

#define CPIKA_HOT static inline __attribute__((always_inline))

#endif
