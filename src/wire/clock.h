/* clock.h - monotonic time.
 * Layer: wire (libc only).  Owns: nothing.  Threads: any.  Errors: none. */
#ifndef CPIKA_WIRE_CLOCK_H
#define CPIKA_WIRE_CLOCK_H

#include "posix.h"

#include <stdint.h>
#include <time.h>

#define CPIKA_NS_PER_S UINT64_C(1000000000)
#define CPIKA_NS_PER_MS UINT64_C(1000000)
#define CPIKA_NS_PER_US UINT64_C(1000)

static inline uint64_t
cpika_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * CPIKA_NS_PER_S + (uint64_t)ts.tv_nsec;
}

#endif
