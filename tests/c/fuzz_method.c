/* fuzz_method.c - methods and property lists on arbitrary bytes: no read behind them, and what was decoded encodes to
 * bytes that decode to the same.
 * Layer: tests.  Owns: nothing.  Threads: one.  Errors: a violated property aborts.
 * Build with clang -fsanitize=fuzzer,address,undefined. */
#include <stdlib.h>

#include "method.h"
#include "proplist.h"

static void
require(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void
require_same(cpika_kind kind, const cpika_value *a, const cpika_value *b)
{
    if (kind == CPIKA_KIND_shortstr || kind == CPIKA_KIND_longstr || kind == CPIKA_KIND_table) {
        require(a->len == b->len && (a->len == 0 || memcmp(a->as.bytes, b->as.bytes, a->len) == 0));
    } else {
        require(a->as.number == b->as.number);
    }
}

static void
check_method(const cpika_method_spec *spec, const uint8_t *args, size_t size)
{
    cpika_value values[CPIKA_METHOD_MAX_FIELDS];
    cpika_value again[CPIKA_METHOD_MAX_FIELDS];
    cpika_buf b = CPIKA_BUF_INIT;
    size_t used;

    if (cpika_method_decode_args(spec, args, size, values, &used) != CPIKA_OK) {
        return;
    }
    require(used <= size);
    require(cpika_method_encode_args(spec, values, &b) == CPIKA_OK);
    require(b.len == used);  // not always the same bytes: a bit octet has bits to spare
    require(cpika_method_decode_args(spec, b.data, b.len, again, &used) == CPIKA_OK && used == b.len);
    for (unsigned i = 0; i < spec->field_count; i++) {
        require_same(spec->fields[i].kind, &values[i], &again[i]);
    }
    cpika_buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte chooses a method, or the property list; the rest is in memory of exactly its size. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;

    if (size == 0) {
        return 0;
    }
    copy = malloc(size > 1 ? size - 1 : 1);
    require(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    if (data[0] < CPIKA_METHOD_COUNT) {
        check_method(&cpika_method_specs[data[0]], copy, size - 1);
    } else {
        (void)cpika_props_check(copy, size - 1);
    }
    free(copy);
    return 0;
}
