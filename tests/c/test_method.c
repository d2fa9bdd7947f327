/* test_method.c - every method of the spec table to bytes and back; property lists beside rabbitmq-c's codec.
 * Layer: tests.  Owns: nothing.  Threads: one.  Errors: check.h counts them. */
#include <stdlib.h>

#include "check.h"
#include "method.h"
#include "proplist.h"
#include "rmq.h"

static const uint8_t text[] = "some text";
static const uint8_t table[] = "\0\0\0\7\1kI\0\0\0\7";  // {"k": 7}
enum { TABLE_LEN = 4 + 7 };

/* A value of that kind; other steps, other values. */
static cpika_value
sample(cpika_kind kind, unsigned step)
{
    cpika_value v = {.as.number = 0, .len = 0};

    switch (kind) {
    case CPIKA_KIND_octet:
        v.as.number = 0x12 + step;
        break;
    case CPIKA_KIND_short:
        v.as.number = 0x1234 + step;
        break;
    case CPIKA_KIND_long:
        v.as.number = 0x12345678 + step;
        break;
    case CPIKA_KIND_longlong:
        v.as.number = UINT64_C(0x123456789ABCDEF0) + step;
        break;
    case CPIKA_KIND_bit:
        v.as.number = step % 2;
        break;
    case CPIKA_KIND_shortstr:
    case CPIKA_KIND_longstr:
        v.as.bytes = text;
        v.len = step % sizeof text;
        break;
    case CPIKA_KIND_table:
        v.as.bytes = table;
        v.len = TABLE_LEN;
        break;
    }
    return v;
}

static void
check_value(cpika_kind kind, const cpika_value *actual, const cpika_value *expected)
{
    CHECK_INT(actual->len, expected->len);
    if (kind == CPIKA_KIND_shortstr || kind == CPIKA_KIND_longstr || kind == CPIKA_KIND_table) {
        CHECK_MEM(actual->as.bytes, expected->as.bytes, expected->len);
    } else {
        CHECK(actual->as.number == expected->as.number);
    }
}

static void
fill(const cpika_method_spec *spec, unsigned step, cpika_value *values)
{
    for (unsigned f = 0; f < spec->field_count; f++) {
        values[f] = sample(spec->fields[f].kind, step + f);
    }
}

static void
every_method_is_found_by_its_id_and_no_other(void)
{
    for (unsigned i = 0; i < CPIKA_METHOD_COUNT; i++) {
        CHECK(cpika_method_find(cpika_method_specs[i].id) == &cpika_method_specs[i]);
        CHECK(cpika_method_specs[i].field_count <= CPIKA_METHOD_MAX_FIELDS);
    }
    CHECK(cpika_method_find(0) == NULL);
    CHECK(cpika_method_find(0x003C0029) == NULL);
    CHECK(cpika_method_find(UINT32_MAX) == NULL);
    CHECK_STR(cpika_method_find(CPIKA_ID_basic_deliver)->full_name, "Basic.Deliver");
}

static void
every_method_comes_back_from_its_bytes(void)
{
    for (unsigned i = 0; i < CPIKA_METHOD_COUNT; i++) {
        const cpika_method_spec *spec = &cpika_method_specs[i];
        for (unsigned step = 0; step < 16; step++) {
            cpika_value in[CPIKA_METHOD_MAX_FIELDS];
            cpika_value out[CPIKA_METHOD_MAX_FIELDS];
            cpika_buf b = CPIKA_BUF_INIT;
            size_t used = 0;
            fill(spec, step, in);
            CHECK_INT(cpika_buf_put8(&b, 0xAA), CPIKA_OK);  // what stands there stays
            CHECK_INT(cpika_method_encode_args(spec, in, &b), CPIKA_OK);
            CHECK_INT(b.data[0], 0xAA);
            if (!CHECK_INT(cpika_method_decode_args(spec, b.data + 1, b.len - 1, out, &used), CPIKA_OK)) {
                return;
            }
            CHECK_INT(used, b.len - 1);
            for (unsigned f = 0; f < spec->field_count; f++) {
                check_value(spec->fields[f].kind, &out[f], &in[f]);
            }
            cpika_buf_free(&b);
        }
    }
}

static void
every_method_that_ends_early_is_truncated(void)
{
    for (unsigned i = 0; i < CPIKA_METHOD_COUNT; i++) {
        const cpika_method_spec *spec = &cpika_method_specs[i];
        cpika_value values[CPIKA_METHOD_MAX_FIELDS];
        cpika_buf b = CPIKA_BUF_INIT;
        fill(spec, 5, values);
        CHECK_INT(cpika_method_encode_args(spec, values, &b), CPIKA_OK);
        for (size_t n = 0; n < b.len; n++) {
            uint8_t *exact = malloc(n > 0 ? n : 1);
            size_t used = 77;
            if (!CHECK(exact != NULL)) {
                break;
            }
            memcpy(exact, b.data, n);
            CHECK_INT(cpika_method_decode_args(spec, exact, n, values, &used), CPIKA_E_TRUNCATED);
            CHECK(used <= n);
            free(exact);
        }
        cpika_buf_free(&b);
    }
}

static void
bytes_behind_the_arguments_are_not_used(void)
{
    const uint8_t args[] = {0, 0, 0, 0, 0, 0, 0, 9, 1, 0xFF};
    cpika_value values[CPIKA_METHOD_MAX_FIELDS];
    size_t used;

    CHECK_INT(
        cpika_method_decode_args(cpika_method_find(CPIKA_ID_basic_ack), args, sizeof args, values, &used),
        CPIKA_OK);
    CHECK_INT(used, 9);
    CHECK_INT(values[0].as.number, 9);
    CHECK_INT(values[1].as.number, 1);
}

static void
bits_share_an_octet_from_the_lowest_up(void)
{
    const cpika_method_spec *spec = cpika_method_find(CPIKA_ID_queue_declare);
    cpika_value values[CPIKA_METHOD_MAX_FIELDS];
    cpika_buf b = CPIKA_BUF_INIT;

    fill(spec, 0, values);
    values[1].len = 0;
    for (unsigned f = 2; f <= 6; f++) {
        values[f].as.number = f == 2 || f == 5;  // passive, auto_delete
    }
    CHECK_INT(cpika_method_encode_args(spec, values, &b), CPIKA_OK);
    CHECK_MEM(b.data + 2, "\0\x09", 2);
    CHECK_INT(b.len, 4 + TABLE_LEN);
    CHECK_MEM(b.data + 4, table, TABLE_LEN);
    cpika_buf_free(&b);
}

static void
a_short_string_over_255_bytes_is_refused_and_nothing_written(void)
{
    const cpika_method_spec *spec = cpika_method_find(CPIKA_ID_basic_publish);
    uint8_t bytes[256] = {0};
    cpika_value values[CPIKA_METHOD_MAX_FIELDS];
    cpika_buf b = CPIKA_BUF_INIT;

    fill(spec, 1, values);
    values[2].as.bytes = bytes;
    values[2].len = 255;
    CHECK_INT(cpika_method_encode_args(spec, values, &b), CPIKA_OK);
    b.len = 0;
    values[2].len = 256;
    CHECK_INT(cpika_method_encode_args(spec, values, &b), CPIKA_E_SHORTSTR);
    CHECK_INT(b.len, 0);
    cpika_buf_free(&b);
}

static void
a_table_that_rabbitmq_c_cannot_hold_passes_whole(void)
{
    // Kind U, which it rejects, in arrays a hundred deep.
    static uint8_t deep[4 + 2 + 99 * 5 + 3];
    const cpika_method_spec *spec = cpika_method_find(CPIKA_ID_connection_start);
    cpika_value in[CPIKA_METHOD_MAX_FIELDS];
    cpika_value out[CPIKA_METHOD_MAX_FIELDS];
    cpika_buf b = CPIKA_BUF_INIT;
    size_t used;

    cpika_put32(deep, sizeof deep - 4);
    memcpy(deep + 4, "\1k", 2);
    for (size_t i = 0; i < 99; i++) {
        deep[6 + i * 5] = 'A';
        cpika_put32(deep + 7 + i * 5, (uint32_t)(sizeof deep - 11 - i * 5));
    }
    memcpy(deep + sizeof deep - 3, "U\1\2", 3);
    fill(spec, 3, in);
    in[2].as.bytes = deep;
    in[2].len = sizeof deep;
    CHECK_INT(cpika_method_encode_args(spec, in, &b), CPIKA_OK);
    CHECK_INT(cpika_method_decode_args(spec, b.data, b.len, out, &used), CPIKA_OK);
    CHECK_INT(used, b.len);
    for (unsigned f = 0; f < spec->field_count; f++) {
        check_value(spec->fields[f].kind, &out[f], &in[f]);
    }
    cpika_buf_free(&b);
}

/* ---- property lists ---- */

/* rabbitmq-c's bytes for properties that hold for each flag the sample of step i. */
static size_t
encode_by_rmq(unsigned flags, uint8_t *room, size_t n)
{
    amqp_basic_properties_t p;
    amqp_bytes_t bytes = {n, room};
    int written;

    memset(&p, 0, sizeof p);
    p._flags = flags;
#define SHORTSTR(name)                                                                         \
    p.name.bytes = (void *)(uintptr_t)sample(CPIKA_KIND_shortstr, CPIKA_PROP_##name).as.bytes; \
    p.name.len = sample(CPIKA_KIND_shortstr, CPIKA_PROP_##name).len
    SHORTSTR(content_type);
    SHORTSTR(content_encoding);
    SHORTSTR(correlation_id);
    SHORTSTR(reply_to);
    SHORTSTR(expiration);
    SHORTSTR(message_id);
    SHORTSTR(type);
    SHORTSTR(user_id);
    SHORTSTR(app_id);
    SHORTSTR(cluster_id);
#undef SHORTSTR
    p.delivery_mode = (uint8_t)sample(CPIKA_KIND_octet, CPIKA_PROP_delivery_mode).as.number;
    p.priority = (uint8_t)sample(CPIKA_KIND_octet, CPIKA_PROP_priority).as.number;
    p.timestamp = sample(CPIKA_KIND_longlong, CPIKA_PROP_timestamp).as.number;
    written = amqp_encode_properties(AMQP_BASIC_CLASS, &p, bytes);
    CHECK(written > 0);
    return (size_t)written;
}

static void
properties_of_every_presence_are_read_as_rabbitmq_c_wrote_them(void)
{
    for (unsigned flags = 0; flags < 0x10000u; flags += 4) {
        uint8_t room[256];
        cpika_value values[CPIKA_PROP_COUNT];
        unsigned found;
        size_t used;
        size_t n = encode_by_rmq(flags, room, sizeof room);
        if (!CHECK_INT(cpika_props_walk(room, n, values, &found, &used), CPIKA_OK)) {
            return;
        }
        CHECK_INT(used, n);
        CHECK_INT(found, flags);
        for (unsigned i = 0; i < CPIKA_PROP_COUNT; i++) {
            cpika_value expected = sample(cpika_prop_fields[i].kind, i);
            if (cpika_prop_fields[i].kind == CPIKA_KIND_table) {
                expected.as.bytes = (const uint8_t *)"\0\0\0\0";
                expected.len = 4;
            }
            if (flags & cpika_prop_flag(i)) {
                check_value(cpika_prop_fields[i].kind, &values[i], &expected);
            }
        }
    }
}

static void
property_lists_are_checked_to_the_last_byte(void)
{
    uint8_t room[256];
    size_t n = encode_by_rmq(0xFFFC, room, sizeof room);

    CHECK_INT(cpika_props_check(room, n), CPIKA_OK);
    CHECK_INT(cpika_props_check(room, n + 1), CPIKA_E_TRAILING);
    for (size_t less = 0; less < n; less++) {
        uint8_t *exact = malloc(less > 0 ? less : 1);
        if (!CHECK(exact != NULL)) {
            return;
        }
        memcpy(exact, room, less);
        CHECK_INT(cpika_props_check(exact, less), CPIKA_E_TRUNCATED);
        free(exact);
    }
}

static void
further_flag_words_are_passed_over(void)
{
    CHECK_INT(cpika_props_check((const uint8_t *)"\x10\x01\x00\x00\x02", 5), CPIKA_OK);
    CHECK_INT(cpika_props_check((const uint8_t *)"\x10\x01\x00\x01\x02", 5), CPIKA_E_TRUNCATED);
    CHECK_INT(cpika_props_check((const uint8_t *)"\xFF\xFF\xFF\xFF", 4), CPIKA_E_TRUNCATED);
}

static void
bad_headers_are_refused(void)
{
    CHECK_INT(cpika_props_check((const uint8_t *)"\x20\0\0\0\0\3\1kz", 9), CPIKA_E_FIELD_KIND);
    CHECK_INT(cpika_props_check((const uint8_t *)"\x20\0\0\0\0\4\1kV", 9), CPIKA_E_TRUNCATED);
}

int
main(int argc, char **argv)
{
    static const check_test tests[] = {
        CHECK_TEST(every_method_is_found_by_its_id_and_no_other),
        CHECK_TEST(every_method_comes_back_from_its_bytes),
        CHECK_TEST(every_method_that_ends_early_is_truncated),
        CHECK_TEST(bytes_behind_the_arguments_are_not_used),
        CHECK_TEST(bits_share_an_octet_from_the_lowest_up),
        CHECK_TEST(a_short_string_over_255_bytes_is_refused_and_nothing_written),
        CHECK_TEST(a_table_that_rabbitmq_c_cannot_hold_passes_whole),
        CHECK_TEST(properties_of_every_presence_are_read_as_rabbitmq_c_wrote_them),
        CHECK_TEST(property_lists_are_checked_to_the_last_byte),
        CHECK_TEST(further_flag_words_are_passed_over),
        CHECK_TEST(bad_headers_are_refused),
    };
    return check_main(tests, CHECK_COUNT(tests), argc, argv);
}
