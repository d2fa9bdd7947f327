/* bench.c - see bench.h. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

double
bench_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static double
cpu_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

void
bench_start(bench *b)
{
    b->cpu_began = cpu_seconds();
    b->wall_began = bench_now();
}

void
bench_stop(bench *b)
{
    b->wall = bench_now() - b->wall_began;
    b->cpu = cpu_seconds() - b->cpu_began;
}

void
bench_need(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "failed: %s\n", what);
        exit(1);
    }
}

void
bench_need_reply(bench *b, const char *what)
{
    bench_need(amqp_get_rpc_reply(b->connection).reply_type == AMQP_RESPONSE_NORMAL, what);
}

void
bench_expect(const char *what, long got, long wanted)
{
    if (got != wanted) {
        fprintf(stderr, "check failed: %s: %ld, expected %ld\n", what, got, wanted);
        exit(1);
    }
}

long
bench_count(bench *b, const char *queue)
{
    amqp_queue_declare_ok_t *ok = amqp_queue_declare(b->connection, BENCH_CHANNEL, amqp_cstring_bytes(queue), 1, 0,
                                                     0, 0, amqp_empty_table);
    bench_need_reply(b, "queue.declare");
    return (long)ok->message_count;
}

void
bench_consume(bench *b, const char *queue, bool no_ack)
{
    amqp_basic_consume(b->connection, BENCH_CHANNEL, amqp_cstring_bytes(queue), amqp_empty_bytes, 0, no_ack, 0,
                       amqp_empty_table);
    bench_need_reply(b, "basic.consume");
}

static void
connect_to(bench *b)
{
    char *url = strdup(b->url);
    struct amqp_connection_info info;
    bench_need(url != NULL && amqp_parse_url(url, &info) == AMQP_STATUS_OK, "parsing the URL");
    b->connection = amqp_new_connection();
    amqp_socket_t *sock = amqp_tcp_socket_new(b->connection);
    bench_need(sock != NULL && amqp_socket_open(sock, info.host, info.port) == AMQP_STATUS_OK, "connecting");
    amqp_rpc_reply_t reply = amqp_login(b->connection, info.vhost, 0, AMQP_DEFAULT_FRAME_SIZE, 0,
                                        AMQP_SASL_METHOD_PLAIN, info.user, info.password);
    bench_need(reply.reply_type == AMQP_RESPONSE_NORMAL, "logging in");
    amqp_channel_open(b->connection, BENCH_CHANNEL);
    bench_need_reply(b, "channel.open");
    if (b->prefetch > 0) {
        amqp_basic_qos(b->connection, BENCH_CHANNEL, 0, (uint16_t)b->prefetch, 0);
        bench_need_reply(b, "basic.qos");
    }
    free(url);
}

static void
parse(bench *b, int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--url") == 0) {
            b->url = argv[i + 1];
        } else if (strcmp(argv[i], "--scenario") == 0) {
            b->scenario = argv[i + 1];
        } else if (strcmp(argv[i], "--count") == 0) {
            b->count = strtol(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--size") == 0) {
            b->size = (size_t)strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--prefetch") == 0) {
            b->prefetch = (int)strtol(argv[i + 1], NULL, 10);
        } else {
            bench_need(false, argv[i]);
        }
    }
    bench_need(b->url != NULL && b->scenario != NULL && b->count > 0,
               "--url URL --scenario NAME --count N --size BYTES [--prefetch N]");
}

static void
print_line(const bench *b)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"client\": \"%s\", \"version\": \"rabbitmq-c %s\", \"scenario\": \"%s\", \"count\": %ld, \"size\": %zu, "
           "\"wall\": %.9f, \"cpu\": %.9f, \"peak_rss\": %ld, \"extra\": %s}\n",
           b->client, amqp_version(), b->scenario, b->count, b->size, b->wall, b->cpu, used.ru_maxrss * 1024L,
           b->extra != NULL ? b->extra : "{}");
}

int
bench_main(int argc, char **argv, const char *client, const bench_scenario *scenarios, size_t n)
{
    bench b = {.client = client};
    parse(&b, argc, argv);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(scenarios[i].name, b.scenario) != 0) {
            continue;
        }
        b.body = amqp_bytes_malloc(b.size);
        bench_need(b.body.bytes != NULL || b.size == 0, "memory");
        memset(b.body.bytes, 'x', b.size);
        connect_to(&b);
        scenarios[i].run(&b);
        amqp_connection_close(b.connection, AMQP_REPLY_SUCCESS);
        amqp_destroy_connection(b.connection);
        amqp_bytes_free(b.body);
        print_line(&b);
        return 0;
    }
    fprintf(stderr, "no such scenario: %s\n", b.scenario);
    return 2;
}
