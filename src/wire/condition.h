/* condition.h - a condition variable that waits by the monotonic clock: setting the time neither ends nor stretches it.
 * Layer: wire (libc only).
 * Owns: nothing.
 * Threads: the caller holds the mutex that goes with the condition.
 * Errors: negative cpika_status. */
#ifndef CPIKA_WIRE_CONDITION_H
#define CPIKA_WIRE_CONDITION_H

#include "posix.h"

#include <pthread.h>
#include <stdint.h>

#include "clock.h"
#include "status.h"

static inline int
cpika_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr) != 0) {
        return CPIKA_E_NOMEM;
    }
#if !defined(__APPLE__)
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
#endif
    int error = pthread_cond_init(condition, &attr);
    pthread_condattr_destroy(&attr);
    return error == 0 ? CPIKA_OK : CPIKA_E_NOMEM;
}

/* Waits until somebody signals, or until `when_ns`; may end without either, as every such wait. */
static inline void
cpika_condition_wait_until(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t when_ns)
{
#if defined(__APPLE__)
    uint64_t now_ns = cpika_now_ns();
    uint64_t rest_ns = when_ns > now_ns ? when_ns - now_ns : 0;
    struct timespec rest = {(time_t)(rest_ns / CPIKA_NS_PER_S), (long)(rest_ns % CPIKA_NS_PER_S)};
    pthread_cond_timedwait_relative_np(condition, mutex, &rest);
#else
    struct timespec when = {(time_t)(when_ns / CPIKA_NS_PER_S), (long)(when_ns % CPIKA_NS_PER_S)};
    pthread_cond_timedwait(condition, mutex, &when);
#endif
}

#endif
