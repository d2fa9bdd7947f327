/* test_link.c - the link over real sockets: order, full sockets, errors.
 * Layer: tests.  Owns: nothing.  Threads: see each test.  Errors: see check.h. */
#include "link.h"

#include "pair.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/uio.h>

#include "endian.h"

/* ---- sending ---- */

static void
with_an_empty_queue_bytes_leave_at_once(void)
{
    pair p = pair_new();
    uint64_t before = cpika_now_ns();
    CHECK_INT(send_text(p.link, "hello"), CPIKA_OK);
    CHECK_INT(p.link->out.bytes, 0);
    CHECK(p.link->out.open == NULL);  // no copy was made
    CHECK(p.link->last_send_ns >= before);
    expect_text(p.peer, "hello");
    pair_free(&p);
}

static void
bytes_sent_behind_queued_ones_leave_behind_them(void)
{
    pair p = pair_new();
    cpika_link_lock(p.link);
    CHECK_INT(cpika_link_hold_locked(p.link, (const uint8_t *)"first ", 6, cpika_now_ns()), CPIKA_OK);
    CHECK(p.link->held);
    CHECK(!is_readable_now(p.peer));
    CHECK_INT(cpika_link_send_locked(p.link, (const uint8_t *)"second", 6, cpika_now_ns()), CPIKA_OK);
    CHECK(!p.link->held);
    cpika_link_unlock(p.link);
    expect_text(p.peer, "first second");
    pair_free(&p);
}

static void
the_earliest_of_several_holds_says_when_they_leave(void)
{
    pair p = pair_new();
    cpika_link_lock(p.link);
    CHECK_INT(cpika_link_hold_locked(p.link, (const uint8_t *)"a", 1, 200), CPIKA_OK);
    CHECK_INT(cpika_link_hold_locked(p.link, (const uint8_t *)"b", 1, 100), CPIKA_OK);
    CHECK_INT(p.link->held_until_ns, 100);
    CHECK_INT(cpika_link_flush_locked(p.link), CPIKA_OK);
    CHECK_INT(cpika_link_hold_locked(p.link, (const uint8_t *)"c", 1, 300), CPIKA_OK);
    CHECK_INT(p.link->held_until_ns, 300);
    cpika_link_unlock(p.link);
    expect_text(p.peer, "ab");
    pair_free(&p);
}

static void
what_a_full_socket_does_not_take_is_queued_and_leaves_later_in_order(void)
{
    enum { TOTAL = 400000, PIECE = 1000 };
    pair p = pair_new();
    uint8_t *all = malloc(TOTAL);
    uint8_t *got = malloc(TOTAL);
    bool was_full = false;
    size_t received = 0;

    make_small(&p);
    for (size_t i = 0; i < TOTAL; i++) {
        all[i] = (uint8_t)(i % 249);
    }
    cpika_link_lock(p.link);
    for (size_t at = 0; at < TOTAL; at += PIECE) {
        int rc = cpika_link_send_locked(p.link, all + at, PIECE, cpika_now_ns());
        CHECK(rc == CPIKA_OK || rc == CPIKA_AGAIN);
        was_full = was_full || rc == CPIKA_AGAIN;
    }
    cpika_link_unlock(p.link);
    CHECK(was_full);
    CHECK(p.link->out.bytes > 0);
    CHECK(!(cpika_link_poll(p.link, true, 0) & CPIKA_WRITABLE));
    while (received < TOTAL) {
        ssize_t part = read(p.peer, got + received, TOTAL - received);
        if (!CHECK(part > 0)) {
            break;
        }
        received += (size_t)part;
        int rc = flush(p.link);
        CHECK(rc == CPIKA_OK || rc == CPIKA_AGAIN);
    }
    CHECK_INT(p.link->out.bytes, 0);
    CHECK_MEM(got, all, TOTAL);
    free(all);
    free(got);
    pair_free(&p);
}

static void
hundreds_of_borrowed_pieces_leave_in_order(void)
{
    enum { PIECES = 500 };
    pair p = pair_new();
    uint8_t body[PIECES];
    uint8_t got[2 * PIECES];

    cpika_link_lock(p.link);
    for (size_t i = 0; i < PIECES; i++) {
        body[i] = (uint8_t)i;
        CHECK_INT(cpika_outq_push(&p.link->out, (const uint8_t *)"h", 1), CPIKA_OK);
        CHECK_INT(cpika_outq_push_borrowed(&p.link->out, &body[i], 1), CPIKA_OK);
    }
    CHECK_INT(cpika_link_flush_locked(p.link), CPIKA_OK);
    cpika_link_unlock(p.link);
    CHECK_INT(read_all(p.peer, got, sizeof got), sizeof got);
    for (size_t i = 0; i < PIECES; i++) {
        CHECK_INT(got[2 * i], 'h');
        CHECK_INT(got[2 * i + 1], body[i]);
    }
    pair_free(&p);
}

static void
a_message_adopted_after_a_partial_send_arrives_whole(void)
{
    enum { BODY = 300000 };
    pair p = pair_new();
    uint8_t *body = malloc(BODY);
    uint8_t *expected = malloc(BODY);
    uint8_t *got = malloc(BODY + 7);
    size_t received = 0;

    make_small(&p);
    for (size_t i = 0; i < BODY; i++) {
        expected[i] = body[i] = (uint8_t)(i % 241);
    }
    cpika_link_lock(p.link);
    CHECK_INT(cpika_outq_push(&p.link->out, (const uint8_t *)"head", 4), CPIKA_OK);
    CHECK_INT(cpika_outq_push_borrowed(&p.link->out, body, BODY), CPIKA_OK);
    CHECK_INT(cpika_outq_push(&p.link->out, (const uint8_t *)"end", 3), CPIKA_OK);
    CHECK_INT(cpika_link_flush_locked(p.link), CPIKA_AGAIN);
    CHECK(p.link->out.borrowed > 0 && p.link->out.borrowed < BODY);
    CHECK_INT(cpika_outq_adopt(&p.link->out), CPIKA_OK);
    cpika_link_unlock(p.link);
    memset(body, 0, BODY);  // the lender's call has ended
    free(body);
    while (received < BODY + 7) {
        ssize_t part = read(p.peer, got + received, BODY + 7 - received);
        if (!CHECK(part > 0)) {
            break;
        }
        received += (size_t)part;
        CHECK(flush(p.link) >= 0);
    }
    CHECK_MEM(got, "head", 4);
    CHECK_MEM(got + 4, expected, BODY);
    CHECK_MEM(got + 4 + BODY, "end", 3);
    free(expected);
    free(got);
    pair_free(&p);
}

/* ---- two threads ---- */

enum { APPENDERS = 2, APPENDS = 3000, APPEND_SIZE = 24 };

typedef struct {
    cpika_link *link;
    uint8_t id;
} appender;

static void *
append_many(void *arg)
{
    const appender *a = arg;
    uint8_t piece[APPEND_SIZE];
    memset(piece, a->id, sizeof piece);
    for (uint32_t i = 0; i < APPENDS; i++) {
        cpika_put32(piece + 1, i);
        cpika_link_lock(a->link);
        int rc = i % 3 == 0 ? cpika_link_hold_locked(a->link, piece, sizeof piece, cpika_now_ns())
                            : cpika_link_send_locked(a->link, piece, sizeof piece, cpika_now_ns());
        cpika_link_unlock(a->link);
        CHECK(rc >= 0);
    }
    int rc;
    while ((rc = flush(a->link)) == CPIKA_AGAIN) {
        cpika_link_poll(a->link, true, -1);
    }
    CHECK_INT(rc, CPIKA_OK);
    return NULL;
}

static void
pieces_of_two_threads_stay_whole_and_each_threads_order_holds(void)
{
    pair p = pair_new();
    pthread_t threads[APPENDERS];
    appender appenders[APPENDERS];
    uint32_t next[APPENDERS] = {0};

    for (int i = 0; i < APPENDERS; i++) {
        appenders[i] = (appender){p.link, (uint8_t)i};
        CHECK_INT(pthread_create(&threads[i], NULL, append_many, &appenders[i]), 0);
    }
    for (unsigned i = 0; i < APPENDERS * APPENDS; i++) {
        uint8_t piece[APPEND_SIZE];
        if (!CHECK_INT(read_all(p.peer, piece, sizeof piece), sizeof piece) || !CHECK(piece[0] < APPENDERS)) {
            break;
        }
        CHECK_INT(cpika_get32(piece + 1), next[piece[0]]);
        next[piece[0]]++;
        CHECK_INT(piece[APPEND_SIZE - 1], piece[0]);
    }
    for (unsigned i = 0; i < APPENDERS; i++) {
        pthread_join(threads[i], NULL);
    }
    pair_free(&p);
}

/* ---- errors ---- */

static void
a_send_to_a_gone_peer_is_remembered_and_raises_no_signal(void)
{
    pair p = pair_new();
    close(p.peer);
    p.peer = -1;
    CHECK_INT(send_text(p.link, "x"), CPIKA_E_SYS);
    CHECK_INT(p.link->sys_errno, EPIPE);
    CHECK_INT(send_text(p.link, "y"), CPIKA_E_SYS);
    CHECK_INT(flush(p.link), CPIKA_E_SYS);
    CHECK_INT(p.link->sys_errno, EPIPE);
    CHECK(cpika_link_poll(p.link, true, -1) == (CPIKA_READABLE | CPIKA_WRITABLE));
    pair_free(&p);
}

static void
a_failed_flush_keeps_what_is_queued(void)
{
    pair p = pair_new();
    cpika_link_lock(p.link);
    CHECK_INT(cpika_link_hold_locked(p.link, (const uint8_t *)"ack", 3, 1), CPIKA_OK);
    close(p.peer);
    p.peer = -1;
    CHECK_INT(cpika_link_flush_locked(p.link), CPIKA_E_SYS);
    CHECK_INT(p.link->out.bytes, 3);
    CHECK_INT(cpika_link_hold_locked(p.link, (const uint8_t *)"ack", 3, 1), CPIKA_E_SYS);
    CHECK_INT(p.link->out.bytes, 3);
    cpika_link_unlock(p.link);
    pair_free(&p);
}

/* A TCP pair over the loopback, for errors that local sockets do not have. */
static pair
pair_new_tcp(void)
{
    pair p = {NULL, -1, 0};
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;

    CHECK_INT(bind(listener, (struct sockaddr *)&address, size), 0);
    CHECK_INT(listen(listener, 1), 0);
    CHECK_INT(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    CHECK_INT(connect(client, (struct sockaddr *)&address, size), 0);
    p.peer = accept(listener, NULL, NULL);
    CHECK(p.peer >= 0);
    close(listener);
    p.link = cpika_link_new(client);
    CHECK(p.link != NULL);
    return p;
}

static void
a_reset_of_the_peer_is_an_error_of_recv(void)
{
    pair p = pair_new_tcp();
    uint8_t buffer[16];
    struct linger at_once = {1, 0};
    setsockopt(p.peer, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(p.peer);
    p.peer = -1;
    CHECK(cpika_link_poll(p.link, false, -1) & CPIKA_READABLE);
    CHECK_INT(recv_into(p.link, buffer, sizeof buffer), CPIKA_E_SYS);
    CHECK_INT(atomic_load(&p.link->recv_errno), ECONNRESET);
    CHECK_INT(p.link->sys_errno, 0);
    pair_free(&p);
}

/* ---- receiving ---- */

static void
recv_takes_what_is_there_and_never_waits(void)
{
    pair p = pair_new();
    char buffer[16] = {0};
    char more[16] = {0};
    struct iovec iov[2] = {{buffer, 4}, {more, sizeof more}};

    CHECK_INT(recv_into(p.link, buffer, sizeof buffer), 0);
    CHECK_INT(write(p.peer, "abcdefgh", 8), 8);
    CHECK_INT(cpika_link_poll(p.link, false, -1), CPIKA_READABLE);
    CHECK_INT(cpika_link_recv(p.link, iov, 2), 8);
    CHECK_MEM(buffer, "abcd", 4);
    CHECK_MEM(more, "efgh", 4);
    CHECK_INT(cpika_link_recv(p.link, iov, 2), 0);
    shutdown(p.peer, SHUT_WR);
    CHECK_INT(recv_into(p.link, buffer, sizeof buffer), CPIKA_E_EOF);
    pair_free(&p);
}

static void
recv_does_not_wait_even_if_somebody_made_the_socket_blocking(void)
{
    pair p = pair_new();
    char buffer[8] = {0};
    struct iovec iov[2] = {{buffer, 4}, {buffer + 4, 4}};
    fcntl(atomic_load(&p.link->fd), F_SETFL, 0);
    CHECK_INT(cpika_link_recv(p.link, iov, 1), 0);
    CHECK_INT(cpika_link_recv(p.link, iov, 2), 0);
    pair_free(&p);
}

int
main(int argc, char **argv)
{
    static const check_test tests[] = {
        CHECK_TEST(with_an_empty_queue_bytes_leave_at_once),
        CHECK_TEST(bytes_sent_behind_queued_ones_leave_behind_them),
        CHECK_TEST(the_earliest_of_several_holds_says_when_they_leave),
        CHECK_TEST(what_a_full_socket_does_not_take_is_queued_and_leaves_later_in_order),
        CHECK_TEST(hundreds_of_borrowed_pieces_leave_in_order),
        CHECK_TEST(a_message_adopted_after_a_partial_send_arrives_whole),
        CHECK_TEST(pieces_of_two_threads_stay_whole_and_each_threads_order_holds),
        CHECK_TEST(a_send_to_a_gone_peer_is_remembered_and_raises_no_signal),
        CHECK_TEST(a_failed_flush_keeps_what_is_queued),
        CHECK_TEST(a_reset_of_the_peer_is_an_error_of_recv),
        CHECK_TEST(recv_takes_what_is_there_and_never_waits),
        CHECK_TEST(recv_does_not_wait_even_if_somebody_made_the_socket_blocking),
    };
    return check_main(tests, CHECK_COUNT(tests), argc, argv);
}
