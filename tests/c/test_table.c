/* test_table.c - the walker of tables: every kind, every bound, depth.
 * Layer: tests.  Owns: nothing.  Threads: one.  Errors: check.h counts them. */
#include <stdlib.h>

#include "check.h"
#include "endian.h"
#include "table.h"

/* Walks a copy in memory of exactly that size, so that a read behind it is seen by sanitizers and valgrind. */
static int
walk(int (*how)(const uint8_t *, size_t, size_t *), const void *bytes, size_t n, size_t *pos)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    int rc = CPIKA_E_NOMEM;

    *pos = 0;
    if (CHECK(copy != NULL)) {
        memcpy(copy, bytes, n);
        rc = how(copy, n, pos);
    }
    free(copy);
    return rc;
}

static const struct {
    const char *bytes;
    size_t n;
} values[] = {
    {"t\1", 2},
    {"b\1", 2},
    {"B\1", 2},
    {"U\1\2", 3},
    {"u\1\2", 3},
    {"s\1\2", 3},
    {"I\1\2\3\4", 5},
    {"i\1\2\3\4", 5},
    {"f\1\2\3\4", 5},
    {"D\1\1\2\3\4", 6},
    {"L\1\2\3\4\5\6\7\10", 9},
    {"l\1\2\3\4\5\6\7\10", 9},
    {"d\1\2\3\4\5\6\7\10", 9},
    {"T\1\2\3\4\5\6\7\10", 9},
    {"S\0\0\0\0", 5},
    {"S\0\0\0\3abc", 8},
    {"x\0\0\0\3abc", 8},
    {"A\0\0\0\0", 5},
    {"A\0\0\0\3t\1V", 8},
    {"F\0\0\0\0", 5},
    {"F\0\0\0\7\1kt\1\1jV", 12},
    {"V", 1},
};

static void
every_kind_is_walked_and_no_byte_more(void)
{
    for (size_t i = 0; i < CHECK_COUNT(values); i++) {
        char longer[16];
        size_t pos;
        memcpy(longer, values[i].bytes, values[i].n);
        longer[values[i].n] = 'V';
        CHECK_INT(walk(cpika_table_walk_value, longer, values[i].n + 1, &pos), CPIKA_OK);
        CHECK_INT(pos, values[i].n);
    }
}

static void
every_value_that_ends_early_is_truncated(void)
{
    for (size_t i = 0; i < CHECK_COUNT(values); i++) {
        for (size_t n = 0; n < values[i].n; n++) {
            size_t pos;
            CHECK_INT(walk(cpika_table_walk_value, values[i].bytes, n, &pos), CPIKA_E_TRUNCATED);
            CHECK(pos <= n);
        }
    }
}

static void
an_entry_without_a_value_is_truncated(void)
{
    size_t pos;
    CHECK_INT(walk(cpika_table_walk_value, "F\0\0\0\2\1k", 7, &pos), CPIKA_E_TRUNCATED);
    CHECK_INT(walk(cpika_table_walk_value, "F\0\0\0\1\1k", 7, &pos), CPIKA_E_TRUNCATED);
}

static void
a_value_may_not_reach_over_the_table_around_it(void)
{
    size_t pos;
    // The string would fit into the bytes, not into its table.
    CHECK_INT(walk(cpika_table_walk, "\0\0\0\7\1kS\0\0\0\1ab", 13, &pos), CPIKA_E_TRUNCATED);
    CHECK_INT(walk(cpika_table_walk, "\0\0\0\10\1kS\0\0\0\1ab", 13, &pos), CPIKA_OK);
    CHECK_INT(pos, 12);
    // An inner array longer than the outer one.
    CHECK_INT(walk(cpika_table_walk_value, "A\0\0\0\5A\0\0\0\3VVV", 13, &pos), CPIKA_E_TRUNCATED);
}

static void
an_unknown_kind_is_named_by_the_position(void)
{
    for (int kind = 0; kind < 256; kind++) {
        uint8_t bytes[32] = {0, 0, 0, 24, 1, 'k', (uint8_t)kind};
        bool known = kind != 0 && strchr("tbBUusIiLlfdDSxATFV", kind) != NULL;
        size_t pos;
        int rc = walk(cpika_table_walk, bytes, 28, &pos);
        CHECK((rc == CPIKA_E_FIELD_KIND && pos == 6) == !known);
    }
}

static void
lengths_near_the_limit_do_not_wrap(void)
{
    size_t pos;
    CHECK_INT(walk(cpika_table_walk, "\377\377\377\377\1kV", 7, &pos), CPIKA_E_TRUNCATED);
    CHECK_INT(walk(cpika_table_walk_value, "S\377\377\377\377abc", 8, &pos), CPIKA_E_TRUNCATED);
    CHECK_INT(walk(cpika_table_walk_value, "A\377\377\377\374VVV", 8, &pos), CPIKA_E_TRUNCATED);
    pos = 9;
    CHECK_INT(cpika_table_walk((const uint8_t *)"\0\0\0\0", 4, &pos), CPIKA_E_TRUNCATED);
    pos = 9;
    CHECK_INT(cpika_table_walk_value((const uint8_t *)"V", 1, &pos), CPIKA_E_TRUNCATED);
}

/* Arrays in each other, `levels` of them; returns the length. */
static size_t
nest(uint8_t *bytes, unsigned levels)
{
    size_t n = (size_t)levels * 5;
    for (unsigned i = 0; i < levels; i++) {
        bytes[i * 5] = 'A';
        cpika_put32(bytes + i * 5 + 1, (uint32_t)(n - (i + 1) * 5));
    }
    return n;
}

static void
a_hundred_levels_pass_and_one_more_does_not(void)
{
    static uint8_t bytes[30000 * 5];
    size_t pos;

    CHECK_INT(walk(cpika_table_walk_value, bytes, nest(bytes, CPIKA_TABLE_MAX_DEPTH), &pos), CPIKA_OK);
    CHECK_INT(walk(cpika_table_walk_value, bytes, nest(bytes, CPIKA_TABLE_MAX_DEPTH + 1), &pos),
              CPIKA_E_DEPTH);
    CHECK_INT(walk(cpika_table_walk_value, bytes, nest(bytes, 30000), &pos), CPIKA_E_DEPTH);
}

static void
levels_side_by_side_do_not_count(void)
{
    uint8_t bytes[5 + 300 * 5] = {'A', 0, 0, 300 * 5 / 256, 300 * 5 % 256};
    size_t pos;

    for (size_t i = 1; i <= 300; i++) {
        bytes[i * 5] = 'A';
    }
    CHECK_INT(walk(cpika_table_walk_value, bytes, sizeof bytes, &pos), CPIKA_OK);
    CHECK_INT(pos, sizeof bytes);
}

int
main(int argc, char **argv)
{
    static const check_test tests[] = {
        CHECK_TEST(every_kind_is_walked_and_no_byte_more),
        CHECK_TEST(every_value_that_ends_early_is_truncated),
        CHECK_TEST(an_entry_without_a_value_is_truncated),
        CHECK_TEST(a_value_may_not_reach_over_the_table_around_it),
        CHECK_TEST(an_unknown_kind_is_named_by_the_position),
        CHECK_TEST(lengths_near_the_limit_do_not_wrap),
        CHECK_TEST(a_hundred_levels_pass_and_one_more_does_not),
        CHECK_TEST(levels_side_by_side_do_not_count),
    };
    return check_main(tests, CHECK_COUNT(tests), argc, argv);
}
