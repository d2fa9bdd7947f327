/* test_outq.c - the output queue: order, borrowed memory, bounded memory.
 * Layer: tests.  Owns: nothing.  Threads: one.  Errors: see check.h. */
#include "posix.h"

#include "check.h"

#include <stdlib.h>
#include <sys/uio.h>

#include "outq.h"

/* What the queue would send, in order; the caller frees. */
static uint8_t *
outq_contents(const cpika_outq *q)
{
    int max = (int)q->count;
    struct iovec *iov = calloc((size_t)max + 1, sizeof *iov);
    uint8_t *all = malloc(q->bytes + 1);
    size_t at = 0;

    CHECK_INT(cpika_outq_iov(q, iov, max + 1), max);
    for (int i = 0; i < max; i++) {
        CHECK(iov[i].iov_len > 0);
        memcpy(all + at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    CHECK_INT(at, q->bytes);
    all[at] = 0;
    free(iov);
    return all;
}

static void
check_contents(const cpika_outq *q, const char *expected)
{
    uint8_t *all = outq_contents(q);
    CHECK_STR((const char *)all, expected);
    free(all);
}

static int
push(cpika_outq *q, const char *text)
{
    return cpika_outq_push(q, (const uint8_t *)text, strlen(text));
}

static int
borrow(cpika_outq *q, const char *text)
{
    return cpika_outq_push_borrowed(q, (const uint8_t *)text, strlen(text));
}

static void
small_pushes_share_one_segment(void)
{
    cpika_outq q = CPIKA_OUTQ_INIT;
    for (int i = 0; i < 100; i++) {
        CHECK_INT(push(&q, "ab"), CPIKA_OK);
    }
    CHECK_INT(q.count, 1);
    CHECK_INT(q.bytes, 200);
    CHECK_INT(q.borrowed, 0);
    cpika_outq_free(&q);
    CHECK_INT(q.bytes, 0);
}

static void
copied_and_borrowed_bytes_leave_in_the_order_of_the_pushes(void)
{
    cpika_outq q = CPIKA_OUTQ_INIT;
    CHECK_INT(push(&q, "head1 "), CPIKA_OK);
    CHECK_INT(borrow(&q, "body1 "), CPIKA_OK);
    CHECK_INT(push(&q, "end1 "), CPIKA_OK);
    CHECK_INT(push(&q, "head2 "), CPIKA_OK);
    CHECK_INT(borrow(&q, "body2 "), CPIKA_OK);
    CHECK_INT(push(&q, "end2"), CPIKA_OK);
    CHECK_INT(q.borrowed, 12);
    CHECK_INT(q.count, 5);
    check_contents(&q, "head1 body1 end1 head2 body2 end2");
    cpika_outq_free(&q);
}

static void
consumed_bytes_are_gone_wherever_the_cut_falls(void)
{
    static const char all[] = "head body end";
    for (size_t cut = 0; cut <= strlen(all); cut++) {
        cpika_outq q = CPIKA_OUTQ_INIT;
        CHECK_INT(push(&q, "head "), CPIKA_OK);
        CHECK_INT(borrow(&q, "body "), CPIKA_OK);
        CHECK_INT(push(&q, "end"), CPIKA_OK);
        cpika_outq_consume(&q, cut);
        check_contents(&q, all + cut);
        CHECK_INT(q.borrowed, cut <= 5 ? 5 : cut >= 10 ? 0 : 10 - cut);
        CHECK_INT(push(&q, " more"), CPIKA_OK);
        cpika_outq_consume(&q, q.bytes - 5);
        check_contents(&q, " more");
        cpika_outq_free(&q);
    }
}

static void
taken_back_bytes_are_gone_wherever_the_cut_falls(void)
{
    static const char all[] = "head body end";
    for (size_t cut = 0; cut <= strlen(all); cut++) {
        cpika_outq q = CPIKA_OUTQ_INIT;
        char expected[64];
        CHECK_INT(push(&q, "head "), CPIKA_OK);
        CHECK_INT(borrow(&q, "body "), CPIKA_OK);
        CHECK_INT(push(&q, "end"), CPIKA_OK);
        cpika_outq_unpush(&q, cut);
        (void)snprintf(expected, sizeof expected, "%.*s", (int)(strlen(all) - cut), all);
        check_contents(&q, expected);
        CHECK_INT(push(&q, "!"), CPIKA_OK);
        (void)snprintf(expected, sizeof expected, "%.*s!", (int)(strlen(all) - cut), all);
        check_contents(&q, expected);
        cpika_outq_free(&q);
    }
}

static void
adopted_bytes_survive_their_lender_and_keep_their_place(void)
{
    cpika_outq q = CPIKA_OUTQ_INIT;
    char *first = strdup("first ");
    char *second = strdup("second ");

    CHECK_INT(push(&q, "a "), CPIKA_OK);
    CHECK_INT(borrow(&q, first), CPIKA_OK);
    CHECK_INT(push(&q, "b "), CPIKA_OK);
    CHECK_INT(borrow(&q, second), CPIKA_OK);
    cpika_outq_consume(&q, 4);  // half of the first has left
    CHECK_INT(cpika_outq_adopt(&q), CPIKA_OK);
    CHECK_INT(q.borrowed, 0);
    free(first);
    free(second);
    CHECK_INT(push(&q, "c"), CPIKA_OK);
    check_contents(&q, "rst b second c");
    CHECK_INT(cpika_outq_adopt(&q), CPIKA_OK);
    cpika_outq_consume(&q, 7);
    cpika_outq_unpush(&q, 2);
    check_contents(&q, "econd");
    cpika_outq_free(&q);
}

static void
forgotten_bytes_are_no_more_read_and_what_stays_is_counted(void)
{
    cpika_outq q = CPIKA_OUTQ_INIT;
    char *lent = strdup("lent ");

    CHECK_INT(push(&q, "a "), CPIKA_OK);
    CHECK_INT(borrow(&q, lent), CPIKA_OK);
    CHECK_INT(push(&q, "b"), CPIKA_OK);
    cpika_outq_consume(&q, 4);  // half of them has left
    cpika_outq_forget_borrowed(&q);
    free(lent);
    CHECK_INT(q.borrowed, 0);
    check_contents(&q, "b");
    cpika_outq_consume(&q, 1);
    CHECK_INT(q.count, 0);
    cpika_outq_forget_borrowed(&q);
    CHECK_INT(q.bytes, 0);
    cpika_outq_free(&q);
}

static void
no_bytes_make_no_segment(void)
{
    cpika_outq q = CPIKA_OUTQ_INIT;
    CHECK_INT(push(&q, ""), CPIKA_OK);
    CHECK_INT(borrow(&q, ""), CPIKA_OK);
    cpika_outq_consume(&q, 0);
    cpika_outq_unpush(&q, 0);
    CHECK_INT(cpika_outq_adopt(&q), CPIKA_OK);
    CHECK_INT(q.count, 0);
    CHECK(q.segments == NULL);
    cpika_outq_free(&q);
}

static void
at_most_the_wanted_number_of_places_is_filled(void)
{
    cpika_outq q = CPIKA_OUTQ_INIT;
    struct iovec iov[4];
    for (int i = 0; i < 10; i++) {
        CHECK_INT(borrow(&q, "0123456789"), CPIKA_OK);
    }
    CHECK_INT(cpika_outq_iov(&q, iov, 4), 4);
    cpika_outq_consume(&q, 75);
    CHECK_INT(cpika_outq_iov(&q, iov, 4), 3);
    CHECK_INT(iov[0].iov_len, 5);
    CHECK_INT(cpika_outq_iov(&q, iov, 0), 0);
    cpika_outq_free(&q);
}

static void
steady_traffic_uses_the_same_memory_again(void)
{
    cpika_outq q = CPIKA_OUTQ_INIT;
    CHECK_INT(push(&q, "0123456789"), CPIKA_OK);
    cpika_outq_consume(&q, 10);
    const cpika_chunk *chunk = q.open;
    const cpika_segment *ring = q.segments;
    for (int i = 0; i < 10000; i++) {
        CHECK_INT(push(&q, "0123456789"), CPIKA_OK);
        CHECK_INT(borrow(&q, "body"), CPIKA_OK);
        CHECK_INT(push(&q, "end"), CPIKA_OK);
        cpika_outq_consume(&q, 17);
    }
    CHECK(q.open == chunk);
    CHECK(q.segments == ring);
    cpika_outq_free(&q);
}

static void
a_queue_that_is_never_empty_does_not_grow(void)
{
    cpika_outq q = CPIKA_OUTQ_INIT;
    uint8_t piece[300];
    memset(piece, 'x', sizeof piece);
    for (int i = 0; i < 20000; i++) {
        CHECK_INT(cpika_outq_push(&q, piece, sizeof piece), CPIKA_OK);
        if (i >= 100) {
            cpika_outq_consume(&q, sizeof piece);
        }
    }
    CHECK_INT(q.bytes, 100 * sizeof piece);
    CHECK(q.count <= 3);
    CHECK_INT(q.cap, 16);
    cpika_outq_free(&q);
}

static void
the_memory_of_a_burst_is_given_back(void)
{
    cpika_outq q = CPIKA_OUTQ_INIT;
    for (int i = 0; i < 5000; i++) {
        CHECK_INT(borrow(&q, "x"), CPIKA_OK);
        CHECK_INT(push(&q, "y"), CPIKA_OK);
    }
    CHECK(q.cap >= 10000);
    cpika_outq_consume(&q, q.bytes);
    CHECK_INT(q.cap, 0);
    CHECK(q.segments == NULL);
    CHECK_INT(push(&q, "after"), CPIKA_OK);
    check_contents(&q, "after");
    cpika_outq_free(&q);
}

static void
a_large_copy_is_kept_whole_and_its_memory_given_back(void)
{
    enum { LARGE = 300000 };
    cpika_outq q = CPIKA_OUTQ_INIT;
    uint8_t *large = malloc(LARGE);
    for (size_t i = 0; i < LARGE; i++) {
        large[i] = (uint8_t)(i % 253);
    }
    CHECK_INT(push(&q, "head"), CPIKA_OK);
    CHECK_INT(cpika_outq_push(&q, large, LARGE), CPIKA_OK);
    CHECK_INT(push(&q, "tail"), CPIKA_OK);
    uint8_t *all = outq_contents(&q);
    CHECK_MEM(all, "head", 4);
    CHECK_MEM(all + 4, large, LARGE);
    CHECK_MEM(all + 4 + LARGE, "tail", 4);
    free(all);
    cpika_outq_consume(&q, q.bytes);
    CHECK_INT(cpika_outq_push(&q, large, LARGE), CPIKA_OK);
    cpika_outq_consume(&q, LARGE);
    CHECK(q.open == NULL);
    free(large);
    cpika_outq_free(&q);
}

static void
reserved_pushes_find_their_room(void)
{
    cpika_outq q = CPIKA_OUTQ_INIT;
    CHECK_INT(cpika_outq_reserve(&q, 10000), CPIKA_OK);
    const cpika_segment *ring = q.segments;
    const cpika_chunk *open = q.open;
    for (int i = 0; i < 5000; i++) {
        CHECK_INT(push(&q, "0123456789abcdef"), CPIKA_OK);
        CHECK_INT(borrow(&q, "body"), CPIKA_OK);
    }
    CHECK(q.segments == ring);
    CHECK(q.open == open);
    cpika_outq_unpush(&q, q.bytes);
    CHECK_INT(q.count, 0);
    CHECK(q.open == NULL);  // larger than what is kept
    cpika_outq_free(&q);
}

static void
an_impossible_size_is_refused_and_the_queue_stays(void)
{
    cpika_outq q = CPIKA_OUTQ_INIT;
    CHECK_INT(push(&q, "abc"), CPIKA_OK);
    CHECK_INT(cpika_outq_push(&q, (const uint8_t *)"x", SIZE_MAX), CPIKA_E_NOMEM);
    CHECK_INT(cpika_outq_reserve(&q, SIZE_MAX), CPIKA_E_NOMEM);
    CHECK_INT(cpika_outq_reserve(&q, SIZE_MAX / 64), CPIKA_E_NOMEM);
    check_contents(&q, "abc");
    cpika_outq_free(&q);
}

/* A queue of any history equals a plain array of the same history. */
static void
a_random_history_keeps_every_byte_in_order(void)
{
    enum { STEPS = 20000, MODEL = 1 << 20, LENT = 4096 };
    cpika_outq q = CPIKA_OUTQ_INIT;
    uint8_t *model = malloc(MODEL);
    uint8_t *lent = malloc(LENT);
    size_t begin = 0;
    size_t end = 0;
    uint32_t random = 12345;

    for (size_t i = 0; i < LENT; i++) {
        lent[i] = (uint8_t)(i * 7);
    }
    for (int step = 0; step < STEPS; step++) {
        random = random * 1664525u + 1013904223u;
        size_t n = (random >> 8) % 200;
        size_t from = (random >> 16) % (LENT - 200);
        if (end + n > MODEL) {
            memmove(model, model + begin, end - begin);
            end -= begin;
            begin = 0;
        }
        switch (random >> 29) {
        case 0:
        case 1:
        case 2:
            CHECK_INT(cpika_outq_push(&q, lent + from, n), CPIKA_OK);
            memcpy(model + end, lent + from, n);
            end += n;
            break;
        case 3:
            CHECK_INT(cpika_outq_push_borrowed(&q, lent + from, n), CPIKA_OK);
            memcpy(model + end, lent + from, n);
            end += n;
            break;
        case 4:
            n = n < end - begin ? n : end - begin;
            cpika_outq_unpush(&q, n);
            end -= n;
            break;
        case 5:
            CHECK_INT(cpika_outq_adopt(&q), CPIKA_OK);
            CHECK_INT(q.borrowed, 0);
            break;
        default:
            n = n * 2 < end - begin ? n * 2 : end - begin;
            cpika_outq_consume(&q, n);
            begin += n;
            break;
        }
        if (step % 50 == 0) {
            uint8_t *all = outq_contents(&q);
            if (!CHECK_INT(q.bytes, end - begin) || !CHECK_MEM(all, model + begin, q.bytes)) {
                free(all);
                break;
            }
            free(all);
        }
    }
    cpika_outq_free(&q);
    free(model);
    free(lent);
}

int
main(int argc, char **argv)
{
    static const check_test tests[] = {
        CHECK_TEST(small_pushes_share_one_segment),
        CHECK_TEST(copied_and_borrowed_bytes_leave_in_the_order_of_the_pushes),
        CHECK_TEST(consumed_bytes_are_gone_wherever_the_cut_falls),
        CHECK_TEST(taken_back_bytes_are_gone_wherever_the_cut_falls),
        CHECK_TEST(adopted_bytes_survive_their_lender_and_keep_their_place),
        CHECK_TEST(forgotten_bytes_are_no_more_read_and_what_stays_is_counted),
        CHECK_TEST(no_bytes_make_no_segment),
        CHECK_TEST(at_most_the_wanted_number_of_places_is_filled),
        CHECK_TEST(steady_traffic_uses_the_same_memory_again),
        CHECK_TEST(a_queue_that_is_never_empty_does_not_grow),
        CHECK_TEST(the_memory_of_a_burst_is_given_back),
        CHECK_TEST(a_large_copy_is_kept_whole_and_its_memory_given_back),
        CHECK_TEST(reserved_pushes_find_their_room),
        CHECK_TEST(an_impossible_size_is_refused_and_the_queue_stays),
        CHECK_TEST(a_random_history_keeps_every_byte_in_order),
    };
    return check_main(tests, CHECK_COUNT(tests), argc, argv);
}
