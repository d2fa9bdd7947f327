/* floor_client.c - the least that any client must do: one send of a ready publish a message, recv alone, send and recv
 * in turn. rabbitmq-c makes the connection; the measured part is system calls only.
 * Layer: benchmark tool.  Owns: nothing.  Threads: one.  Errors: see bench.h. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bench.h"
#include "buf.h"

enum { FRAME_MAX = 131072, FRAME_OVERHEAD = 8, FRAME_END = 0xCE, RECV_SIZE = 256 * 1024, BASIC = 60 };

/* As the server writes them, see server/queue.c. */
static const char DELIVERY_EXCHANGE[] = "bench";
static const char DELIVERY_KEY[] = "bench.key";
static const char TAG[] = "floor";

static int
raw_socket(bench *b)
{
    int fd = amqp_get_sockfd(b->connection);
    // rabbitmq-c's sockets are non-blocking; blocking ones need no poll, and it can live with them.
    bench_need(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) == 0, "fcntl");
    return fd;
}

static void
send_all(int fd, const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        bench_need(sent > 0, "send");
        p += sent;
        n -= (size_t)sent;
    }
}

static void
recv_all(int fd, uint8_t *scratch, size_t n)
{
    while (n > 0) {
        // Waiting for all: woken for each segment it would take 1.6 times as long for bodies of 1 MB.
        ssize_t got = n < RECV_SIZE ? recv(fd, scratch, n, 0) : recv(fd, scratch, RECV_SIZE, MSG_WAITALL);
        bench_need(got > 0, "recv");
        n -= (size_t)got;
    }
}

static size_t
frame_begin(cpika_buf *out, uint8_t type)
{
    bench_need(cpika_buf_put8(out, type) == CPIKA_OK && cpika_buf_put16(out, BENCH_CHANNEL) == CPIKA_OK
                   && cpika_buf_put32(out, 0) == CPIKA_OK,
               "memory");
    return out->len;
}

static void
frame_end(cpika_buf *out, size_t payload)
{
    cpika_put32(out->data + payload - 4, (uint32_t)(out->len - payload));
    bench_need(cpika_buf_put8(out, FRAME_END) == CPIKA_OK, "memory");
}

static void
put_method(cpika_buf *out, uint16_t method_id)
{
    bench_need(cpika_buf_put16(out, BASIC) == CPIKA_OK && cpika_buf_put16(out, method_id) == CPIKA_OK, "memory");
}

static void
put_shortstr(cpika_buf *out, const char *s)
{
    size_t n = strlen(s);
    bench_need(cpika_buf_put8(out, (uint8_t)n) == CPIKA_OK && cpika_buf_append(out, s, n) == CPIKA_OK, "memory");
}

static cpika_buf
make_publish(const bench *b)
{
    cpika_buf out = CPIKA_BUF_INIT;
    size_t at = frame_begin(&out, 1);
    put_method(&out, 40);
    bench_need(cpika_buf_put16(&out, 0) == CPIKA_OK, "memory");
    put_shortstr(&out, "");
    put_shortstr(&out, "bench.drop");
    bench_need(cpika_buf_put8(&out, 0) == CPIKA_OK, "memory");
    frame_end(&out, at);
    at = frame_begin(&out, 2);
    put_method(&out, 0);
    bench_need(cpika_buf_put64(&out, b->size) == CPIKA_OK && cpika_buf_put16(&out, 0) == CPIKA_OK, "memory");
    frame_end(&out, at);
    for (size_t left = b->size; left > 0;) {
        size_t n = left < FRAME_MAX - FRAME_OVERHEAD ? left : FRAME_MAX - FRAME_OVERHEAD;
        at = frame_begin(&out, 3);
        bench_need(cpika_buf_append(&out, b->body.bytes, n) == CPIKA_OK, "memory");
        frame_end(&out, at);
        left -= n;
    }
    return out;
}

static cpika_buf
make_get(const char *queue)
{
    cpika_buf out = CPIKA_BUF_INIT;
    size_t at = frame_begin(&out, 1);
    put_method(&out, 70);
    bench_need(cpika_buf_put16(&out, 0) == CPIKA_OK, "memory");
    put_shortstr(&out, queue);
    bench_need(cpika_buf_put8(&out, 1) == CPIKA_OK, "memory");
    frame_end(&out, at);
    return out;
}

/* Basic.Consume without an answer: from its last byte on, only deliveries come. */
static cpika_buf
make_consume(const char *queue, const char *tag)
{
    enum { NO_ACK = 2, NOWAIT = 8 };
    cpika_buf out = CPIKA_BUF_INIT;
    size_t at = frame_begin(&out, 1);
    put_method(&out, 20);
    bench_need(cpika_buf_put16(&out, 0) == CPIKA_OK, "memory");
    put_shortstr(&out, queue);
    put_shortstr(&out, tag);
    bench_need(cpika_buf_put8(&out, NO_ACK | NOWAIT) == CPIKA_OK && cpika_buf_put32(&out, 0) == CPIKA_OK, "memory");
    frame_end(&out, at);
    return out;
}

/* Bytes on the wire of a header frame without properties and of a body. */
static size_t
content_size(size_t size)
{
    size_t room = FRAME_MAX - FRAME_OVERHEAD;
    return FRAME_OVERHEAD + 14 + size + (size + room - 1) / room * FRAME_OVERHEAD;
}

static void
publish(bench *b)
{
    cpika_buf message = make_publish(b);
    int fd = raw_socket(b);
    bench_start(b);
    for (long i = 0; i < b->count; i++) {
        send_all(fd, message.data, message.len);
    }
    long published = bench_count(b, "bench.stats.publishes");
    bench_stop(b);
    bench_expect("publishes", published, b->count);
    cpika_buf_free(&message);
}

static void
ping_pong(bench *b, cpika_buf ping, size_t pong_size)
{
    uint8_t *scratch = malloc(RECV_SIZE);
    bench_need(scratch != NULL, "memory");
    int fd = raw_socket(b);
    bench_start(b);
    for (long i = 0; i < b->count; i++) {
        send_all(fd, ping.data, ping.len);
        recv_all(fd, scratch, pong_size);
    }
    bench_stop(b);
    free(scratch);
    cpika_buf_free(&ping);
}

static void
confirm(bench *b)
{
    amqp_confirm_select(b->connection, BENCH_CHANNEL);
    bench_need_reply(b, "confirm.select");
    ping_pong(b, make_publish(b), FRAME_OVERHEAD + 4 + 8 + 1);
    bench_expect("confirms", bench_count(b, "bench.stats.confirms"), b->count);
}

static void
get(bench *b)
{
    char queue[64];
    (void)snprintf(queue, sizeof queue, "bench.%ld.%zu", b->count, b->size);
    size_t get_ok = FRAME_OVERHEAD + 4 + 8 + 1 + sizeof DELIVERY_EXCHANGE + sizeof DELIVERY_KEY + 4;
    ping_pong(b, make_get(queue), get_ok + content_size(b->size));
    bench_expect("gets", bench_count(b, "bench.stats.gets"), b->count);
}

static void
consume_auto(bench *b)
{
    char queue[64];
    (void)snprintf(queue, sizeof queue, "bench.%ld.%zu", b->count, b->size);
    cpika_buf consume = make_consume(queue, TAG);
    size_t deliver = FRAME_OVERHEAD + 4 + sizeof TAG + 8 + 1 + sizeof DELIVERY_EXCHANGE + sizeof DELIVERY_KEY;
    size_t total = (size_t)b->count * (deliver + content_size(b->size));
    uint8_t *scratch = malloc(RECV_SIZE);
    bench_need(scratch != NULL, "memory");
    int fd = raw_socket(b);
    bench_start(b);
    send_all(fd, consume.data, consume.len);
    recv_all(fd, scratch, total);
    bench_stop(b);
    bench_expect("deliveries", bench_count(b, "bench.stats.deliveries"), b->count);
    free(scratch);
    cpika_buf_free(&consume);
}

int
main(int argc, char **argv)
{
    static const bench_scenario SCENARIOS[] = {
        {"publish", publish},
        {"confirm", confirm},
        {"get", get},
        {"consume_auto", consume_auto},
    };
    return bench_main(argc, argv, "floor", SCENARIOS, sizeof SCENARIOS / sizeof SCENARIOS[0]);
}
