/* delivery.c - see delivery.h.
 * Layer: core.
 * Owns: nothing.  Threads: with the GIL; handling one frame is atomic until user code runs.
 * Errors: see delivery.h. */
#include "delivery.h"

#include <string.h>

#include "wire/method.h"

int
cpika_origin_make(CpikaConnection *conn, const uint8_t *exchange, size_t exchange_len, const uint8_t *key,
                  size_t key_len, cpika_origin *out)
{
    out->exchange = cpika_strcache_exchange(&conn->strings, exchange, exchange_len);
    out->key = out->exchange == NULL ? NULL : cpika_strcache_key(&conn->strings, key, key_len);
    return out->key == NULL ? -1 : 0;
}

void
cpika_origin_free(cpika_origin *from)
{
    Py_XDECREF(from->exchange);
    Py_XDECREF(from->key);
}

/* The fields of a Deliver, in the buffer; only `fixed` is set where `kept` says that it is like the one before. */
typedef struct {
    bool kept;
    const uint8_t *fixed, *tag, *exchange, *key;
    size_t tag_len, exchange_len, key_len;
} deliver_fields;

static int
split_deliver(const CpikaConnection *conn, const cpika_frame *frame, deliver_fields *d)
{
    // Two comparisons instead of three, and nothing to split: 6 % of the instructions of an auto-acked message.
    d->kept = cpika_strcache_is_kept(&conn->strings, frame->payload, frame->size);
    if (d->kept) {
        d->fixed = frame->payload + conn->strings.deliver.fixed_at;
        return CPIKA_OK;
    }
    cpika_fields f = {frame->payload + 4, frame->payload + frame->size};
    if (!cpika_take_shortstr(&f, &d->tag, &d->tag_len) || !cpika_take(&f, CPIKA_DELIVER_FIXED, &d->fixed)
        || !cpika_take_shortstr(&f, &d->exchange, &d->exchange_len)
        || !cpika_take_shortstr(&f, &d->key, &d->key_len)) {
        return CPIKA_E_TRUNCATED;
    }
    return f.at == f.end ? CPIKA_OK : CPIKA_E_TRAILING;
}

/* New references to the method and to its consumer tag.  0 or -1. */
static int
make_deliver(CpikaConnection *conn, const cpika_frame *frame, const deliver_fields *d, PyObject **method,
             PyObject **tag)
{
    cpika_strcache *strings = &conn->strings;
    cpika_origin from = {NULL, NULL};
    int rc = 0;
    *method = NULL;
    if (d->kept) {
        *tag = Py_NewRef(strings->deliver.tag);
        from = (cpika_origin){Py_NewRef(strings->deliver.exchange), Py_NewRef(strings->deliver.key)};
    } else {
        PyObject *before = strings->last_tag;
        *tag = cpika_strcache_tag(strings, d->tag, d->tag_len);
        rc = *tag == NULL ? -1
                          : cpika_origin_make(conn, d->exchange, d->exchange_len, d->key, d->key_len, &from);
        if (rc == 0 && *tag == before) {  // not with many consumers, whose deliveries take turns
            cpika_strcache_keep(strings, frame->payload, frame->size, (size_t)(d->fixed - frame->payload),
                                *tag, from.exchange, from.key);
        }
    }
    if (rc == 0) {
        *method = cpika_deliver_new(&conn->st->values, *tag, cpika_get64(d->fixed), (d->fixed[8] & 1) != 0,
                                    from.exchange, from.key);
    }
    cpika_origin_free(&from);
    if (*method == NULL) {
        Py_CLEAR(*tag);
        return -1;
    }
    return 0;
}

int
delivery_begin(CpikaConnection *conn, CpikaChannel *ch, const cpika_frame *frame)
{
    deliver_fields d;
    PyObject *method, *tag;
    int status = split_deliver(conn, frame, &d);
    if (status != CPIKA_OK) {
        return engine_violation(conn, status, (long)frame->size);
    }
    return make_deliver(conn, frame, &d, &method, &tag) < 0
               ? -1
               : engine_begin_content(ch, CPIKA_ID_basic_deliver, method, tag);
}

/* ---- a whole delivery at once ---- */

/* Method, header and body, one frame each, as most deliveries stand in the buffer. */
typedef struct {
    deliver_fields deliver;
    const uint8_t *properties;
    size_t properties_len;
    const uint8_t *body;
    uint64_t body_len;
    size_t total;  // bytes of all frames
} whole_delivery;

/* False for anything else, a violation too: frame by frame it gets its name. */
static bool
split_whole(const CpikaConnection *conn, const cpika_frame *method, size_t available, whole_delivery *w)
{
    const uint8_t *p = method->payload - CPIKA_FRAME_HEAD_SIZE;
    cpika_frame header, body;
    w->total = method->total;
    if (cpika_get32(method->payload) != CPIKA_ID_basic_deliver
        || split_deliver(conn, method, &w->deliver) != CPIKA_OK
        || cpika_frame_split(p + w->total, available - w->total, conn->frame_max, &header) != CPIKA_OK
        || header.type != CPIKA_FRAME_HEADER || header.channel != method->channel
        || engine_check_header(&header, CPIKA_ID_basic_deliver) < 0) {
        return false;
    }
    w->total += header.total;
    w->properties = header.payload + 12;
    w->properties_len = header.size - 12;
    w->body_len = cpika_get64(header.payload + 4);
    if (w->body_len == 0) {
        return true;
    }
    if (cpika_frame_split(p + w->total, available - w->total, conn->frame_max, &body) != CPIKA_OK
        || body.type != CPIKA_FRAME_BODY || body.channel != method->channel || body.size != w->body_len) {
        return false;
    }
    w->body = body.payload;
    w->total += body.total;
    return true;
}

int
delivery_whole(CpikaConnection *conn, const cpika_frame *method, size_t available, cpika_event *direct)
{
    CpikaChannel *ch = engine_channel(conn, method->channel);
    whole_delivery w;
    if (ch == NULL || ch->content.method_id != 0 || !split_whole(conn, method, available, &w)) {
        return 0;
    }
    conn->in_pos += w.total;
    // What is made below may run a finalizer: the bytes stay where they are until it is done.
    conn->decoding = true;
    Py_INCREF(ch);
    cpika_content c = {.method_id = CPIKA_ID_basic_deliver, .size = w.body_len, .received = w.body_len};
    int rc = make_deliver(conn, method, &w.deliver, &c.method, &c.tag);
    if (rc == 0) {
        c.properties = cpika_props_from_raw(&conn->st->values, w.properties, w.properties_len);
        c.body = w.body_len == 0 ? Py_NewRef(conn->st->empty_bytes)
                                 : PyBytes_FromStringAndSize((const char *)w.body, (Py_ssize_t)w.body_len);
        rc = c.properties == NULL || c.body == NULL ? -1 : 0;
    }
    if (rc == 0) {
        rc = engine_accept_message(conn, ch, &c, direct);
    } else {
        // As frame by frame: behind the method that failed stands content that nobody awaits, and ends the connection.
        if (conn->state != CONNECTION_CLOSED) {
            conn->in_pos -= w.total - method->total;
        }
        engine_free_content(&c);
    }
    Py_DECREF(ch);
    return rc;
}
