/* message.c - see message.h.
 * Layer: engine.  Owns: see message.h.  Threads: with the GIL.  Errors: see message.h. */
#include "message.h"

#include <stdbool.h>
#include <string.h>

#include "wire/method.h"

cpika_message *
cpika_message_new(const uint8_t *method, size_t method_len, const uint8_t *properties, size_t properties_len,
                  PyObject *body)
{
    cpika_message *m = PyMem_Malloc(sizeof *m + method_len + properties_len);
    if (m == NULL) {
        Py_XDECREF(body);
        return NULL;
    }
    m->refs = 1;
    m->body = body;
    m->method_len = (uint32_t)method_len;
    m->properties_len = (uint32_t)properties_len;
    memcpy(m->bytes, method, method_len);
    if (properties_len > 0) {
        memcpy(m->bytes + method_len, properties, properties_len);
    }
    return m;
}

void
cpika_message_decref(cpika_message *m)
{
    if (m != NULL && --m->refs == 0) {
        Py_XDECREF(m->body);
        PyMem_Free(m);
    }
}

int
cpika_payload_shortstr(const uint8_t *payload, size_t len, size_t *at, const uint8_t **text, size_t *n)
{
    if (*at >= len || len - *at - 1 < payload[*at]) {
        return false;
    }
    *n = payload[*at];
    *text = payload + *at + 1;
    *at += 1 + *n;
    return true;
}

uint64_t
cpika_message_delivery_tag(const cpika_message *m)
{
    const uint8_t *tag;
    size_t n;
    size_t at = 4;
    switch (cpika_message_id(m)) {
    case CPIKA_ID_basic_get_ok:
        return cpika_get64(m->bytes + at);
    case CPIKA_ID_basic_deliver:
        return cpika_payload_shortstr(m->bytes, m->method_len, &at, &tag, &n) && m->method_len - at >= 8
                   ? cpika_get64(m->bytes + at)
                   : 0;
    default:
        return 0;
    }
}
