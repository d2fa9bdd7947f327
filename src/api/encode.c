/* encode.c - see encode.h.
 * Layer: api.  Owns: see encode.h.  Threads: with the GIL.  Errors: see encode.h. */
#include "encode.h"

#include <string.h>

#include "values/args.h"
#include "values/values.h"
#include "wire/frame.h"
#include "wire/method.h"

/* ---- strings ---- */

static int
take_string(cpika_values *v, PyObject **value, const char *field, PyObject **held)
{
    const uint8_t *data;
    Py_ssize_t len;
    if (cpika_is_plain_string(*value)) {
        return 0;
    }
    *held = Py_NewRef(*value);
    if (cpika_shortstr_take(v, held, field, &data, &len) < 0) {
        return -1;
    }
    *value = *held;
    return 0;
}

int
publish_take_other_strings(cpika_values *v, publish_args *a, publish_strings *held)
{
    return take_string(v, &a->exchange, "exchange", &held->exchange) < 0
                   || take_string(v, &a->routing_key, "routing_key", &held->routing_key) < 0
               ? -1
               : 0;
}

/* ---- the body ---- */

void
publish_body_free(publish_body *body)
{
    if (body->owner != NULL) {
        Py_CLEAR(body->owner);
    } else if (body->view.obj != NULL) {
        PyBuffer_Release(&body->view);
    }
}

/* What pika does with anything else: value.encode('UTF-8'). */
static int
take_encoded(cpika_values *v, PyObject *value, publish_body *body)
{
    PyObject *utf8 = PyUnicode_FromString("UTF-8");
    PyObject *encoded = utf8 == NULL ? NULL : PyObject_CallMethodOneArg(value, v->str_encode, utf8);
    Py_XDECREF(utf8);
    if (encoded == NULL) {
        return -1;
    }
    if (!PyBytes_Check(encoded)) {
        PyErr_Format(PyExc_TypeError, "body must be str or bytes, not %R", (PyObject *)Py_TYPE(value));
        Py_DECREF(encoded);
        return -1;
    }
    body->data = (const uint8_t *)PyBytes_AS_STRING(encoded);
    body->size = (size_t)PyBytes_GET_SIZE(encoded);
    body->owner = encoded;
    return 0;
}

/* Takes `value`, a reference, over. */
static int
take_bytes(PyObject *value, publish_body *body)
{
    body->owner = value;
    if (PyBytes_Check(value)) {
        body->data = (const uint8_t *)PyBytes_AS_STRING(value);
        body->size = (size_t)PyBytes_GET_SIZE(value);
        return 0;
    }
    Py_ssize_t size;
    body->data = (const uint8_t *)PyUnicode_AsUTF8AndSize(value, &size);
    if (body->data == NULL) {
        Py_CLEAR(body->owner);
        return -1;
    }
    body->size = (size_t)size;
    return 0;
}

int
publish_body_take_other(cpika_values *v, PyObject *value, publish_body *body)
{
    *body = (publish_body){0};
    if (PyBytes_Check(value) || PyUnicode_Check(value)) {
        PyObject *sent = cpika_is_plain_string(value) ? Py_NewRef(value) : cpika_string_sent(v, value);
        return sent == NULL ? -1 : take_bytes(sent, body);
    }
    if (PyObject_CheckBuffer(value)) {
        if (PyObject_GetBuffer(value, &body->view, PyBUF_SIMPLE) < 0) {
            return -1;
        }
        body->data = body->view.buf;
        body->size = (size_t)body->view.len;
        return 0;
    }
    return take_encoded(v, value, body);
}

int
publish_body_copy_other(publish_body *body)
{
    PyObject *copy = PyBytes_FromStringAndSize((const char *)body->data, (Py_ssize_t)body->size);
    if (copy == NULL) {
        return -1;
    }
    PyBuffer_Release(&body->view);
    body->owner = copy;
    body->data = (const uint8_t *)PyBytes_AS_STRING(copy);
    return 0;
}

/* ---- frames ---- */

static int
no_memory(void)
{
    PyErr_NoMemory();
    return -1;
}

/* A content header without properties. */
enum { EMPTY_HEADER = CPIKA_FRAME_OVERHEAD + 14 };

/* Basic.Publish: two short strings between fixed bytes.  Leaves room for an empty header. */
static int
encode_publish(CpikaChannel *ch, const publish_args *a, cpika_buf *out, cpika_identity *id)
{
    cpika_values *values = &ch->st->values;
    Py_ssize_t exchange_len, key_len;
    if (cpika_shortstr_check(values, a->exchange, "exchange", &id->exchange, &exchange_len) < 0
        || cpika_shortstr_check(values, a->routing_key, "routing_key", &id->key, &key_len) < 0) {
        return -1;
    }
    id->exchange_len = (size_t)exchange_len;
    id->key_len = (size_t)key_len;
    size_t payload = 4 + 2 + 1 + id->exchange_len + 1 + id->key_len + 1;
    if (cpika_buf_reserve(out, CPIKA_FRAME_OVERHEAD + payload + EMPTY_HEADER) < 0) {
        return no_memory();
    }
    uint8_t *p = out->data + out->len;
    cpika_frame_put_head(p, CPIKA_FRAME_METHOD, (uint16_t)ch->engine.number, (uint32_t)payload);
    p += CPIKA_FRAME_HEAD_SIZE;
    cpika_put32(p, CPIKA_ID_basic_publish);
    cpika_put16(p + 4, 0);  // ticket: reserved
    p += 6;
    *p++ = (uint8_t)exchange_len;
    memcpy(p, id->exchange, id->exchange_len);
    p += exchange_len;
    *p++ = (uint8_t)key_len;
    memcpy(p, id->key, id->key_len);
    p += key_len;
    *p++ = a->mandatory ? 1 : 0;
    *p = CPIKA_FRAME_END;
    out->len += CPIKA_FRAME_OVERHEAD + payload;
    return 0;
}

static void
put_empty_header(const CpikaChannel *ch, size_t body_size, cpika_buf *out)
{
    uint8_t *p = out->data + out->len;
    cpika_frame_put_head(p, CPIKA_FRAME_HEADER, (uint16_t)ch->engine.number, 14);
    p += CPIKA_FRAME_HEAD_SIZE;
    cpika_put32(p, (uint32_t)(CPIKA_ID_basic_publish >> 16) << 16);  // class; weight 0
    cpika_put64(p + 4, body_size);
    cpika_put16(p + 12, 0);  // flags
    p[14] = CPIKA_FRAME_END;
    out->len += EMPTY_HEADER;
}

static int
encode_header(CpikaChannel *ch, const publish_args *a, size_t body_size, cpika_buf *out)
{
    size_t start = 0;
    if (cpika_frame_begin(out, CPIKA_FRAME_HEADER, (uint16_t)ch->engine.number, &start) < 0
        || cpika_buf_reserve(out, 12) < 0) {
        return no_memory();
    }
    uint8_t *p = out->data + out->len;
    cpika_put32(p, (uint32_t)(CPIKA_ID_basic_publish >> 16) << 16);  // class; weight 0
    cpika_put64(p + 4, body_size);
    out->len += 12;
    int given = cpika_arg_true(a->properties, 0);  // pika: `properties or BasicProperties()`
    if (given < 0 || cpika_props_encode(&ch->st->values, given ? a->properties : Py_None, out) < 0) {
        return -1;
    }
    size_t size = out->len - start - CPIKA_FRAME_HEAD_SIZE;
    uint32_t frame_max = ch->conn->engine.frame_max;
    int rc = cpika_frame_end(out, start, frame_max);
    if (rc == CPIKA_E_FRAME_SIZE) {
        PyErr_Format(
            PyExc_ValueError,
            "properties take a content header of %zu bytes, more than the negotiated frame_max %u allows",
            size, (unsigned)frame_max);
        return -1;
    }
    return rc < 0 ? no_memory() : 0;
}

int
publish_encode_head(CpikaChannel *ch, const publish_args *a, size_t body_size, cpika_buf *out,
                    cpika_identity *identity)
{
    if (encode_publish(ch, a, out, identity) < 0) {
        return -1;
    }
    if (a->properties == NULL || a->properties == Py_None) {
        put_empty_header(ch, body_size, out);
        return 0;
    }
    return encode_header(ch, a, body_size, out);
}

int
publish_encode_body(const CpikaChannel *ch, const publish_body *body, cpika_buf *out)
{
    size_t most = ch->conn->engine.frame_max - CPIKA_FRAME_OVERHEAD;
    for (size_t at = 0; at < body->size;) {
        size_t n = body->size - at < most ? body->size - at : most;
        if (cpika_buf_reserve(out, n + CPIKA_FRAME_OVERHEAD) < 0) {
            return no_memory();
        }
        uint8_t *p = out->data + out->len;
        cpika_frame_put_head(p, CPIKA_FRAME_BODY, (uint16_t)ch->engine.number, (uint32_t)n);
        memcpy(p + CPIKA_FRAME_HEAD_SIZE, body->data + at, n);
        p[CPIKA_FRAME_HEAD_SIZE + n] = CPIKA_FRAME_END;
        out->len += n + CPIKA_FRAME_OVERHEAD;
        at += n;
    }
    return 0;
}
