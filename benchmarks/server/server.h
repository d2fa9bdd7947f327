/* server.h - a do-nothing AMQP 0-9-1 server: what its rooms share.
 * It parses and drops publishes, acks each confirmed message by its own frame, streams made-up messages to consumers as
 * fast as the socket takes them and counts what the client sent, so that a benchmark measures the client.
 *
 * Queues are made by their names:
 *   bench.COUNT.SIZE[.props][.afterN]  COUNT messages of SIZE bytes; with all properties and headers; held back until
 *                                      N consumers are there
 *   bench.stats.NAME                   a passive or plain declare answers the counter NAME of this connection as its
 *                                      message count (names: queue.c)
 *   anything else                      an empty queue
 *
 * Layer: benchmark tool; uses wire/buf.h and wire/endian.h.
 * Owns: one thread and one `conn` a connection; nothing is shared between connections.
 * Errors: functions return 0 or a negative number when the connection is to be dropped. */
#ifndef CPIKA_BENCH_SERVER_H
#define CPIKA_BENCH_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <openssl/ssl.h>

#include "buf.h"
#include "endian.h"

enum {
    FRAME_METHOD = 1,
    FRAME_HEADER = 2,
    FRAME_BODY = 3,
    FRAME_HEARTBEAT = 8,
    FRAME_END = 0xCE,
    FRAME_HEAD_SIZE = 7,
    FRAME_OVERHEAD = 8,

    CLASS_CONNECTION = 10,
    CLASS_CHANNEL = 20,
    CLASS_EXCHANGE = 40,
    CLASS_QUEUE = 50,
    CLASS_BASIC = 60,
    CLASS_CONFIRM = 85,
    CLASS_TX = 90,

    REPLY_NOT_FOUND = 404,
    REPLY_PRECONDITION_FAILED = 406,
    REPLY_FRAME_ERROR = 501,
    REPLY_COMMAND_INVALID = 503,
    REPLY_CHANNEL_ERROR = 504,
    REPLY_UNEXPECTED_FRAME = 505,
    REPLY_NOT_IMPLEMENTED = 540,

    FRAME_MAX = 131072,
    CHANNEL_MAX = 4095,
    HEARTBEAT_SECONDS = 60,
    IN_CAPACITY = 2 * FRAME_MAX,
    OUT_HIGH_WATER = 1 << 20,  // above this much unsent output the server stops reading
};

typedef struct conn conn;
typedef struct channel channel;
typedef struct queue queue;
typedef struct consumer consumer;

/* What the content that follows a Basic.Publish still lacks. */
typedef enum { CONTENT_NONE, CONTENT_HEADER, CONTENT_BODY } content_state;

struct channel {
    uint16_t number;
    bool confirming;
    content_state content;
    uint64_t body_left;
    uint64_t published;    // confirm mode: the tag of the last publish
    uint64_t last_tag;     // delivery tag given out last
    uint64_t settled_low;  // every tag up to this one is settled
    uint64_t unacked;      // deliveries that wait for an ack
    uint32_t prefetch;     // 0: no limit; counted a channel, not a consumer
    uint8_t *settled;      // owned; one bit a delivery tag
    size_t settled_cap;    // bytes
};

struct consumer {
    channel *ch;  // borrowed
    bool no_ack;
    uint8_t tag_len;
    char tag[256];
};

/* One prepared message in a queue's ring. */
typedef struct {
    size_t start;
    size_t end;
    size_t tag_at;  // where the eight bytes of the delivery tag go
    consumer *to;   // borrowed from the queue
} prepared;

struct queue {
    queue *next;
    char name[256];
    uint64_t left;  // messages not delivered yet
    size_t size;    // bytes of a body
    bool with_props;
    size_t start_at;  // consumers that must be there first
    bool deleted;     // freed once no chunk of it is on its way
    bool dirty;       // the ring no longer fits the consumers
    consumer **consumers;  // owned, and each of them
    size_t n_consumers;
    cpika_buf ring;    // the messages, ready to send but for their tags
    prepared *places;  // owned
    size_t n_places;
    size_t at;  // the next place to send
};

typedef struct {
    uint64_t publishes, publish_bytes, confirms;
    uint64_t deliveries, gets;
    uint64_t acks, acks_multiple, nacks, settled;
} counters;

struct conn {
    int fd;
    SSL *ssl;  // NULL: plain
    bool closing;
    uint32_t frame_max;
    unsigned heartbeat;  // seconds; 0: none
    uint8_t *in;         // owned; IN_CAPACITY bytes
    size_t in_start, in_end;
    size_t discard;  // bytes of a body frame's payload still to drop
    bool discard_end;  // the frame-end octet follows them
    channel *body_of;  // borrowed; the channel whose body frame this is
    cpika_buf out;  // control frames
    size_t out_pos;
    const uint8_t *chunk;  // messages on their way; borrowed from a queue's ring
    size_t chunk_left;
    channel **channels;  // owned; CHANNEL_MAX + 1
    queue *queues;       // owned
    unsigned names_made;
    counters n;
};

/* tls.c: a server context with a new self-signed certificate for localhost, written to `cert_path`; NULL on failure. */
SSL_CTX *tls_context(const char *cert_path);

/* link.c: the socket, plain or TLS. */
enum { LINK_AGAIN = 0, LINK_END = -1 };
ssize_t link_read(conn *c, void *at, size_t n, bool may_wait);
ssize_t link_discard(conn *c, size_t n, bool may_wait);
ssize_t link_write(conn *c, const void *at, size_t n);
/* Waits for poll()'s `events`; 0 when `milliseconds` passed. */
int link_wait(conn *c, short events, int milliseconds);

/* connection.c */
void *connection_main(void *arg);  // takes a `conn` with fd and ssl set; frees it

/* frames.c: appending frames to a buffer. */
size_t frame_begin(cpika_buf *b, uint16_t channel_number, uint16_t class_id, uint16_t method_id);
int frame_end(cpika_buf *b, size_t begun);
int put_shortstr(cpika_buf *b, const void *s, size_t n);
int put_longstr(cpika_buf *b, const void *s, size_t n);
int put_content(cpika_buf *b, uint16_t channel_number, size_t size, bool with_props, uint32_t frame_max);
int put_start(cpika_buf *b);
int put_close(cpika_buf *b, uint16_t channel_number, uint16_t reply_code, const char *text);

/* methods.c: one method frame from the client. */
int method_handle(conn *c, uint16_t channel_number, const uint8_t *payload, size_t size);

/* queue.c: queues, consumers, deliveries, acknowledgements. */
queue *queue_find(conn *c, const char *name, size_t name_len, bool make);
uint64_t queue_message_count(conn *c, const char *name, size_t name_len);
/* Purges the queue, or deletes it; returns how many messages it had. */
uint32_t queue_empty(conn *c, const char *name, size_t name_len, bool delete_it);
int queue_consume(conn *c, channel *ch, const char *name, size_t name_len, const char *tag, size_t tag_len,
                  bool no_ack);
void queue_cancel(conn *c, channel *ch, const char *tag, size_t tag_len);
int queue_get(conn *c, channel *ch, const char *name, size_t name_len, bool no_ack);
/* Makes the next chunk of deliveries; false when nobody is to get any now. */
bool queue_next_chunk(conn *c);
/* 0, or a reply code for Channel.Close. */
int queue_settle(conn *c, channel *ch, uint64_t tag, bool multiple);
void queue_drop_channel(conn *c, channel *ch);
void queue_free_all(conn *c);

#endif
