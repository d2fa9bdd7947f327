/* connection.c - one connection: reads frames, drops published content, keeps the socket full.
 * Layer: benchmark tool.  Owns: the conn, from connection_main on.  Threads: one a connection.
 * Errors: any ends the thread and the connection. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "server.h"

enum {
    PROTOCOL_HEADER_SIZE = 8,
    DISCARD_IN_PLACE = 16 * 1024,  // from here on the rest of a body is dropped by the kernel, uncopied
    IDLE_MILLISECONDS = 1000,
};

/* A whole message has come: count it and, in confirm mode, ack it by a frame of its own. */
static int
publish_done(conn *c, channel *ch)
{
    ch->content = CONTENT_NONE;
    c->n.publishes++;
    if (!ch->confirming) {
        return 0;
    }
    c->n.confirms++;
    size_t begun = frame_begin(&c->out, ch->number, CLASS_BASIC, 80);
    (void)cpika_buf_put64(&c->out, ++ch->published);
    (void)cpika_buf_put8(&c->out, 0);  // multiple
    return frame_end(&c->out, begun);
}

static channel *
content_channel(conn *c, uint16_t number, content_state state)
{
    channel *ch = number <= CHANNEL_MAX ? c->channels[number] : NULL;
    return ch != NULL && ch->content == state ? ch : NULL;
}

static int
header_handle(conn *c, uint16_t number, const uint8_t *payload, size_t size)
{
    channel *ch = content_channel(c, number, CONTENT_HEADER);
    if (ch == NULL || size < 14 || cpika_get16(payload) != CLASS_BASIC) {
        return put_close(&c->out, 0, REPLY_UNEXPECTED_FRAME, "UNEXPECTED_FRAME - content header");
    }
    ch->body_left = cpika_get64(payload + 4);
    c->n.publish_bytes += ch->body_left;
    if (ch->body_left == 0) {
        return publish_done(c, ch);
    }
    ch->content = CONTENT_BODY;
    return 0;
}

/* The head of a body frame: what follows is dropped as it comes. */
static int
body_begin(conn *c, uint16_t number, size_t size)
{
    channel *ch = content_channel(c, number, CONTENT_BODY);
    if (ch == NULL || size > ch->body_left) {
        return put_close(&c->out, 0, REPLY_UNEXPECTED_FRAME, "UNEXPECTED_FRAME - content body");
    }
    ch->body_left -= size;
    c->discard = size;
    c->discard_end = true;
    c->body_of = ch;
    return 0;
}

static int
body_end(conn *c, uint8_t octet)
{
    c->discard_end = false;
    if (octet != FRAME_END) {
        return -1;
    }
    return c->body_of->body_left == 0 ? publish_done(c, c->body_of) : 0;
}

/* Handles the first of `have` (> 0) bytes; returns how many are used up, 0 when more must come, negative to drop. */
static ssize_t
frame_take(conn *c, const uint8_t *p, size_t have)
{
    if (c->discard > 0) {
        size_t n = have < c->discard ? have : c->discard;
        c->discard -= n;
        return (ssize_t)n;
    }
    if (c->discard_end) {
        return body_end(c, p[0]) < 0 ? -1 : 1;
    }
    if (have < FRAME_HEAD_SIZE) {
        return 0;
    }
    uint16_t number = cpika_get16(p + 1);
    size_t size = cpika_get32(p + 3);
    if (size > c->frame_max) {  // amqpstorm counts the payload alone; RabbitMQ lets it pass, too
        return -1;
    }
    if (p[0] == FRAME_BODY) {
        return body_begin(c, number, size) < 0 ? -1 : FRAME_HEAD_SIZE;
    }
    if (have < size + FRAME_OVERHEAD) {
        return 0;
    }
    if (p[FRAME_HEAD_SIZE + size] != FRAME_END) {
        return -1;
    }
    int rc = 0;
    if (p[0] == FRAME_METHOD) {
        rc = method_handle(c, number, p + FRAME_HEAD_SIZE, size);
    } else if (p[0] == FRAME_HEADER) {
        rc = header_handle(c, number, p + FRAME_HEAD_SIZE, size);
    } else if (p[0] != FRAME_HEARTBEAT) {
        rc = -1;
    }
    return rc < 0 ? -1 : (ssize_t)(size + FRAME_OVERHEAD);
}

static int
input_parse(conn *c)
{
    while (c->in_start < c->in_end && !c->closing) {
        ssize_t n = frame_take(c, c->in + c->in_start, c->in_end - c->in_start);
        if (n < 0) {
            return -1;
        }
        if (n == 0) {
            break;
        }
        c->in_start += (size_t)n;
    }
    size_t rest = c->in_end - c->in_start;
    if (c->in_start > 0 && rest > 0) {
        memmove(c->in, c->in + c->in_start, rest);
    }
    c->in_start = 0;
    c->in_end = rest;
    return 0;
}

/* One read and all that it brought. */
static ssize_t
input_read(conn *c, bool may_wait)
{
    if (c->discard >= DISCARD_IN_PLACE && c->in_end == 0) {
        ssize_t n = link_discard(c, c->discard, may_wait);
        if (n > 0) {
            c->discard -= (size_t)n;
        }
        return n;
    }
    ssize_t n = link_read(c, c->in + c->in_end, IN_CAPACITY - c->in_end, may_wait);
    if (n > 0) {
        c->in_end += (size_t)n;
        if (input_parse(c) < 0) {
            return LINK_END;
        }
    }
    return n;
}

/* Writes the chunk that was begun, then the control frames, then at most one more chunk. */
static int
output_write(conn *c)
{
    bool made_one = false;
    for (;;) {
        if (c->chunk_left > 0) {
            ssize_t n = link_write(c, c->chunk, c->chunk_left);
            if (n <= 0) {
                return (int)n;
            }
            c->chunk += n;
            c->chunk_left -= (size_t)n;
            continue;
        }
        if (c->out_pos < c->out.len) {
            ssize_t n = link_write(c, c->out.data + c->out_pos, c->out.len - c->out_pos);
            if (n <= 0) {
                return (int)n;
            }
            c->out_pos += (size_t)n;
            continue;
        }
        c->out.len = 0;
        c->out_pos = 0;
        if (made_one || c->closing || !queue_next_chunk(c)) {
            return 0;
        }
        made_one = true;
    }
}

static bool
output_pending(const conn *c)
{
    return c->chunk_left > 0 || c->out_pos < c->out.len;
}

static int
heartbeat_send(conn *c)
{
    static const uint8_t HEARTBEAT[] = {FRAME_HEARTBEAT, 0, 0, 0, 0, 0, 0, FRAME_END};
    if (c->heartbeat == 0 || output_pending(c)) {
        return 0;
    }
    return cpika_buf_append(&c->out, HEARTBEAT, sizeof HEARTBEAT);
}

static int
handshake(conn *c)
{
    while (c->in_end < PROTOCOL_HEADER_SIZE) {
        ssize_t n = link_read(c, c->in + c->in_end, PROTOCOL_HEADER_SIZE - c->in_end, true);
        if (n < 0 || (n == 0 && link_wait(c, POLLIN, IDLE_MILLISECONDS) <= 0)) {
            return -1;
        }
        c->in_end += (size_t)n;
    }
    c->in_end = 0;
    return memcmp(c->in, "AMQP\0\0\11\1", PROTOCOL_HEADER_SIZE) == 0 ? put_start(&c->out) : -1;
}

static void
connection_loop(conn *c)
{
    while (!c->closing || output_pending(c)) {
        uint64_t before = c->n.deliveries;
        if (output_write(c) < 0) {
            return;
        }
        bool streaming = c->n.deliveries != before;
        bool pending = output_pending(c);
        if (c->closing && !pending) {
            return;
        }
        bool reading = c->out.len - c->out_pos < OUT_HIGH_WATER;
        ssize_t n = reading ? input_read(c, !pending && !streaming && c->ssl == NULL) : LINK_AGAIN;
        if (n < 0) {
            return;
        }
        if (n == LINK_AGAIN && (pending || !streaming)) {
            short events = (short)((reading ? POLLIN : 0) | (pending ? POLLOUT : 0));
            int ready = link_wait(c, events, IDLE_MILLISECONDS);
            if (ready < 0 || (ready == 0 && heartbeat_send(c) < 0)) {
                return;
            }
        }
    }
}

static void
connection_free(conn *c)
{
    queue_free_all(c);
    if (c->channels != NULL) {
        for (size_t i = 0; i <= CHANNEL_MAX; i++) {
            if (c->channels[i] != NULL) {
                free(c->channels[i]->settled);
                free(c->channels[i]);
            }
        }
    }
    free(c->channels);
    free(c->in);
    cpika_buf_free(&c->out);
    SSL_free(c->ssl);
    (void)close(c->fd);
    free(c);
}

void *
connection_main(void *arg)
{
    conn *c = arg;
    int one = 1;
    struct timeval idle = {.tv_sec = IDLE_MILLISECONDS / 1000};
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof idle);
    c->frame_max = FRAME_MAX;
    c->in = malloc(IN_CAPACITY);
    c->channels = calloc(CHANNEL_MAX + 1, sizeof(channel *));
    if (c->in != NULL && c->channels != NULL && handshake(c) == 0) {
        connection_loop(c);
    }
    connection_free(c);
    return NULL;
}
