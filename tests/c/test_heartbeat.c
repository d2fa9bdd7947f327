/* test_heartbeat.c - when to send, when a peer is dead; the time is the test's own.
 * Layer: tests.  Owns: nothing.  Threads: one.  Errors: see check.h. */
#include "heartbeat.h"

#include "check.h"

#define START (1000 * CPIKA_NS_PER_S)

static void
half_the_negotiated_interval_is_the_send_interval(void)
{
    cpika_heartbeat hb = CPIKA_HEARTBEAT_INIT;
    cpika_heartbeat_start(&hb, 60, START);
    CHECK_INT(cpika_heartbeat_send_interval_ns(&hb), 30 * CPIKA_NS_PER_S);
    cpika_heartbeat_start(&hb, 1, START);
    CHECK_INT(cpika_heartbeat_send_interval_ns(&hb), CPIKA_NS_PER_S / 2);
    cpika_heartbeat_start(&hb, UINT16_MAX, START);
    CHECK_INT(cpika_heartbeat_send_interval_ns(&hb), UINT16_MAX * CPIKA_NS_PER_S / 2);
}

static void
a_peer_is_dead_two_intervals_after_its_last_byte_and_not_before(void)
{
    cpika_heartbeat hb = CPIKA_HEARTBEAT_INIT;
    cpika_heartbeat_start(&hb, 10, START);
    CHECK_INT(cpika_heartbeat_dead_at_ns(&hb), START + 20 * CPIKA_NS_PER_S);
    CHECK(!cpika_heartbeat_is_dead(&hb, START));
    CHECK(!cpika_heartbeat_is_dead(&hb, START + 20 * CPIKA_NS_PER_S - 1));
    CHECK(cpika_heartbeat_is_dead(&hb, START + 20 * CPIKA_NS_PER_S));
}

static void
any_byte_gives_the_peer_two_more_intervals(void)
{
    cpika_heartbeat hb = CPIKA_HEARTBEAT_INIT;
    cpika_heartbeat_start(&hb, 10, START);
    cpika_heartbeat_received(&hb, START + 19 * CPIKA_NS_PER_S);
    CHECK(!cpika_heartbeat_is_dead(&hb, START + 38 * CPIKA_NS_PER_S));
    CHECK(cpika_heartbeat_is_dead(&hb, START + 39 * CPIKA_NS_PER_S));
}

static void
a_clock_read_before_the_last_byte_does_not_kill_the_peer(void)
{
    cpika_heartbeat hb = CPIKA_HEARTBEAT_INIT;
    cpika_heartbeat_start(&hb, 10, START);
    CHECK(!cpika_heartbeat_is_dead(&hb, START - CPIKA_NS_PER_S));
}

static void
without_heartbeats_nothing_is_sent_and_nobody_dies(void)
{
    cpika_heartbeat hb = CPIKA_HEARTBEAT_INIT;
    CHECK_INT(cpika_heartbeat_send_interval_ns(&hb), 0);
    cpika_heartbeat_start(&hb, 0, START);
    CHECK_INT(cpika_heartbeat_send_interval_ns(&hb), 0);
    CHECK(cpika_heartbeat_dead_at_ns(&hb) == CPIKA_HEARTBEAT_NEVER);
    CHECK(!cpika_heartbeat_is_dead(&hb, START + 1000000 * CPIKA_NS_PER_S));
}

int
main(int argc, char **argv)
{
    static const check_test tests[] = {
        CHECK_TEST(half_the_negotiated_interval_is_the_send_interval),
        CHECK_TEST(a_peer_is_dead_two_intervals_after_its_last_byte_and_not_before),
        CHECK_TEST(any_byte_gives_the_peer_two_more_intervals),
        CHECK_TEST(a_clock_read_before_the_last_byte_does_not_kill_the_peer),
        CHECK_TEST(without_heartbeats_nothing_is_sent_and_nobody_dies),
    };
    return check_main(tests, CHECK_COUNT(tests), argc, argv);
}
