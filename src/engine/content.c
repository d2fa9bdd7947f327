/* content.c - see content.h.
 * Layer: engine.  Owns: see content.h.  Threads: with the GIL.  Errors: see content.h. */
#include "content.h"

#include "wire/proplist.h"

enum {
    BODY_AHEAD = 1024 * 1024,
    RAW_KEPT = 4096,  // a larger buffer is not kept for the next message
};

void
cpika_content_clear(cpika_content *c)
{
    PyObject *body = c->body;
    cpika_buf_free(&c->raw);
    *c = (cpika_content){0};
    Py_XDECREF(body);  // last: another thread may run then
}

int
cpika_content_check_header(const cpika_frame *frame, uint32_t method_id)
{
    const uint8_t *p = frame->payload;  // class, weight, body size, property flags and list
    if (frame->size < 14 || cpika_get16(p) != method_id >> 16) {
        return CPIKA_E_TRUNCATED;
    }
    bool empty = frame->size == 14 && cpika_get16(p + 12) == 0;
    return empty ? CPIKA_OK : cpika_props_check(p + 12, frame->size - 12);
}

int
cpika_content_begin(cpika_content *c, const cpika_frame *method)
{
    c->raw.len = 0;
    int rc = cpika_buf_append(&c->raw, method->payload, method->size);
    if (rc == CPIKA_OK) {
        c->method_id = cpika_get32(method->payload);
        c->method_len = method->size;
        c->header_seen = false;
        c->size = c->received = 0;
    }
    return rc;
}

int
cpika_content_header(cpika_content *c, const cpika_frame *frame)
{
    if (c->method_id == 0 || c->header_seen) {
        return CPIKA_E_HEADER_UNDUE;
    }
    int rc = cpika_content_check_header(frame, c->method_id);
    if (rc == CPIKA_OK) {
        rc = cpika_buf_append(&c->raw, frame->payload + 12, frame->size - 12);
    }
    if (rc == CPIKA_OK) {
        c->size = cpika_get64(frame->payload + 4);
        c->header_seen = true;
    }
    return rc;
}

int
cpika_content_check_body(const cpika_content *c, size_t n)
{
    if (!c->header_seen) {
        return CPIKA_E_BODY_UNDUE;
    }
    return n > c->size - c->received ? CPIKA_E_BODY_TOO_LONG : CPIKA_OK;
}

int
cpika_content_room(cpika_content *c, size_t n, uint8_t **target)
{
    size_t have = c->body == NULL ? 0 : (size_t)PyBytes_GET_SIZE(c->body);
    if (c->body == NULL || have - c->received < n) {
        uint64_t want = c->received + (n > BODY_AHEAD ? n : BODY_AHEAD);
        want = want < c->size ? want : c->size;
        if (want > PY_SSIZE_T_MAX) {
            return CPIKA_E_NOMEM;
        }
        if (c->body == NULL) {
            c->body = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)want);
        } else {
            _PyBytes_Resize(&c->body, (Py_ssize_t)want);  // NULL after a failure
        }
        if (c->body == NULL) {
            PyErr_Clear();
            return CPIKA_E_NOMEM;
        }
    }
    *target = (uint8_t *)PyBytes_AS_STRING(c->body) + c->received;
    return CPIKA_OK;
}

int
cpika_content_body(cpika_content *c, const uint8_t *bytes, size_t n)
{
    uint8_t *target;
    int rc = cpika_content_check_body(c, n);
    if (rc == CPIKA_OK && n > 0) {
        rc = cpika_content_room(c, n, &target);
        if (rc == CPIKA_OK) {
            memcpy(target, bytes, n);
            c->received += n;
        }
    }
    return rc;
}

cpika_message *
cpika_content_take(cpika_content *c)
{
    PyObject *body = c->body == NULL ? PyBytes_FromStringAndSize(NULL, 0) : c->body;
    if (body == NULL) {
        PyErr_Clear();
    }
    c->body = NULL;
    cpika_message *m = body == NULL
                           ? NULL
                           : cpika_message_new(c->raw.data, c->method_len, c->raw.data + c->method_len,
                                               c->raw.len - c->method_len, body);
    c->method_id = 0;
    c->header_seen = false;
    if (c->raw.cap > RAW_KEPT) {
        cpika_buf_free(&c->raw);
    }
    return m;
}
