/* test_buf.c - growable byte buffer and big-endian integers.
 * Layer: tests.  Owns: nothing.  Threads: one.  Errors: see check.h. */
#include "check.h"

#include <stdlib.h>

#include "buf.h"

static void
a_new_buffer_holds_nothing_and_owns_nothing(void)
{
    cpika_buf b = CPIKA_BUF_INIT;
    CHECK_INT(b.len, 0);
    CHECK(b.data == NULL);
    cpika_buf_free(&b);
}

static void
appended_bytes_stand_behind_each_other_across_growth(void)
{
    cpika_buf b = CPIKA_BUF_INIT;
    for (unsigned i = 0; i < 100000; i++) {
        CHECK_INT(cpika_buf_put8(&b, (uint8_t)(i % 251)), CPIKA_OK);
    }
    CHECK_INT(b.len, 100000);
    CHECK(b.cap >= b.len);
    for (unsigned i = 0; i < 100000; i++) {
        if (!CHECK_INT(b.data[i], i % 251)) {
            break;
        }
    }
    cpika_buf_free(&b);
    CHECK(b.data == NULL);
}

static void
appending_no_bytes_changes_nothing(void)
{
    cpika_buf b = CPIKA_BUF_INIT;
    CHECK_INT(cpika_buf_append(&b, "", 0), CPIKA_OK);
    CHECK_INT(b.len, 0);
    cpika_buf_free(&b);
}

static void
an_impossible_size_is_refused_and_the_contents_stay(void)
{
    cpika_buf b = CPIKA_BUF_INIT;
    CHECK_INT(cpika_buf_append(&b, "abc", 3), CPIKA_OK);
    CHECK_INT(cpika_buf_reserve(&b, SIZE_MAX), CPIKA_E_NOMEM);
    CHECK_INT(cpika_buf_reserve(&b, SIZE_MAX - 2), CPIKA_E_NOMEM);
    CHECK_INT(b.len, 3);
    CHECK_MEM(b.data, "abc", 3);
    cpika_buf_free(&b);
}

static void
integers_are_written_and_read_big_endian_at_any_address(void)
{
    static const uint8_t expected[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
                                       0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0xff};
    cpika_buf b = CPIKA_BUF_INIT;
    CHECK_INT(cpika_buf_put8(&b, 0x01), CPIKA_OK);
    CHECK_INT(cpika_buf_put16(&b, 0x0203), CPIKA_OK);
    CHECK_INT(cpika_buf_put32(&b, 0x04050607), CPIKA_OK);
    CHECK_INT(cpika_buf_put64(&b, UINT64_C(0x08090a0b0c0d0eff)), CPIKA_OK);
    if (CHECK_INT(b.len, sizeof expected)) {
        CHECK_MEM(b.data, expected, sizeof expected);
        CHECK_INT(cpika_get16(b.data + 1), 0x0203);
        CHECK_INT(cpika_get32(b.data + 3), 0x04050607);
        CHECK(cpika_get64(b.data + 7) == UINT64_C(0x08090a0b0c0d0eff));
        CHECK(cpika_get32(b.data + 11) == UINT32_C(0x0c0d0eff));
    }
    cpika_buf_free(&b);
}

int
main(int argc, char **argv)
{
    static const check_test tests[] = {
        CHECK_TEST(a_new_buffer_holds_nothing_and_owns_nothing),
        CHECK_TEST(appended_bytes_stand_behind_each_other_across_growth),
        CHECK_TEST(appending_no_bytes_changes_nothing),
        CHECK_TEST(an_impossible_size_is_refused_and_the_contents_stay),
        CHECK_TEST(integers_are_written_and_read_big_endian_at_any_address),
    };
    return check_main(tests, CHECK_COUNT(tests), argc, argv);
}
