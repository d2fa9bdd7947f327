/* rabbitmqc_client.c - the benchmark's scenarios in C on rabbitmq-c, written as its own examples do it.
 * Layer: benchmark tool.  Owns: nothing.  Threads: one.  Errors: see bench.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

static const char DROP[] = "bench.drop";

static void
publish_one(bench *b, const char *exchange, const char *key, const amqp_basic_properties_t *properties)
{
    int rc = amqp_basic_publish(b->connection, BENCH_CHANNEL, amqp_cstring_bytes(exchange), amqp_cstring_bytes(key), 0,
                                0, properties, b->body);
    bench_need(rc == AMQP_STATUS_OK, "basic.publish");
}

static void
publish(bench *b)
{
    bench_start(b);
    for (long i = 0; i < b->count; i++) {
        publish_one(b, "", DROP, NULL);
    }
    long published = bench_count(b, "bench.stats.publishes");
    bench_stop(b);
    bench_expect("publishes", published, b->count);
}

static amqp_table_entry_t
entry_text(const char *key, const char *value)
{
    amqp_table_entry_t e = {.key = amqp_cstring_bytes(key)};
    e.value.kind = AMQP_FIELD_KIND_UTF8;
    e.value.value.bytes = amqp_cstring_bytes(value);
    return e;
}

static void
fill_properties(amqp_basic_properties_t *p, amqp_table_entry_t headers[5], long sequence)
{
    headers[0] = entry_text("x-source", "benchmark");
    headers[1] = entry_text("x-trace", "4bf92f3577b34da6a3ce929d0e0e4736");
    headers[2] = (amqp_table_entry_t){.key = amqp_cstring_bytes("x-sampled")};
    headers[2].value.kind = AMQP_FIELD_KIND_BOOLEAN;
    headers[2].value.value.boolean = 1;
    headers[3] = (amqp_table_entry_t){.key = amqp_cstring_bytes("x-attempt")};
    headers[3].value.kind = AMQP_FIELD_KIND_I32;
    headers[3].value.value.i32 = 3;
    headers[4] = (amqp_table_entry_t){.key = amqp_cstring_bytes("x-sequence")};
    headers[4].value.kind = AMQP_FIELD_KIND_I32;
    headers[4].value.value.i32 = (int32_t)sequence;
    p->_flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG | AMQP_BASIC_HEADERS_FLAG
                | AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_PRIORITY_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG
                | AMQP_BASIC_REPLY_TO_FLAG | AMQP_BASIC_EXPIRATION_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG
                | AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_TYPE_FLAG | AMQP_BASIC_USER_ID_FLAG
                | AMQP_BASIC_APP_ID_FLAG;
    p->content_type = amqp_cstring_bytes("application/json");
    p->content_encoding = amqp_cstring_bytes("utf-8");
    p->headers.num_entries = 5;
    p->headers.entries = headers;
    p->delivery_mode = 2;
    p->priority = 5;
    p->correlation_id = amqp_cstring_bytes("correlation-0001");
    p->reply_to = amqp_cstring_bytes("reply-queue");
    p->expiration = amqp_cstring_bytes("60000");
    p->message_id = amqp_cstring_bytes("message-0001");
    p->timestamp = 1700000000;
    p->type = amqp_cstring_bytes("order.created");
    p->user_id = amqp_cstring_bytes("guest");
    p->app_id = amqp_cstring_bytes("bench");
}

static void
publish_props(bench *b)
{
    bench_start(b);
    for (long i = 0; i < b->count; i++) {
        amqp_basic_properties_t properties;
        amqp_table_entry_t headers[5];
        fill_properties(&properties, headers, i);
        publish_one(b, "", DROP, &properties);
    }
    long published = bench_count(b, "bench.stats.publishes");
    bench_stop(b);
    bench_expect("publishes", published, b->count);
}

static void
wait_for_ack(bench *b, uint64_t tag)
{
    amqp_frame_t frame;
    bench_need(amqp_simple_wait_frame(b->connection, &frame) == AMQP_STATUS_OK, "waiting for an ack");
    bench_need(frame.frame_type == AMQP_FRAME_METHOD && frame.payload.method.id == AMQP_BASIC_ACK_METHOD, "an ack");
    const amqp_basic_ack_t *ack = frame.payload.method.decoded;
    bench_expect("ack's tag", (long)ack->delivery_tag, (long)tag);
    amqp_maybe_release_buffers(b->connection);
}

static void
confirm(bench *b)
{
    amqp_confirm_select(b->connection, BENCH_CHANNEL);
    bench_need_reply(b, "confirm.select");
    bench_start(b);
    for (long i = 0; i < b->count; i++) {
        publish_one(b, "", DROP, NULL);
        wait_for_ack(b, (uint64_t)i + 1);
    }
    bench_stop(b);
    bench_expect("confirms", bench_count(b, "bench.stats.confirms"), b->count);
}

static size_t
consume_loop(bench *b, bool ack)
{
    size_t bytes = 0;
    for (long i = 0; i < b->count; i++) {
        amqp_envelope_t envelope;
        amqp_maybe_release_buffers(b->connection);
        amqp_rpc_reply_t reply = amqp_consume_message(b->connection, &envelope, NULL, 0);
        bench_need(reply.reply_type == AMQP_RESPONSE_NORMAL, "a delivery");
        bytes += envelope.message.body.len;
        if (ack) {
            int rc = amqp_basic_ack(b->connection, envelope.channel, envelope.delivery_tag, 0);
            bench_need(rc == AMQP_STATUS_OK, "basic.ack");
        }
        amqp_destroy_envelope(&envelope);
    }
    return bytes;
}

static void
consume(bench *b, bool ack, const char *options)
{
    char queue[64];
    (void)snprintf(queue, sizeof queue, "bench.%ld.%zu%s", b->count, b->size, options);
    bench_start(b);
    bench_consume(b, queue, !ack);
    size_t bytes = consume_loop(b, ack);
    if (ack) {
        (void)bench_count(b, "bench.stats.acks");  // the acks have arrived
    }
    bench_stop(b);
    bench_expect("bytes", (long)bytes, b->count * (long)b->size);
    bench_expect("acks", bench_count(b, "bench.stats.acks"), ack ? b->count : 0);
}

static void
consume_auto(bench *b)
{
    consume(b, false, "");
}

static void
consume_ack(bench *b)
{
    consume(b, true, "");
}

static void
get(bench *b)
{
    char queue[64];
    (void)snprintf(queue, sizeof queue, "bench.%ld.%zu", b->count, b->size);
    size_t bytes = 0;
    bench_start(b);
    for (long i = 0; i < b->count; i++) {
        amqp_message_t message;
        amqp_maybe_release_buffers(b->connection);
        amqp_rpc_reply_t reply = amqp_basic_get(b->connection, BENCH_CHANNEL, amqp_cstring_bytes(queue), 1);
        bench_need(reply.reply_type == AMQP_RESPONSE_NORMAL && reply.reply.id == AMQP_BASIC_GET_OK_METHOD, "basic.get");
        reply = amqp_read_message(b->connection, BENCH_CHANNEL, &message, 0);
        bench_need(reply.reply_type == AMQP_RESPONSE_NORMAL, "the message");
        bytes += message.body.len;
        amqp_destroy_message(&message);
    }
    bench_stop(b);
    bench_expect("bytes", (long)bytes, b->count * (long)b->size);
}

/* A queue of the broker's own naming, gone with the connection. */
static amqp_bytes_t
broker_queue(bench *b)
{
    amqp_queue_declare_ok_t *ok = amqp_queue_declare(b->connection, BENCH_CHANNEL, amqp_empty_bytes, 0, 0, 1, 1,
                                                     amqp_empty_table);
    bench_need_reply(b, "queue.declare");
    amqp_bytes_t name = amqp_bytes_malloc_dup(ok->queue);
    bench_need(name.bytes != NULL, "memory");
    return name;
}

static void
broker_fill(bench *b, amqp_bytes_t queue)
{
    for (long i = 0; i < b->count; i++) {
        int rc = amqp_basic_publish(b->connection, BENCH_CHANNEL, amqp_empty_bytes, queue, 0, 0, NULL, b->body);
        bench_need(rc == AMQP_STATUS_OK, "basic.publish");
    }
    amqp_queue_declare(b->connection, BENCH_CHANNEL, queue, 1, 0, 0, 0, amqp_empty_table);
    bench_need_reply(b, "queue.declare");
}

static void
broker_publish(bench *b)
{
    amqp_bytes_t queue = broker_queue(b);
    bench_start(b);
    broker_fill(b, queue);
    bench_stop(b);
    amqp_bytes_free(queue);
}

static void
broker_consume_ack(bench *b)
{
    amqp_bytes_t queue = broker_queue(b);
    broker_fill(b, queue);
    bench_start(b);
    amqp_basic_consume(b->connection, BENCH_CHANNEL, queue, amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
    bench_need_reply(b, "basic.consume");
    (void)consume_loop(b, true);
    amqp_queue_declare(b->connection, BENCH_CHANNEL, queue, 1, 0, 0, 0, amqp_empty_table);
    bench_need_reply(b, "queue.declare");
    bench_stop(b);
    amqp_bytes_free(queue);
}

static int
compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void
roundtrip(bench *b)
{
    static char extra[96];
    amqp_bytes_t queue = broker_queue(b);
    amqp_basic_consume(b->connection, BENCH_CHANNEL, queue, amqp_empty_bytes, 0, 1, 0, amqp_empty_table);
    bench_need_reply(b, "basic.consume");
    double *took = malloc((size_t)b->count * sizeof *took);
    bench_need(took != NULL, "memory");
    bench_start(b);
    for (long i = 0; i < b->count; i++) {
        amqp_envelope_t envelope;
        double began = bench_now();
        int rc = amqp_basic_publish(b->connection, BENCH_CHANNEL, amqp_empty_bytes, queue, 0, 0, NULL, b->body);
        bench_need(rc == AMQP_STATUS_OK, "basic.publish");
        amqp_maybe_release_buffers(b->connection);
        amqp_rpc_reply_t reply = amqp_consume_message(b->connection, &envelope, NULL, 0);
        bench_need(reply.reply_type == AMQP_RESPONSE_NORMAL, "a delivery");
        took[i] = bench_now() - began;
        amqp_destroy_envelope(&envelope);
    }
    bench_stop(b);
    qsort(took, (size_t)b->count, sizeof *took, compare_doubles);
    (void)snprintf(extra, sizeof extra, "{\"p50\": %.9f, \"p99\": %.9f}", took[b->count / 2],
                   took[b->count * 99 / 100]);
    b->extra = extra;
    free(took);
    amqp_bytes_free(queue);
}

int
main(int argc, char **argv)
{
    static const bench_scenario SCENARIOS[] = {
        {"publish", publish},
        {"publish_props", publish_props},
        {"confirm", confirm},
        {"consume_auto", consume_auto},
        {"consume_ack", consume_ack},
        {"get", get},
        {"broker_publish", broker_publish},
        {"broker_consume_ack", broker_consume_ack},
        {"roundtrip", roundtrip},
    };
    return bench_main(argc, argv, "rabbitmq-c", SCENARIOS, sizeof SCENARIOS / sizeof SCENARIOS[0]);
}
