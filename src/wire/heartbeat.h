/* heartbeat.h - when to send a heartbeat, and when a silent peer counts as dead: arithmetic only.
 * Layer: wire (clock.h's units; no I/O, no clock of its own: the caller brings the time).
 * Owns: nothing.
 * Threads: none of its own.
 * Errors: none. */
#ifndef CPIKA_WIRE_HEARTBEAT_H
#define CPIKA_WIRE_HEARTBEAT_H

#include "clock.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t interval_ns;   // as negotiated; 0: no heartbeats
    uint64_t last_recv_ns;  // monotonic, of the last byte that came
} cpika_heartbeat;

#define CPIKA_HEARTBEAT_INIT {0, 0}
#define CPIKA_HEARTBEAT_NEVER UINT64_MAX

/* Begins with the negotiated interval (0: none); the peer's time runs from `now_ns`. */
void cpika_heartbeat_start(cpika_heartbeat *hb, uint16_t interval_s, uint64_t now_ns);

/* For cpika_link.heartbeat_ns: half the interval, so that one that comes late is still in time; 0: none. */
uint64_t cpika_heartbeat_send_interval_ns(const cpika_heartbeat *hb);

/* When the peer is dead unless bytes come before: two intervals after the last, and with short ones not before an interval
 * and five seconds, since pika is as patient; CPIKA_HEARTBEAT_NEVER: never. */
uint64_t cpika_heartbeat_dead_at_ns(const cpika_heartbeat *hb);

/* Whether it is dead now.  To be asked only after a read that found nothing: what waits unread is a sign of life. */
bool cpika_heartbeat_is_dead(const cpika_heartbeat *hb, uint64_t now_ns);

/* Any byte counts, not only heartbeat frames. */
static inline void
cpika_heartbeat_received(cpika_heartbeat *hb, uint64_t now_ns)
{
    hb->last_recv_ns = now_ns;
}

#endif
