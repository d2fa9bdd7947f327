/* fuzz_frame.c - the splitter on arbitrary bytes: it never reads behind them, and its answers agree with each other.
 * Layer: tests.  Owns: nothing.  Threads: one.  Errors: a violated property aborts.
 * Build with clang -fsanitize=fuzzer,address,undefined. */
#include <stdlib.h>

#include "frame.h"

enum { FUZZ_FRAME_MAX = 4096 };

static void
require(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* The same bytes in memory of exactly that size, so that a read behind them is seen. */
static int
split_exactly(const uint8_t *bytes, size_t n, cpika_frame *out)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    require(copy != NULL);
    memcpy(copy, bytes, n);
    int rc = cpika_frame_split(copy, n, FUZZ_FRAME_MAX, out);
    if (rc == CPIKA_OK) {
        require(out->payload == copy + CPIKA_FRAME_HEAD_SIZE);
    }
    free(copy);
    return rc;
}

static void
check_frame(const uint8_t *bytes, const cpika_frame *whole)
{
    cpika_frame part;
    uint8_t head[CPIKA_FRAME_HEAD_SIZE];

    // One byte less asks for one byte more, with the same head.
    require(split_exactly(bytes, whole->total - 1, &part) == CPIKA_AGAIN);
    require(part.missing == 1);
    require(part.type == whole->type && part.channel == whole->channel && part.size == whole->size);
    // Written again it is the same.
    cpika_frame_put_head(head, whole->type, whole->channel, whole->size);
    require(memcmp(head, bytes, sizeof head) == 0);
    require(bytes[whole->total - 1] == CPIKA_FRAME_END);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t at = 0;

    for (;;) {
        cpika_frame frame;
        int rc = split_exactly(data + at, size - at, &frame);
        if (rc == CPIKA_AGAIN) {
            require(frame.missing > 0);
            require(frame.total == 0 || frame.total == size - at + frame.missing);
            return 0;
        }
        if (rc < 0) {
            require(rc == CPIKA_E_FRAME_TYPE || rc == CPIKA_E_FRAME_SIZE || rc == CPIKA_E_FRAME_END
                    || rc == CPIKA_E_PROTOCOL);
            return 0;
        }
        require(rc == CPIKA_OK);
        require(frame.total <= size - at && frame.total <= FUZZ_FRAME_MAX);
        check_frame(data + at, &frame);
        at += frame.total;
    }
}
