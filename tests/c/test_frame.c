/* test_frame.c - splitting and writing frames.
 * Layer: tests.  Owns: nothing.  Threads: one.  Errors: see check.h. */
#include "check.h"

#include "frame.h"

enum { FRAME_MAX = 4096 };

static const uint8_t ack_frame[] = {1, 0,  3, 0,  0, 0, 13,  // method, channel 3, 13 bytes
                                    0, 60, 0, 80, 0, 0, 0,  0, 0, 0, 0, 7, 0, 0xCE};

static void
a_whole_frame_is_split_in_place(void)
{
    cpika_frame f;
    if (CHECK_INT(cpika_frame_split(ack_frame, sizeof ack_frame, FRAME_MAX, &f), CPIKA_OK)) {
        CHECK_INT(f.type, CPIKA_FRAME_METHOD);
        CHECK_INT(f.channel, 3);
        CHECK_INT(f.size, 13);
        CHECK(f.payload == ack_frame + 7);
        CHECK_INT(f.total, sizeof ack_frame);
        CHECK_INT(f.missing, 0);
    }
}

static void
bytes_behind_a_frame_do_not_belong_to_it(void)
{
    uint8_t two[2 * sizeof ack_frame];
    cpika_frame f;
    memcpy(two, ack_frame, sizeof ack_frame);
    memcpy(two + sizeof ack_frame, ack_frame, sizeof ack_frame);
    CHECK_INT(cpika_frame_split(two, sizeof two, FRAME_MAX, &f), CPIKA_OK);
    CHECK_INT(f.total, sizeof ack_frame);
}

static void
every_part_of_a_frame_asks_for_what_is_missing(void)
{
    for (size_t avail = 0; avail < sizeof ack_frame; avail++) {
        cpika_frame f;
        CHECK_INT(cpika_frame_split(ack_frame, avail, FRAME_MAX, &f), CPIKA_AGAIN);
        if (avail < CPIKA_FRAME_HEAD_SIZE) {
            CHECK_INT(f.missing, CPIKA_FRAME_HEAD_SIZE - avail);
            CHECK_INT(f.total, 0);
        } else {
            CHECK_INT(f.missing, sizeof ack_frame - avail);
            CHECK_INT(f.total, sizeof ack_frame);
            CHECK_INT(f.type, CPIKA_FRAME_METHOD);
            CHECK_INT(f.channel, 3);
            CHECK_INT(f.size, 13);
        }
    }
}

static void
a_frame_without_its_end_is_refused(void)
{
    uint8_t bad[sizeof ack_frame];
    cpika_frame f;
    memcpy(bad, ack_frame, sizeof bad);
    bad[sizeof bad - 1] = 0xCD;
    CHECK_INT(cpika_frame_split(bad, sizeof bad, FRAME_MAX, &f), CPIKA_E_FRAME_END);
}

static void
an_unknown_type_is_refused_at_its_first_byte(void)
{
    for (unsigned type = 0; type < 256; type++) {
        uint8_t bytes[sizeof ack_frame];
        cpika_frame f;
        bool known = type == 1 || type == 2 || type == 3 || type == 8;
        memcpy(bytes, ack_frame, sizeof bytes);
        bytes[0] = (uint8_t)type;
        // 'A' may yet become a protocol header.
        CHECK_INT(cpika_frame_split(bytes, 1, FRAME_MAX, &f),
                  known || type == 'A' ? CPIKA_AGAIN : CPIKA_E_FRAME_TYPE);
        if (!known) {
            CHECK_INT(cpika_frame_split(bytes, sizeof bytes, FRAME_MAX, &f), CPIKA_E_FRAME_TYPE);
            CHECK_INT(f.type, type);
        }
    }
}

static void
a_frame_larger_than_negotiated_is_refused_at_its_head(void)
{
    uint8_t head[CPIKA_FRAME_HEAD_SIZE];
    cpika_frame f;

    cpika_frame_put_head(head, CPIKA_FRAME_BODY, 1, FRAME_MAX - 8);
    CHECK_INT(cpika_frame_split(head, sizeof head, FRAME_MAX, &f), CPIKA_AGAIN);
    CHECK_INT(f.missing, FRAME_MAX - 7);
    cpika_frame_put_head(head, CPIKA_FRAME_BODY, 1, FRAME_MAX - 7);
    CHECK_INT(cpika_frame_split(head, sizeof head, FRAME_MAX, &f), CPIKA_E_FRAME_SIZE);
    cpika_frame_put_head(head, CPIKA_FRAME_BODY, 1, UINT32_MAX);
    CHECK_INT(cpika_frame_split(head, sizeof head, FRAME_MAX, &f), CPIKA_E_FRAME_SIZE);
    CHECK_INT(cpika_frame_split(head, sizeof head, UINT32_MAX, &f), CPIKA_E_FRAME_SIZE);
    CHECK_INT(f.size, UINT32_MAX);
}

static void
a_frame_too_short_for_its_type_is_refused(void)
{
    uint8_t head[CPIKA_FRAME_HEAD_SIZE];
    cpika_frame f;

    cpika_frame_put_head(head, CPIKA_FRAME_METHOD, 1, 3);
    CHECK_INT(cpika_frame_split(head, sizeof head, FRAME_MAX, &f), CPIKA_E_FRAME_SIZE);
    cpika_frame_put_head(head, CPIKA_FRAME_METHOD, 1, 4);
    CHECK_INT(cpika_frame_split(head, sizeof head, FRAME_MAX, &f), CPIKA_AGAIN);
    cpika_frame_put_head(head, CPIKA_FRAME_HEADER, 1, 13);
    CHECK_INT(cpika_frame_split(head, sizeof head, FRAME_MAX, &f), CPIKA_E_FRAME_SIZE);
    cpika_frame_put_head(head, CPIKA_FRAME_HEADER, 1, 14);
    CHECK_INT(cpika_frame_split(head, sizeof head, FRAME_MAX, &f), CPIKA_AGAIN);
}

static void
an_empty_body_frame_is_a_frame(void)
{
    static const uint8_t empty[] = {3, 0, 1, 0, 0, 0, 0, 0xCE};
    cpika_frame f;
    CHECK_INT(cpika_frame_split(empty, sizeof empty, FRAME_MAX, &f), CPIKA_OK);
    CHECK_INT(f.size, 0);
    CHECK_INT(f.total, 8);
}

static void
the_heartbeat_constant_is_a_heartbeat_on_channel_0(void)
{
    static const uint8_t expected[] = {8, 0, 0, 0, 0, 0, 0, 0xCE};
    cpika_frame f;
    CHECK_MEM(cpika_heartbeat_frame, expected, sizeof expected);
    CHECK_INT(cpika_frame_split(cpika_heartbeat_frame, 8, FRAME_MAX, &f), CPIKA_OK);
    CHECK_INT(f.type, CPIKA_FRAME_HEARTBEAT);
    CHECK_INT(f.channel, 0);
    CHECK_INT(f.size, 0);
}

static void
a_protocol_header_is_recognised_when_all_eight_bytes_are_there(void)
{
    cpika_frame f;
    for (size_t avail = 1; avail < 8; avail++) {
        CHECK_INT(cpika_frame_split(cpika_protocol_header, avail, FRAME_MAX, &f), CPIKA_AGAIN);
        CHECK_INT(f.missing, 8 - avail);
    }
    CHECK_INT(cpika_frame_split(cpika_protocol_header, 8, FRAME_MAX, &f), CPIKA_E_PROTOCOL);
    CHECK_MEM(f.payload, "AMQP\0\0\x09\x01", 8);
    CHECK_INT(cpika_frame_split((const uint8_t *)"AMQx", 4, FRAME_MAX, &f), CPIKA_E_FRAME_TYPE);
}

static void
a_written_frame_is_the_frame_that_is_split(void)
{
    cpika_buf b = CPIKA_BUF_INIT;
    size_t start = 99;
    cpika_frame f;

    CHECK_INT(cpika_buf_append(&b, "before", 6), CPIKA_OK);
    CHECK_INT(cpika_frame_begin(&b, CPIKA_FRAME_METHOD, 3, &start), CPIKA_OK);
    CHECK_INT(start, 6);
    CHECK_INT(cpika_buf_append(&b, ack_frame + 7, 13), CPIKA_OK);
    CHECK_INT(cpika_frame_end(&b, start, FRAME_MAX), CPIKA_OK);
    if (CHECK_INT(b.len, 6 + sizeof ack_frame)) {
        CHECK_MEM(b.data + start, ack_frame, sizeof ack_frame);
        CHECK_INT(cpika_frame_split(b.data + start, b.len - start, FRAME_MAX, &f), CPIKA_OK);
    }
    cpika_buf_free(&b);
}

static void
a_frame_written_longer_than_negotiated_disappears(void)
{
    static const uint8_t payload[FRAME_MAX];
    cpika_buf b = CPIKA_BUF_INIT;
    size_t start = 0;

    CHECK_INT(cpika_frame_begin(&b, CPIKA_FRAME_HEADER, 1, &start), CPIKA_OK);
    CHECK_INT(cpika_buf_append(&b, payload, FRAME_MAX - 8), CPIKA_OK);
    CHECK_INT(cpika_frame_end(&b, start, FRAME_MAX), CPIKA_OK);
    CHECK_INT(b.len, FRAME_MAX);
    CHECK_INT(cpika_frame_begin(&b, CPIKA_FRAME_HEADER, 1, &start), CPIKA_OK);
    CHECK_INT(cpika_buf_append(&b, payload, FRAME_MAX - 7), CPIKA_OK);
    CHECK_INT(cpika_frame_end(&b, start, FRAME_MAX), CPIKA_E_FRAME_SIZE);
    CHECK_INT(b.len, FRAME_MAX);
    cpika_buf_free(&b);
}

int
main(int argc, char **argv)
{
    static const check_test tests[] = {
        CHECK_TEST(a_whole_frame_is_split_in_place),
        CHECK_TEST(bytes_behind_a_frame_do_not_belong_to_it),
        CHECK_TEST(every_part_of_a_frame_asks_for_what_is_missing),
        CHECK_TEST(a_frame_without_its_end_is_refused),
        CHECK_TEST(an_unknown_type_is_refused_at_its_first_byte),
        CHECK_TEST(a_frame_larger_than_negotiated_is_refused_at_its_head),
        CHECK_TEST(a_frame_too_short_for_its_type_is_refused),
        CHECK_TEST(an_empty_body_frame_is_a_frame),
        CHECK_TEST(the_heartbeat_constant_is_a_heartbeat_on_channel_0),
        CHECK_TEST(a_protocol_header_is_recognised_when_all_eight_bytes_are_there),
        CHECK_TEST(a_written_frame_is_the_frame_that_is_split),
        CHECK_TEST(a_frame_written_longer_than_negotiated_disappears),
    };
    return check_main(tests, CHECK_COUNT(tests), argc, argv);
}
