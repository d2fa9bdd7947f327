/* heartbeat.c - see heartbeat.h.
 * Layer: wire.  Owns: nothing.  Threads: none of its own.  Errors: none. */
#include "heartbeat.h"

enum {
    HEARTBEAT_SENDS_PER_INTERVAL = 2,
    HEARTBEAT_INTERVALS_TO_DEATH = 2,
};

// pika looks every interval and five seconds: nobody who talks to it has been cut off earlier.
#define HEARTBEAT_GRACE_NS (5 * CPIKA_NS_PER_S)

void
cpika_heartbeat_start(cpika_heartbeat *hb, uint16_t interval_s, uint64_t now_ns)
{
    hb->interval_ns = interval_s * CPIKA_NS_PER_S;
    hb->last_recv_ns = now_ns;
}

uint64_t
cpika_heartbeat_send_interval_ns(const cpika_heartbeat *hb)
{
    return hb->interval_ns / HEARTBEAT_SENDS_PER_INTERVAL;
}

uint64_t
cpika_heartbeat_dead_at_ns(const cpika_heartbeat *hb)
{
    if (hb->interval_ns == 0) {
        return CPIKA_HEARTBEAT_NEVER;
    }
    uint64_t patience = HEARTBEAT_INTERVALS_TO_DEATH * hb->interval_ns;
    uint64_t least = hb->interval_ns + HEARTBEAT_GRACE_NS;
    return hb->last_recv_ns + (patience > least ? patience : least);
}

bool
cpika_heartbeat_is_dead(const cpika_heartbeat *hb, uint64_t now_ns)
{
    return now_ns >= cpika_heartbeat_dead_at_ns(hb);
}
