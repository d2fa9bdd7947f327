/* fuzz_table.c - the table walker on arbitrary bytes: it never reads behind them, and what it passes it passes again.
 * Layer: tests.  Owns: nothing.  Threads: one.  Errors: a violated property aborts.
 * Build with clang -fsanitize=fuzzer,address,undefined. */
#include <stdlib.h>
#include <string.h>

#include "table.h"

typedef int (*walk_function)(const uint8_t *data, size_t len, size_t *pos);

static void
require(int holds)
{
    if (!holds) {
        abort();
    }
}

/* In memory of exactly that size, so that a read behind it is seen. */
static int
walk_exactly(walk_function walk, const uint8_t *data, size_t size, size_t *pos)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    int rc;

    require(copy != NULL);
    memcpy(copy, data, size);
    *pos = 0;
    rc = walk(copy, size, pos);
    free(copy);
    require(*pos <= size);
    return rc;
}

static void
check(walk_function walk, const uint8_t *data, size_t size)
{
    size_t end;
    size_t again;
    int rc = walk_exactly(walk, data, size, &end);

    if (rc != CPIKA_OK) {
        require(rc == CPIKA_E_TRUNCATED || rc == CPIKA_E_FIELD_KIND || rc == CPIKA_E_DEPTH);
        return;
    }
    // It needs all of the bytes it took, and no other.
    require(walk_exactly(walk, data, end, &again) == CPIKA_OK && again == end);
    require(walk_exactly(walk, data, end - 1, &again) == CPIKA_E_TRUNCATED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check(cpika_table_walk, data, size);
    check(cpika_table_walk_value, data, size);
    return 0;
}
