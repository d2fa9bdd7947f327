/* test_keeper_life.c - the background thread: links that come and go, several threads, fork.
 * Layer: tests.  Owns: nothing.  Threads: see kept.h, and those that a test makes.  Errors: see check.h. */
#include "keeper.h"

#include "kept.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

/* ThreadSanitizer ends a child that starts a thread unless its run-time library, which may be a shared one, finds this.
 * NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the name is the library's. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *
__tsan_default_options(void)
{
    return "die_after_fork=0";
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

/* ---- life ---- */

static void
adding_and_removing_twice_is_harmless(void)
{
    kept k = kept_new(0);
    CHECK_INT(cpika_keeper_add(k.link), CPIKA_OK);
    CHECK_INT(atomic_load(&k.link->refs), 2);
    cpika_keeper_remove(k.link);
    CHECK_INT(atomic_load(&k.link->refs), 1);
    cpika_keeper_remove(k.link);
    CHECK_INT(atomic_load(&k.link->refs), 1);
    CHECK_INT(cpika_keeper_add(k.link), CPIKA_OK);
    hold(&k, "again");
    CHECK(expect_bytes(k.peer, "again", 5));
    kept_free(&k);
}

static void
after_removal_the_keeper_does_not_touch_the_link(void)
{
    // The last reference goes right after the removal: a touch afterwards is a use after free for the sanitizers.
    kept clock = kept_new(CPIKA_NS_PER_MS);
    for (int i = 0; i < 300; i++) {
        kept k = kept_new(i % 2 == 0 ? 1 : 0);
        hold(&k, "ack");
        if (i % 3 == 0) {
            await_bytes(k.peer);  // the keeper is at work on it
        }
        kept_free(&k);
    }
    CHECK(expect_heartbeat(clock.peer));
    kept_free(&clock);
}

static void
a_removed_link_gets_no_heartbeats(void)
{
    kept k = kept_new(2 * CPIKA_NS_PER_MS);
    kept clock = kept_new(10 * CPIKA_NS_PER_MS);
    CHECK(expect_heartbeat(k.peer));
    cpika_keeper_remove(k.link);
    uint64_t sent = k.link->heartbeats_sent;
    for (int i = 0; i < 5; i++) {
        CHECK(expect_heartbeat(clock.peer));
    }
    CHECK_INT(k.link->heartbeats_sent, sent);
    kept_free(&k);
    kept_free(&clock);
}

static void *
add_hold_remove(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++) {
        kept k = kept_new(CPIKA_NS_PER_MS);
        hold(&k, "ack");
        kept_free(&k);
    }
    return NULL;
}

static void
links_come_and_go_in_several_threads_at_once(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        CHECK_INT(pthread_create(&threads[i], NULL, add_hold_remove, NULL), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void *
append_beside_the_keeper(void *arg)
{
    kept *k = arg;
    for (int i = 0; i < 2000; i++) {
        cpika_link_lock(k->link);
        CHECK(cpika_link_hold_locked(k->link, (const uint8_t *)"0123456789", 10, cpika_now_ns()) == CPIKA_OK);
        cpika_link_unlock(k->link);
        cpika_keeper_notify_held();
    }
    return NULL;
}

static void
the_keeper_and_two_appending_threads_keep_every_piece_whole(void)
{
    kept k = kept_new(CPIKA_NS_PER_MS);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        CHECK_INT(pthread_create(&threads[i], NULL, append_beside_the_keeper, &k), 0);
    }
    for (int pieces = 0; pieces < 4000;) {
        uint8_t first;
        if (!CHECK(await_bytes(k.peer) != 0) || !CHECK_INT(recv(k.peer, &first, 1, MSG_PEEK), 1)) {
            break;
        }
        if (first == CPIKA_FRAME_HEARTBEAT) {
            CHECK(expect_heartbeat(k.peer));
        } else if (expect_bytes(k.peer, "0123456789", 10)) {
            pieces++;
        } else {
            break;
        }
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    kept_free(&k);
}

static volatile sig_atomic_t signalled_in_keeper;
static pthread_t main_thread;

static void
note_thread(int number)
{
    (void)number;
    if (!pthread_equal(pthread_self(), main_thread)) {
        signalled_in_keeper = 1;
    }
}

static void
signals_are_left_to_the_programs_own_threads(void)
{
    kept k = kept_new(2 * CPIKA_NS_PER_MS);
    struct sigaction action = {.sa_handler = note_thread};
    struct sigaction before;
    sigset_t one;
    sigset_t mask;

    CHECK(expect_heartbeat(k.peer));
    main_thread = pthread_self();
    sigaction(SIGUSR2, &action, &before);
    sigemptyset(&one);
    sigaddset(&one, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &one, &mask);
    kill(getpid(), SIGUSR2);  // to any thread that does not block it: there is none
    for (int i = 0; i < 5; i++) {
        CHECK(expect_heartbeat(k.peer));
    }
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    CHECK_INT(signalled_in_keeper, 0);
    sigaction(SIGUSR2, &before, NULL);
    kept_free(&k);
}

/* ---- fork ---- */

static void
child_with_its_own_keeper(kept *parents)
{
    atomic_store(&check_failures, 0);
    CHECK_INT(atomic_load(&parents->link->fd), -1);  // closed by the fork itself
    CHECK_INT(cpika_keeper_add(parents->link), CPIKA_E_CLOSED);
    cpika_keeper_remove(parents->link);
    CHECK_INT(atomic_load(&parents->link->refs), 1);
    cpika_keeper_notify_held();
    cpika_keeper_notify_heartbeat();
    cpika_link_close(parents->link);
    cpika_link_decref(parents->link);

    kept own = kept_new(5 * CPIKA_NS_PER_MS);
    CHECK(expect_heartbeat(own.peer));
    hold(&own, "ack");
    uint8_t first;
    while (await_bytes(own.peer) != 0 && recv(own.peer, &first, 1, MSG_PEEK) == 1
           && first == CPIKA_FRAME_HEARTBEAT) {
        CHECK(expect_heartbeat(own.peer));
    }
    CHECK(expect_bytes(own.peer, "ack", 3));
    kept_free(&own);
    _exit(atomic_load(&check_failures) == 0 ? 0 : 1);
}

static void
a_forked_child_has_no_part_in_the_parents_links_and_a_keeper_of_its_own(void)
{
    kept k = kept_new(2 * CPIKA_NS_PER_MS);
    int failed = 0;

    for (int i = 0; i < 5; i++) {
        CHECK(expect_heartbeat(k.peer));  // the keeper is busy around the fork
        pid_t child = fork();
        if (child == 0) {
            child_with_its_own_keeper(&k);
        }
        int status = -1;
        CHECK_INT(waitpid(child, &status, 0), child);
        failed += status != 0;
    }
    CHECK_INT(failed, 0);
    CHECK(!cpika_link_forked(k.link));
    CHECK(expect_heartbeat(k.peer));
    kept_free(&k);
}

static void
a_child_that_lives_on_does_not_keep_the_parents_connection_open(void)
{
    kept k = kept_new(CPIKA_NS_PER_S * 3600);
    int gate[2];
    char sink;

    CHECK_INT(pipe(gate), 0);
    pid_t parent = fork();  // "the program", which forks a worker and dies
    if (parent == 0) {
        // The link of the test itself is closed here by the fork; the program makes one with the same peer.
        kept own = kept_new(CPIKA_NS_PER_S * 3600);
        pid_t worker = fork();
        if (worker == 0) {
            close(gate[1]);
            close(own.peer);
            _exit(read(gate[0], &sink, 1) == 0 ? 0 : 1);  // lives until the test is over
        }
        // Only the program's own descriptor is left: shut by its death, as a kill would do it.
        cpika_keeper_remove(own.link);
        close(atomic_exchange(&own.link->fd, -1));
        _exit(await_bytes(own.peer) != 0 && read(own.peer, &sink, 1) == 0 ? 0 : 1);
    }
    int status = -1;
    CHECK_INT(waitpid(parent, &status, 0), parent);
    CHECK_INT(status, 0);
    close(gate[0]);
    close(gate[1]);
    kept_free(&k);
}

int
main(int argc, char **argv)
{
    static const check_test tests[] = {
        CHECK_TEST(adding_and_removing_twice_is_harmless),
        CHECK_TEST(after_removal_the_keeper_does_not_touch_the_link),
        CHECK_TEST(a_removed_link_gets_no_heartbeats),
        CHECK_TEST(links_come_and_go_in_several_threads_at_once),
        CHECK_TEST(the_keeper_and_two_appending_threads_keep_every_piece_whole),
        CHECK_TEST(signals_are_left_to_the_programs_own_threads),
        CHECK_TEST(a_forked_child_has_no_part_in_the_parents_links_and_a_keeper_of_its_own),
        CHECK_TEST(a_child_that_lives_on_does_not_keep_the_parents_connection_open),
    };
    return check_main(tests, CHECK_COUNT(tests), argc, argv);
}
