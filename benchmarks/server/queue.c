/* queue.c - queues made by their names: consumers, deliveries, acknowledgements, counters.
 * Layer: benchmark tool.  Owns: the queues of a connection with their consumers and rings.
 * Threads: the connection's own.  Errors: negative when memory is out.
 *
 * A queue keeps a ring of messages ready to send, one after the other for each of its consumers in turn; a chunk is a run
 * of them with new delivery tags written in place: a few nanoseconds a message. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server.h"

enum { RING_BYTES = 256 * 1024 };

static const char EXCHANGE[] = "bench";
static const char ROUTING_KEY[] = "bench.key";

static int
put_deliver(cpika_buf *b, const consumer *to, size_t *tag_at)
{
    size_t begun = frame_begin(b, to->ch->number, CLASS_BASIC, 60);
    (void)put_shortstr(b, to->tag, to->tag_len);
    *tag_at = b->len;
    (void)cpika_buf_put64(b, 0);
    (void)cpika_buf_put8(b, 0);  // redelivered
    (void)put_shortstr(b, EXCHANGE, sizeof EXCHANGE - 1);
    (void)put_shortstr(b, ROUTING_KEY, sizeof ROUTING_KEY - 1);
    return frame_end(b, begun);
}

/* At least one message for each consumer, and about RING_BYTES of them. */
static int
ring_build(queue *q, uint32_t frame_max)
{
    q->ring.len = 0;
    q->n_places = 0;
    q->at = 0;
    size_t cap = 0;
    while (q->n_places < q->n_consumers || q->ring.len < RING_BYTES) {
        if (q->n_places == cap) {
            cap = cap > 0 ? 2 * cap : 64;
            prepared *places = realloc(q->places, cap * sizeof *places);
            if (places == NULL) {
                return -1;
            }
            q->places = places;
        }
        prepared *p = &q->places[q->n_places];
        p->to = q->consumers[q->n_places % q->n_consumers];
        p->start = q->ring.len;
        if (put_deliver(&q->ring, p->to, &p->tag_at) < 0
            || put_content(&q->ring, p->to->ch->number, q->size, q->with_props, frame_max) < 0) {
            return -1;
        }
        p->end = q->ring.len;
        q->n_places++;
    }
    q->n_places -= q->n_places % q->n_consumers;  // whole turns only, so that every consumer gets as many
    q->dirty = false;
    return 0;
}

static void
queue_free(queue *q)
{
    for (size_t i = 0; i < q->n_consumers; i++) {
        free(q->consumers[i]);
    }
    free(q->consumers);
    free(q->places);
    cpika_buf_free(&q->ring);
    free(q);
}

/* Reads what a name asks for; a name of another kind is an empty queue. */
static void
queue_parse_name(queue *q)
{
    char rest[256] = "";
    unsigned long long count = 0;
    unsigned long long size = 0;
    if (sscanf(q->name, "bench.%llu.%llu%255s", &count, &size, rest) < 2) {
        return;
    }
    q->left = count;
    q->size = (size_t)size;
    q->with_props = strstr(rest, ".props") != NULL;
    const char *after = strstr(rest, ".after");
    if (after != NULL) {
        q->start_at = (size_t)strtoul(after + strlen(".after"), NULL, 10);
    }
}

queue *
queue_find(conn *c, const char *name, size_t name_len, bool make)
{
    for (queue *q = c->queues; q != NULL; q = q->next) {
        if (!q->deleted && strlen(q->name) == name_len && memcmp(q->name, name, name_len) == 0) {
            return q;
        }
    }
    if (!make) {
        return NULL;
    }
    queue *q = calloc(1, sizeof *q);
    if (q == NULL) {
        return NULL;
    }
    memcpy(q->name, name, name_len);
    queue_parse_name(q);
    q->next = c->queues;
    c->queues = q;
    return q;
}

uint64_t
queue_message_count(conn *c, const char *name, size_t name_len)
{
    static const char STATS[] = "bench.stats.";
    const struct {
        const char *name;
        uint64_t value;
    } stats[] = {
        {"publishes", c->n.publishes},   {"publish_bytes", c->n.publish_bytes}, {"confirms", c->n.confirms},
        {"deliveries", c->n.deliveries}, {"gets", c->n.gets},                   {"acks", c->n.acks},
        {"nacks", c->n.nacks},           {"acks_multiple", c->n.acks_multiple}, {"settled", c->n.settled},
    };
    if (name_len < sizeof STATS - 1 || memcmp(name, STATS, sizeof STATS - 1) != 0) {
        queue *q = queue_find(c, name, name_len, true);
        return q != NULL ? q->left : 0;
    }
    const char *key = name + sizeof STATS - 1;
    size_t key_len = name_len - (sizeof STATS - 1);
    for (size_t i = 0; i < sizeof stats / sizeof stats[0]; i++) {
        if (strlen(stats[i].name) == key_len && memcmp(stats[i].name, key, key_len) == 0) {
            return stats[i].value;
        }
    }
    return 0;
}

/* The chunk on its way may point into the queue's ring: the memory goes when the next chunk is made. */
uint32_t
queue_empty(conn *c, const char *name, size_t name_len, bool delete_it)
{
    queue *q = queue_find(c, name, name_len, true);
    if (q == NULL) {
        return 0;
    }
    uint32_t had = (uint32_t)q->left;
    q->left = 0;
    q->deleted = delete_it;
    return had;
}

static void
queues_reap(conn *c)
{
    for (queue **at = &c->queues; *at != NULL;) {
        queue *q = *at;
        if (q->deleted) {
            *at = q->next;
            queue_free(q);
        } else {
            at = &q->next;
        }
    }
}

int
queue_consume(conn *c, channel *ch, const char *name, size_t name_len, const char *tag, size_t tag_len, bool no_ack)
{
    queue *q = queue_find(c, name, name_len, true);
    if (q == NULL) {
        return -1;
    }
    consumer **consumers = realloc(q->consumers, (q->n_consumers + 1) * sizeof *consumers);
    if (consumers == NULL) {
        return -1;
    }
    q->consumers = consumers;
    consumer *k = calloc(1, sizeof *k);
    if (k == NULL) {
        return -1;
    }
    k->ch = ch;
    k->no_ack = no_ack;
    k->tag_len = (uint8_t)tag_len;
    memcpy(k->tag, tag, tag_len);
    q->consumers[q->n_consumers++] = k;
    q->dirty = true;
    return 0;
}

static void
consumer_remove(queue *q, size_t i)
{
    free(q->consumers[i]);
    q->consumers[i] = q->consumers[--q->n_consumers];
    q->dirty = true;
}

void
queue_cancel(conn *c, channel *ch, const char *tag, size_t tag_len)
{
    for (queue *q = c->queues; q != NULL; q = q->next) {
        for (size_t i = 0; i < q->n_consumers; i++) {
            consumer *k = q->consumers[i];
            if (k->ch == ch && k->tag_len == tag_len && memcmp(k->tag, tag, tag_len) == 0) {
                consumer_remove(q, i);
                return;
            }
        }
    }
}

void
queue_drop_channel(conn *c, channel *ch)
{
    for (queue *q = c->queues; q != NULL; q = q->next) {
        for (size_t i = q->n_consumers; i-- > 0;) {
            if (q->consumers[i]->ch == ch) {
                consumer_remove(q, i);
            }
        }
    }
}

void
queue_free_all(conn *c)
{
    while (c->queues != NULL) {
        queue *q = c->queues;
        c->queues = q->next;
        queue_free(q);
    }
}

int
queue_get(conn *c, channel *ch, const char *name, size_t name_len, bool no_ack)
{
    queue *q = queue_find(c, name, name_len, true);
    if (q == NULL) {
        return -1;
    }
    c->n.gets++;
    if (q->left == 0) {
        size_t begun = frame_begin(&c->out, ch->number, CLASS_BASIC, 72);
        (void)put_shortstr(&c->out, "", 0);
        return frame_end(&c->out, begun);
    }
    q->left--;
    c->n.deliveries++;
    ch->unacked += no_ack ? 0 : 1;
    size_t begun = frame_begin(&c->out, ch->number, CLASS_BASIC, 71);
    (void)cpika_buf_put64(&c->out, ++ch->last_tag);
    (void)cpika_buf_put8(&c->out, 0);
    (void)put_shortstr(&c->out, EXCHANGE, sizeof EXCHANGE - 1);
    (void)put_shortstr(&c->out, ROUTING_KEY, sizeof ROUTING_KEY - 1);
    (void)cpika_buf_put32(&c->out, (uint32_t)q->left);
    if (frame_end(&c->out, begun) < 0) {
        return -1;
    }
    return put_content(&c->out, ch->number, q->size, q->with_props, c->frame_max);
}

static bool
consumer_has_credit(const consumer *k)
{
    return k->no_ack || k->ch->prefetch == 0 || k->ch->unacked < k->ch->prefetch;
}

/* The longest run of deliveries that their consumers may have now, from the queue's place on. */
static bool
queue_make_chunk(conn *c, queue *q)
{
    size_t tried = 0;
    while (tried < q->n_consumers && !consumer_has_credit(q->places[q->at].to)) {
        q->at = (q->at + 1) % q->n_places;
        tried++;
    }
    if (tried == q->n_consumers) {
        return false;
    }
    size_t start = q->places[q->at].start;
    size_t end = start;
    size_t i = q->at;
    while (i < q->n_places && q->left > 0 && consumer_has_credit(q->places[i].to)) {
        prepared *p = &q->places[i++];
        cpika_put64(q->ring.data + p->tag_at, ++p->to->ch->last_tag);
        p->to->ch->unacked += p->to->no_ack ? 0 : 1;
        end = p->end;
        q->left--;
        c->n.deliveries++;
    }
    q->at = i % q->n_places;
    c->chunk = q->ring.data + start;
    c->chunk_left = end - start;
    return true;
}

bool
queue_next_chunk(conn *c)
{
    queues_reap(c);
    for (queue *q = c->queues; q != NULL; q = q->next) {
        if (q->left == 0 || q->n_consumers == 0 || q->n_consumers < q->start_at) {
            continue;
        }
        if (q->dirty && ring_build(q, c->frame_max) < 0) {
            return false;
        }
        if (queue_make_chunk(c, q)) {
            return true;
        }
    }
    return false;
}

static int
settled_reserve(channel *ch, uint64_t tag)
{
    size_t need = (size_t)(tag / 8) + 1;
    if (need <= ch->settled_cap) {
        return 0;
    }
    size_t cap = 2 * need;
    uint8_t *bits = realloc(ch->settled, cap);
    if (bits == NULL) {
        return -1;
    }
    memset(bits + ch->settled_cap, 0, cap - ch->settled_cap);
    ch->settled = bits;
    ch->settled_cap = cap;
    return 0;
}

static bool
settle_one(conn *c, channel *ch, uint64_t tag)
{
    uint8_t bit = (uint8_t)(1U << (tag % 8));
    if (ch->settled[tag / 8] & bit) {
        return false;
    }
    ch->settled[tag / 8] |= bit;
    ch->unacked--;
    c->n.settled++;
    return true;
}

int
queue_settle(conn *c, channel *ch, uint64_t tag, bool multiple)
{
    if (multiple && tag == 0) {
        tag = ch->last_tag;
    }
    if (tag > ch->last_tag || settled_reserve(ch, tag) < 0) {
        return REPLY_PRECONDITION_FAILED;
    }
    if (multiple) {
        for (uint64_t t = ch->settled_low + 1; t <= tag && ch->unacked > 0; t++) {
            settle_one(c, ch, t);
        }
        ch->settled_low = tag > ch->settled_low ? tag : ch->settled_low;
        return 0;
    }
    if (tag <= ch->settled_low || ch->unacked == 0 || !settle_one(c, ch, tag)) {
        return REPLY_PRECONDITION_FAILED;
    }
    return 0;
}
