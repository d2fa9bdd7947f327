/* test_link_ends.c - the link over real sockets: waits and what ends them, close, fork.
 * Layer: tests.  Owns: nothing.  Threads: see each test.  Errors: see check.h. */
#include "link.h"

#include "pair.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>

/* ---- waiting ---- */

static void
poll_ends_with_its_time(void)
{
    pair p = pair_new();
    uint64_t before = cpika_now_ns();
    CHECK_INT(cpika_link_poll(p.link, false, 20), 0);
    CHECK(cpika_now_ns() - before >= 19 * CPIKA_NS_PER_MS);
    CHECK_INT(cpika_link_poll(p.link, true, -1), CPIKA_WRITABLE);
    pair_free(&p);
}

static void
a_wake_is_kept_until_it_is_taken_back(void)
{
    pair p = pair_new();
    for (int i = 0; i < 1000; i++) {
        cpika_link_wake(p.link);  // never blocks, however often
    }
    CHECK_INT(cpika_link_poll(p.link, false, -1), CPIKA_WOKEN);
    CHECK_INT(cpika_link_poll(p.link, false, -1), CPIKA_WOKEN);
    cpika_link_drain_wake(p.link);
    CHECK_INT(cpika_link_poll(p.link, false, 0), 0);
    cpika_link_drain_wake(p.link);
    pair_free(&p);
}

static void
a_link_that_nobody_polls_needs_no_wake(void)
{
    pair p = pair_new();
    int before = p.link->wake_rd;
    cpika_link_unwanted_wake(p.link);
    CHECK_INT(fcntl(before, F_GETFD), -1);
    cpika_link_wake(p.link);
    cpika_link_drain_wake(p.link);
    CHECK_INT(cpika_link_poll(p.link, false, 0), 0);
    CHECK_INT(cpika_link_poll(p.link, true, -1), CPIKA_WRITABLE);
    pair_free(&p);
}

static void *
wait_for_anything(void *arg)
{
    pair *p = arg;
    p->answer = cpika_link_poll(p->link, false, -1);
    return NULL;
}

static void
another_thread_wakes_a_poll(void)
{
    pair p = pair_new();
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, wait_for_anything, &p), 0);
    cpika_link_wake(p.link);
    pthread_join(thread, NULL);
    CHECK_INT(p.answer, CPIKA_WOKEN);
    pair_free(&p);
}

static cpika_link *signalled_link;

static void
on_signal(int number)
{
    (void)number;
    cpika_link_wake(signalled_link);
}

static void
a_signal_handler_may_wake(void)
{
    pair p = pair_new();
    struct sigaction action = {.sa_handler = on_signal};
    struct sigaction before;
    signalled_link = p.link;
    sigaction(SIGUSR1, &action, &before);
    errno = 4711;
    pthread_kill(pthread_self(), SIGUSR1);  // handled before it returns
    CHECK_INT(errno, 4711);
    sigaction(SIGUSR1, &before, NULL);
    CHECK_INT(cpika_link_poll(p.link, false, -1), CPIKA_WOKEN);
    pair_free(&p);
}

/* ---- waiting in recv ---- */

#if defined(__linux__)
static void
recv_waits_for_the_first_byte_if_told_to_and_otherwise_never(void)
{
    pair p = pair_new();
    CHECK(cpika_link_waits_in_recv(p.link));
    uint8_t buffer[8] = {0};
    uint64_t before = cpika_now_ns();
    CHECK_INT(cpika_link_recv_waiting(p.link, buffer, sizeof buffer), 0);
    CHECK(cpika_now_ns() - before >= (CPIKA_RECV_WAITS_MS - 1) * CPIKA_NS_PER_MS);
    struct iovec iov = {buffer, sizeof buffer};
    before = cpika_now_ns();
    for (int i = 0; i < 1000; i++) {
        CHECK_INT(cpika_link_recv(p.link, &iov, 1), 0);
    }
    CHECK(cpika_now_ns() - before < 1000 * (CPIKA_RECV_WAITS_MS - 1) * CPIKA_NS_PER_MS);
    CHECK_INT(write(p.peer, "ab", 2), 2);
    CHECK_INT(cpika_link_recv_waiting(p.link, buffer, sizeof buffer), 2);
    CHECK_STR((const char *)buffer, "ab");
    close(p.peer);
    p.peer = -1;
    CHECK_INT(cpika_link_recv_waiting(p.link, buffer, sizeof buffer), CPIKA_E_EOF);
    cpika_link_close(p.link);
    CHECK_INT(cpika_link_recv_waiting(p.link, buffer, sizeof buffer), CPIKA_E_CLOSED);
    pair_free(&p);
}

static void
a_full_socket_that_waits_in_recv_makes_no_send_wait(void)
{
    pair p = pair_new();
    CHECK(cpika_link_waits_in_recv(p.link));
    make_small(&p);
    uint8_t buffer[8];
    CHECK_INT(cpika_link_recv_waiting(p.link, buffer, sizeof buffer), 0);
    int rc = CPIKA_OK;
    for (int i = 0; i < 10000 && rc == CPIKA_OK; i++) {
        rc = send_text(p.link, "a text that nobody reads, again and again");
    }
    CHECK_INT(rc, CPIKA_AGAIN);
    CHECK_INT(flush(p.link), CPIKA_AGAIN);
    cpika_link_never_wait_in_recv(p.link);
    CHECK(!cpika_link_waits_in_recv(p.link));
    CHECK((fcntl(atomic_load(&p.link->fd), F_GETFL) & O_NONBLOCK) != 0);
    pair_free(&p);
}

static void *
receive_until_something(void *arg)
{
    pair *p = arg;
    uint8_t buffer[8];
    do {
        p->answer = cpika_link_recv_waiting(p->link, buffer, sizeof buffer);
    } while (p->answer == 0);
    return NULL;
}

static void
a_close_ends_a_wait_in_recv(void)
{
    pair p = pair_new();
    CHECK(cpika_link_waits_in_recv(p.link));
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, receive_until_something, &p), 0);
    while (atomic_load(&p.link->users) == 0) {
        sched_yield();
    }
    cpika_link_close(p.link);
    pthread_join(thread, NULL);
    CHECK(p.answer == CPIKA_E_EOF || p.answer == CPIKA_E_CLOSED);
    CHECK_INT(atomic_load(&p.link->closing_fd), -1);
    pair_free(&p);
}

static void
on_nothing(int number)
{
    (void)number;
}

static void
a_signal_ends_a_wait_in_recv_also_where_calls_are_restarted(void)
{
    pair p = pair_new();
    CHECK(cpika_link_waits_in_recv(p.link));
    struct sigaction action = {.sa_handler = on_nothing, .sa_flags = SA_RESTART};
    struct sigaction before;
    const struct itimerval soon = {.it_value = {.tv_usec = 2000}};
    bool sooner = false;
    sigaction(SIGALRM, &action, &before);
    for (int i = 0; i < 20 && !sooner; i++) {  // on a busy machine the signal may come before the wait
        uint8_t buffer[8];
        uint64_t began = cpika_now_ns();
        setitimer(ITIMER_REAL, &soon, NULL);
        CHECK_INT(cpika_link_recv_waiting(p.link, buffer, sizeof buffer), 0);
        sooner = cpika_now_ns() - began < (CPIKA_RECV_WAITS_MS - 5) * CPIKA_NS_PER_MS;
    }
    sigaction(SIGALRM, &before, NULL);
    CHECK(sooner);
    pair_free(&p);
}
#endif

/* ---- close ---- */

static void
after_close_everything_answers_closed_and_the_peer_sees_the_end(void)
{
    pair p = pair_new();
    char buffer[8];
    cpika_link_close(p.link);
    cpika_link_close(p.link);
    CHECK_INT(atomic_load(&p.link->fd), -1);
    CHECK_INT(atomic_load(&p.link->closing_fd), -1);
    CHECK_INT(send_text(p.link, "x"), CPIKA_E_CLOSED);
    CHECK_INT(flush(p.link), CPIKA_E_CLOSED);
    CHECK_INT(recv_into(p.link, buffer, sizeof buffer), CPIKA_E_CLOSED);
    CHECK_INT(cpika_link_poll(p.link, true, -1), CPIKA_E_CLOSED);
    CHECK_INT(read(p.peer, buffer, sizeof buffer), 0);
    pair_free(&p);
}

/* Waits in poll like a connection does; the descriptor must stay taken until it is out. */
static void *
poll_then_recv_until_closed(void *arg)
{
    pair *p = arg;
    char buffer[8];
    long got;
    do {
        int bits = cpika_link_poll(p->link, false, -1);
        got = bits < 0 ? bits : recv_into(p->link, buffer, sizeof buffer);
    } while (got >= 0);
    p->answer = got;
    return NULL;
}

static void
a_close_wakes_a_thread_that_waits_and_its_descriptor_is_closed(void)
{
    for (int round = 0; round < 50; round++) {
        pair p = pair_new();
        pthread_t thread;
        int fd = atomic_load(&p.link->fd);
        CHECK_INT(pthread_create(&thread, NULL, poll_then_recv_until_closed, &p), 0);
        if (round % 2 == 0) {
            // Every other time, wait until it is inside.
            while (atomic_load(&p.link->users) == 0) {
                sched_yield();
            }
        }
        cpika_link_close(p.link);
        pthread_join(thread, NULL);
        CHECK(p.answer == CPIKA_E_CLOSED || p.answer == CPIKA_E_EOF);
        CHECK_INT(atomic_load(&p.link->closing_fd), -1);
        CHECK_INT(fcntl(fd, F_GETFD), -1);
        pair_free(&p);
    }
}

static void
the_last_reference_closes_and_frees(void)
{
    pair p = pair_new();
    char buffer[8];
    cpika_link *second = cpika_link_incref(p.link);
    cpika_link_decref(p.link);
    CHECK_INT(send_text(second, "still"), CPIKA_OK);
    cpika_link_decref(second);
    expect_text(p.peer, "still");
    CHECK_INT(read(p.peer, buffer, sizeof buffer), 0);
    close(p.peer);
}

static void
a_link_without_descriptor_holds_a_queue_for_its_driver(void)
{
    cpika_link *l = cpika_link_new(-1);
    if (!CHECK(l != NULL)) {
        return;
    }
    cpika_link_lock(l);
    CHECK_INT(cpika_outq_push(&l->out, (const uint8_t *)"abc", 3), CPIKA_OK);
    CHECK_INT(cpika_link_flush_locked(l), CPIKA_E_CLOSED);
    CHECK_INT(l->out.bytes, 3);
    cpika_link_unlock(l);
    cpika_link_wake(l);
    cpika_link_close(l);
    cpika_link_decref(l);
}

static void
a_descriptor_that_is_none_is_refused(void)
{
    errno = 0;
    CHECK(cpika_link_new(9999) == NULL);
    CHECK_INT(errno, EBADF);
}

/* ---- fork ---- */

/* Runs in the child; its exit status is the number of checks that failed there. */
static void
child_use_of_the_link(cpika_link *l)
{
    char buffer[8];
    atomic_store(&check_failures, 0);
    int fd = atomic_load(&l->fd);
    CHECK(cpika_link_forked(l));
    CHECK_INT(cpika_link_send_locked(l, (const uint8_t *)"child", 5, cpika_now_ns()), CPIKA_E_CLOSED);
    CHECK_INT(cpika_link_flush_locked(l), CPIKA_E_CLOSED);
    CHECK_INT(cpika_link_hold_locked(l, (const uint8_t *)"child", 5, 1), CPIKA_E_CLOSED);
    CHECK_INT(recv_into(l, buffer, sizeof buffer), CPIKA_E_CLOSED);
    CHECK_INT(cpika_link_poll(l, true, -1), CPIKA_E_CLOSED);
    cpika_link_wake(l);
    cpika_link_drain_wake(l);
    cpika_link_close(l);  // the lock is held, by a thread that is not here
    CHECK_INT(atomic_load(&l->fd), -1);
    CHECK_INT(fcntl(fd, F_GETFD), -1);
    // Behind that lock the queue may be anything, so its memory stays; a leak checker wants it to be seen.
    static cpika_outq left;
    left = l->out;
    cpika_link_decref(l);
    CHECK_INT(left.bytes, 7);
    _exit((int)atomic_load(&check_failures));
}

static void *
fork_while_the_lock_is_held_elsewhere(void *arg)
{
    pair *p = arg;
    pid_t child = fork();
    if (child == 0) {
        child_use_of_the_link(p->link);
    }
    p->answer = child;
    return NULL;
}

static void
in_a_forked_child_the_link_is_dead_and_the_parents_lives_on(void)
{
    pair p = pair_new();
    pthread_t forker;
    int status = -1;

    cpika_link_lock(p.link);
    CHECK_INT(cpika_link_hold_locked(p.link, (const uint8_t *)"queued ", 7, 1), CPIKA_OK);
    CHECK_INT(pthread_create(&forker, NULL, fork_while_the_lock_is_held_elsewhere, &p), 0);
    pthread_join(forker, NULL);
    CHECK_INT(waitpid((pid_t)p.answer, &status, 0), p.answer);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 0);
    cpika_link_unlock(p.link);

    CHECK_INT(cpika_link_poll(p.link, false, 0), 0);  // the child did not wake the parent
    CHECK(!is_readable_now(p.peer));                  // and wrote nothing, shut nothing down
    CHECK_INT(send_text(p.link, "parent"), CPIKA_OK);
    expect_text(p.peer, "queued parent");
    pair_free(&p);
}

static void
a_child_makes_links_of_its_own(void)
{
    pair parents = pair_new();
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        atomic_store(&check_failures, 0);
        pair own = pair_new();
        CHECK(!cpika_link_forked(own.link));
        CHECK_INT(send_text(own.link, "own"), CPIKA_OK);
        expect_text(own.peer, "own");
        pair_free(&own);
        cpika_link_decref(parents.link);
        _exit((int)atomic_load(&check_failures));
    }
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
    CHECK_INT(send_text(parents.link, "parent"), CPIKA_OK);
    expect_text(parents.peer, "parent");
    pair_free(&parents);
}

int
main(int argc, char **argv)
{
    static const check_test tests[] = {
        CHECK_TEST(poll_ends_with_its_time),
        CHECK_TEST(a_wake_is_kept_until_it_is_taken_back),
        CHECK_TEST(a_link_that_nobody_polls_needs_no_wake),
        CHECK_TEST(another_thread_wakes_a_poll),
        CHECK_TEST(a_signal_handler_may_wake),
#if defined(__linux__)
        CHECK_TEST(recv_waits_for_the_first_byte_if_told_to_and_otherwise_never),
        CHECK_TEST(a_full_socket_that_waits_in_recv_makes_no_send_wait),
        CHECK_TEST(a_close_ends_a_wait_in_recv),
        CHECK_TEST(a_signal_ends_a_wait_in_recv_also_where_calls_are_restarted),
#endif
        CHECK_TEST(after_close_everything_answers_closed_and_the_peer_sees_the_end),
        CHECK_TEST(a_close_wakes_a_thread_that_waits_and_its_descriptor_is_closed),
        CHECK_TEST(the_last_reference_closes_and_frees),
        CHECK_TEST(a_link_without_descriptor_holds_a_queue_for_its_driver),
        CHECK_TEST(a_descriptor_that_is_none_is_refused),
        CHECK_TEST(in_a_forked_child_the_link_is_dead_and_the_parents_lives_on),
        CHECK_TEST(a_child_makes_links_of_its_own),
    };
    return check_main(tests, CHECK_COUNT(tests), argc, argv);
}
