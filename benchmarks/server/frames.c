/* frames.c - writes AMQP frames into a buffer.
 * Layer: benchmark tool, over wire/buf.  Owns: nothing.  Threads: any, one a buffer.
 * Errors: negative when memory is out; frame_end reports what the appends before it could not do. */
#include <string.h>

#include "server.h"

enum { BODY_BYTE = 'x' };

/* Every optional property of the basic class, content-type to app-id. */
static const uint16_t ALL_PROPERTIES = 0xFFF8;
static const uint64_t PROPS_TIMESTAMP = UINT64_C(1700000000);

size_t
frame_begin(cpika_buf *b, uint16_t channel_number, uint16_t class_id, uint16_t method_id)
{
    size_t begun = b->len;
    (void)cpika_buf_put8(b, FRAME_METHOD);
    (void)cpika_buf_put16(b, channel_number);
    (void)cpika_buf_put32(b, 0);  // the size, set by frame_end
    (void)cpika_buf_put16(b, class_id);
    (void)cpika_buf_put16(b, method_id);
    return begun;
}

int
frame_end(cpika_buf *b, size_t begun)
{
    if (b->len < begun + FRAME_HEAD_SIZE || cpika_buf_put8(b, FRAME_END) != CPIKA_OK) {
        return -1;
    }
    cpika_put32(b->data + begun + 3, (uint32_t)(b->len - begun - FRAME_OVERHEAD));
    return 0;
}

int
put_shortstr(cpika_buf *b, const void *s, size_t n)
{
    return cpika_buf_put8(b, (uint8_t)n) == CPIKA_OK ? cpika_buf_append(b, s, n) : -1;
}

int
put_longstr(cpika_buf *b, const void *s, size_t n)
{
    return cpika_buf_put32(b, (uint32_t)n) == CPIKA_OK ? cpika_buf_append(b, s, n) : -1;
}

static void
put_text(cpika_buf *b, const char *s)
{
    (void)put_shortstr(b, s, strlen(s));
}

/* A table is begun by its size, which table_end sets. */
static size_t
table_begin(cpika_buf *b)
{
    (void)cpika_buf_put32(b, 0);
    return b->len;
}

static void
table_end(cpika_buf *b, size_t begun)
{
    if (b->len >= begun && begun >= 4) {
        cpika_put32(b->data + begun - 4, (uint32_t)(b->len - begun));
    }
}

static void
table_text(cpika_buf *b, const char *key, const char *value)
{
    put_text(b, key);
    (void)cpika_buf_put8(b, 'S');
    (void)put_longstr(b, value, strlen(value));
}

static void
table_bool(cpika_buf *b, const char *key, bool value)
{
    put_text(b, key);
    (void)cpika_buf_put8(b, 't');
    (void)cpika_buf_put8(b, value);
}

static void
put_all_properties(cpika_buf *b)
{
    put_text(b, "application/json");
    put_text(b, "utf-8");
    size_t headers = table_begin(b);
    table_text(b, "x-source", "benchmark");
    table_text(b, "x-trace", "4bf92f3577b34da6a3ce929d0e0e4736");
    table_bool(b, "x-sampled", true);
    put_text(b, "x-attempt");
    (void)cpika_buf_put8(b, 'I');
    (void)cpika_buf_put32(b, 3);
    put_text(b, "x-sequence");
    (void)cpika_buf_put8(b, 'l');
    (void)cpika_buf_put64(b, UINT64_C(9000000000));
    table_end(b, headers);
    (void)cpika_buf_put8(b, 2);  // delivery mode: persistent
    (void)cpika_buf_put8(b, 5);  // priority
    put_text(b, "correlation-0001");
    put_text(b, "reply-queue");
    put_text(b, "60000");
    put_text(b, "message-0001");
    (void)cpika_buf_put64(b, PROPS_TIMESTAMP);
    put_text(b, "order.created");
    put_text(b, "guest");
    put_text(b, "bench");
}

/* A content header and the body frames of `size` bytes. */
int
put_content(cpika_buf *b, uint16_t channel_number, size_t size, bool with_props, uint32_t frame_max)
{
    size_t begun = b->len;
    (void)cpika_buf_put8(b, FRAME_HEADER);
    (void)cpika_buf_put16(b, channel_number);
    (void)cpika_buf_put32(b, 0);
    (void)cpika_buf_put16(b, CLASS_BASIC);
    (void)cpika_buf_put16(b, 0);
    (void)cpika_buf_put64(b, size);
    (void)cpika_buf_put16(b, with_props ? ALL_PROPERTIES : 0);
    if (with_props) {
        put_all_properties(b);
    }
    if (frame_end(b, begun) < 0) {
        return -1;
    }
    size_t room = frame_max - FRAME_OVERHEAD;
    for (size_t left = size; left > 0;) {
        size_t n = left < room ? left : room;
        if (cpika_buf_reserve(b, n + FRAME_OVERHEAD) != CPIKA_OK) {
            return -1;
        }
        (void)cpika_buf_put8(b, FRAME_BODY);
        (void)cpika_buf_put16(b, channel_number);
        (void)cpika_buf_put32(b, (uint32_t)n);
        memset(b->data + b->len, BODY_BYTE, n);
        b->len += n;
        (void)cpika_buf_put8(b, FRAME_END);
        left -= n;
    }
    return 0;
}

int
put_start(cpika_buf *b)
{
    size_t begun = frame_begin(b, 0, CLASS_CONNECTION, 10);
    (void)cpika_buf_put8(b, 0);
    (void)cpika_buf_put8(b, 9);
    size_t properties = table_begin(b);
    table_text(b, "product", "cpika benchmark server");
    table_text(b, "version", "3.10.0");
    put_text(b, "capabilities");
    (void)cpika_buf_put8(b, 'F');
    size_t capabilities = table_begin(b);
    table_bool(b, "publisher_confirms", true);
    table_bool(b, "exchange_exchange_bindings", true);
    table_bool(b, "basic.nack", true);
    table_bool(b, "consumer_cancel_notify", true);
    table_bool(b, "connection.blocked", true);
    table_bool(b, "authentication_failure_close", true);
    table_end(b, capabilities);
    table_end(b, properties);
    (void)put_longstr(b, "PLAIN AMQPLAIN EXTERNAL", 23);
    (void)put_longstr(b, "en_US", 5);
    return frame_end(b, begun);
}

/* Connection.Close on channel 0, else Channel.Close. */
int
put_close(cpika_buf *b, uint16_t channel_number, uint16_t reply_code, const char *text)
{
    size_t begun = channel_number == 0 ? frame_begin(b, 0, CLASS_CONNECTION, 50)
                                       : frame_begin(b, channel_number, CLASS_CHANNEL, 40);
    (void)cpika_buf_put16(b, reply_code);
    put_text(b, text);
    (void)cpika_buf_put32(b, 0);  // no method is blamed
    return frame_end(b, begun);
}
