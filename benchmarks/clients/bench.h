/* bench.h - what the C clients share: arguments, set-up through rabbitmq-c, the clock, the line of JSON.
 * Layer: benchmark tool.  Owns: the connection in `bench`.  Threads: one.
 * Errors: a message on standard error and exit status 1: a benchmark that went wrong has no figure. */
#ifndef CPIKA_BENCH_CLIENT_H
#define CPIKA_BENCH_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_tcp_socket.h>
#endif

enum { BENCH_CHANNEL = 1 };

typedef struct {
    const char *client;
    const char *scenario;
    const char *url;
    long count;
    size_t size;
    int prefetch;
    amqp_connection_state_t connection;  // owned
    amqp_bytes_t body;                   // owned
    double wall_began, wall;             // seconds
    double cpu_began, cpu;               // seconds, user and system
    const char *extra;                   // borrowed; JSON object, or NULL
} bench;

typedef struct {
    const char *name;
    void (*run)(bench *b);
} bench_scenario;

/* Parses the arguments, connects, opens the channel, runs the scenario that --scenario names, prints its line. */
int bench_main(int argc, char **argv, const char *client, const bench_scenario *scenarios, size_t n);

void bench_start(bench *b);
void bench_stop(bench *b);
double bench_now(void);

/* Ends the program unless it holds. */
void bench_need(bool holds, const char *what);
/* Ends the program if the last call's answer was none of success. */
void bench_need_reply(bench *b, const char *what);
void bench_expect(const char *what, long got, long wanted);

/* The message count that a passive declare of `queue` answers: for bench.stats.NAME a counter of the server's. */
long bench_count(bench *b, const char *queue);
void bench_consume(bench *b, const char *queue, bool no_ack);

#endif
