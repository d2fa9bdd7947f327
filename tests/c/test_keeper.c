/* test_keeper.c - the background thread: heartbeats and held acks.
 * Layer: tests.  Owns: nothing.  Threads: see kept.h, and those that a test makes.  Errors: see check.h. */
#include "keeper.h"

#include "kept.h"

#include <pthread.h>

/* ---- heartbeats ---- */

static void
a_heartbeat_leaves_after_the_interval_and_not_before(void)
{
    enum { INTERVAL = 30 };
    uint64_t start = cpika_now_ns();
    kept k = kept_new(INTERVAL * CPIKA_NS_PER_MS);
    // From the start, not from one to the next: while this thread does not run, several may come.
    for (uint64_t i = 1; i <= 3; i++) {
        uint64_t came = await_bytes(k.peer);
        CHECK(came - start >= i * INTERVAL * CPIKA_NS_PER_MS);
        CHECK(expect_heartbeat(k.peer));
        cpika_link_lock(k.link);
        uint64_t sent = k.link->heartbeats_sent;
        CHECK(sent >= i);
        CHECK(k.link->last_send_ns - start >= sent * INTERVAL * CPIKA_NS_PER_MS);
        cpika_link_unlock(k.link);
    }
    kept_free(&k);
}

static void
heartbeats_leave_while_the_main_thread_computes(void)
{
    kept k = kept_new(10 * CPIKA_NS_PER_MS);
    volatile uint64_t sum = 0;
    uint64_t until = cpika_now_ns() + SOON_MS * CPIKA_NS_PER_MS;
    while (heartbeats_sent(&k) < 3 && cpika_now_ns() < until) {
        for (uint64_t i = 0; i < 100000; i++) {
            sum += i * i;  // no call, no wait: the thread gives nothing up
        }
    }
    CHECK(sum > 0);
    CHECK(heartbeats_sent(&k) >= 3);
    for (int i = 0; i < 3; i++) {
        CHECK(expect_heartbeat(k.peer));
    }
    kept_free(&k);
}

static void
what_the_program_sends_puts_the_heartbeat_off(void)
{
    kept k = kept_new(CPIKA_NS_PER_S);
    uint64_t until = cpika_now_ns() + 1500 * CPIKA_NS_PER_MS;
    uint64_t last = 0;
    while (cpika_now_ns() < until) {
        cpika_link_lock(k.link);
        CHECK_INT(cpika_link_send_locked(k.link, (const uint8_t *)"x", 1, cpika_now_ns()), CPIKA_OK);
        last = k.link->last_send_ns;
        cpika_link_unlock(k.link);
        poll(NULL, 0, 20);
    }
    cpika_link_lock(k.link);
    // Unless this machine stood still for a second, none; if it did, the test says nothing.
    CHECK(k.link->heartbeats_sent == 0 || cpika_now_ns() - last > CPIKA_NS_PER_S / 2);
    cpika_link_unlock(k.link);
    kept_free(&k);
}

static void
a_changed_interval_counts_at_once(void)
{
    kept k = kept_new(3600 * CPIKA_NS_PER_S);
    CHECK(is_silent(k.peer));
    cpika_link_lock(k.link);
    k.link->heartbeat_ns = 5 * CPIKA_NS_PER_MS;
    cpika_link_unlock(k.link);
    cpika_keeper_notify_heartbeat();
    CHECK(expect_heartbeat(k.peer));
    kept_free(&k);
}

static void
without_an_interval_nothing_is_sent(void)
{
    kept quiet = kept_new(0);
    kept other = kept_new(5 * CPIKA_NS_PER_MS);
    for (int i = 0; i < 5; i++) {
        CHECK(expect_heartbeat(other.peer));
    }
    CHECK(is_silent(quiet.peer));
    CHECK_INT(heartbeats_sent(&quiet), 0);
    kept_free(&quiet);
    kept_free(&other);
}

/* Fills the socket until one send is cut. */
static size_t
fill(kept *k)
{
    static const uint8_t zeros[4096];
    size_t queued = 0;
    int size = 4096;
    int rc = CPIKA_OK;

    setsockopt(atomic_load(&k->link->fd), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    cpika_link_lock(k->link);
    while (rc == CPIKA_OK) {
        rc = cpika_link_send_locked(k->link, zeros, sizeof zeros, cpika_now_ns());
        queued += sizeof zeros;
    }
    cpika_link_unlock(k->link);
    CHECK_INT(rc, CPIKA_AGAIN);
    return queued;
}

static void
with_a_full_socket_the_queue_is_flushed_instead_of_a_heartbeat(void)
{
    kept k = kept_new(0);
    kept clock = kept_new(10 * CPIKA_NS_PER_MS);
    size_t total = fill(&k);

    cpika_link_lock(k.link);
    size_t stuck = k.link->out.bytes;
    k.link->heartbeat_ns = CPIKA_NS_PER_MS;
    cpika_link_unlock(k.link);
    cpika_keeper_notify_heartbeat();
    for (int i = 0; i < 5; i++) {
        CHECK(expect_heartbeat(clock.peer));
    }
    cpika_link_lock(k.link);
    CHECK_INT(k.link->out.bytes, stuck);  // nothing was put behind what is stuck
    CHECK_INT(k.link->heartbeats_sent, 0);
    cpika_link_unlock(k.link);

    // Nobody but the keeper sends now: all that was queued comes, and only then heartbeats.
    for (size_t got = 0; got < total;) {
        uint8_t buffer[4096];
        size_t rest = total - got;
        await_bytes(k.peer);
        ssize_t part = read(k.peer, buffer, rest < sizeof buffer ? rest : sizeof buffer);
        if (!CHECK(part > 0)) {
            break;
        }
        for (ssize_t i = 0; i < part; i++) {
            CHECK_INT(buffer[i], 0);
        }
        got += (size_t)part;
    }
    CHECK(expect_heartbeat(k.peer));
    kept_free(&k);
    kept_free(&clock);
}

static void
a_heartbeat_that_fails_marks_the_link_broken_and_the_others_live_on(void)
{
    kept broken = kept_new(0);
    kept sound = kept_new(5 * CPIKA_NS_PER_MS);
    shutdown(broken.peer, SHUT_RD);
    cpika_link_lock(broken.link);
    broken.link->heartbeat_ns = CPIKA_NS_PER_MS;
    cpika_link_unlock(broken.link);
    cpika_keeper_notify_heartbeat();
    int error = 0;
    while (error == 0 && expect_heartbeat(sound.peer)) {
        cpika_link_lock(broken.link);
        error = broken.link->sys_errno;
        cpika_link_unlock(broken.link);
    }
    CHECK(error != 0);
    CHECK_INT(heartbeats_sent(&broken), 0);
    CHECK(expect_heartbeat(sound.peer));
    kept_free(&broken);
    kept_free(&sound);
}

/* ---- held acks ---- */

static void
a_held_ack_leaves_by_itself_within_a_millisecond(void)
{
    enum { WANTED = 20, ROUNDS = 1000 };
    kept k = kept_new(0);
    int in_time = 0;
    int rounds = 0;

    // Each must come.  On a machine busy with others even a plain sleep of 0.5 ms is often late, so the time is
    // asked of some only: a keeper that slept too long by itself would be late in all.
    while (in_time < WANTED && rounds < ROUNDS) {
        hold(&k, "ack");
        cpika_link_lock(k.link);
        uint64_t since = k.link->held_until_ns - CPIKA_HOLD_ACKS_NS;
        cpika_link_unlock(k.link);
        uint64_t came = await_bytes(k.peer);
        in_time += came - since <= CPIKA_NS_PER_MS;
        rounds++;
        CHECK(expect_bytes(k.peer, "ack", 3));
        cpika_link_lock(k.link);
        CHECK(!k.link->held);
        CHECK_INT(k.link->out.bytes, 0);
        cpika_link_unlock(k.link);
    }
    CHECK_INT(in_time, WANTED);
    if (rounds > 2 * WANTED) {
        printf("     only %d of %d held acks left within 1 ms: a busy machine\n", in_time, rounds);
    }
    kept_free(&k);
}

static void
an_ack_held_long_after_the_last_wakes_the_keeper_again(void)
{
    kept k = kept_new(0);
    for (int i = 0; i < 3; i++) {
        hold(&k, "ack");
        CHECK(expect_bytes(k.peer, "ack", 3));
        poll(NULL, 0, 40);  // time itself is the condition: it falls asleep after 20 ms
    }
    kept_free(&k);
}

static void
acks_held_in_a_burst_leave_in_order_before_later_output(void)
{
    kept k = kept_new(0);
    for (int i = 0; i < 200; i++) {
        hold(&k, "12");
        hold(&k, "34");
        cpika_link_lock(k.link);
        CHECK_INT(cpika_link_send_locked(k.link, (const uint8_t *)"56", 2, cpika_now_ns()), CPIKA_OK);
        cpika_link_unlock(k.link);
        CHECK(expect_bytes(k.peer, "123456", 6));
    }
    kept_free(&k);
}

static void
held_acks_behind_a_full_socket_leave_when_there_is_room(void)
{
    kept k = kept_new(0);
    size_t total = fill(&k);
    hold(&k, "ack");
    poll(NULL, 0, 40);  // long enough to be tried in vain
    for (size_t got = 0; got < total;) {
        uint8_t buffer[4096];
        size_t rest = total - got;
        await_bytes(k.peer);
        ssize_t part = read(k.peer, buffer, rest < sizeof buffer ? rest : sizeof buffer);
        if (!CHECK(part > 0)) {
            break;
        }
        got += (size_t)part;
    }
    CHECK(expect_bytes(k.peer, "ack", 3));
    hold(&k, "next");
    CHECK(expect_bytes(k.peer, "next", 4));
    kept_free(&k);
}

static void
an_ack_held_while_the_lock_was_busy_leaves_after_all(void)
{
    kept k = kept_new(0);
    cpika_link_lock(k.link);
    CHECK_INT(cpika_link_hold_locked(k.link, (const uint8_t *)"ack", 3, cpika_now_ns()), CPIKA_OK);
    cpika_keeper_notify_held();  // under the lock: allowed
    poll(NULL, 0, 40);
    CHECK(is_silent(k.peer));
    cpika_link_unlock(k.link);
    CHECK(expect_bytes(k.peer, "ack", 3));
    kept_free(&k);
}

int
main(int argc, char **argv)
{
    static const check_test tests[] = {
        CHECK_TEST(a_heartbeat_leaves_after_the_interval_and_not_before),
        CHECK_TEST(heartbeats_leave_while_the_main_thread_computes),
        CHECK_TEST(what_the_program_sends_puts_the_heartbeat_off),
        CHECK_TEST(a_changed_interval_counts_at_once),
        CHECK_TEST(without_an_interval_nothing_is_sent),
        CHECK_TEST(with_a_full_socket_the_queue_is_flushed_instead_of_a_heartbeat),
        CHECK_TEST(a_heartbeat_that_fails_marks_the_link_broken_and_the_others_live_on),
        CHECK_TEST(a_held_ack_leaves_by_itself_within_a_millisecond),
        CHECK_TEST(an_ack_held_long_after_the_last_wakes_the_keeper_again),
        CHECK_TEST(acks_held_in_a_burst_leave_in_order_before_later_output),
        CHECK_TEST(held_acks_behind_a_full_socket_leave_when_there_is_room),
        CHECK_TEST(an_ack_held_while_the_lock_was_busy_leaves_after_all),
    };
    return check_main(tests, CHECK_COUNT(tests), argc, argv);
}
