/* delivery.c - see delivery.h.
 * Layer: engine.  Owns: nothing.  Threads: with the GIL.  Errors: see delivery.h. */
#include "delivery.h"

#include <stdbool.h>

#include "wire/status.h"

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} span;

static inline bool
take(span *s, size_t n, const uint8_t **bytes)
{
    if ((size_t)(s->end - s->at) < n) {
        return false;
    }
    *bytes = s->at;
    s->at += n;
    return true;
}

static inline bool
take_shortstr(span *s, const uint8_t **bytes, size_t *n)
{
    const uint8_t *length;
    if (!take(s, 1, &length)) {
        return false;
    }
    *n = *length;
    return take(s, *n, bytes);
}

static inline int
whole(const span *s, bool sound)
{
    return !sound ? CPIKA_E_TRUNCATED : s->at == s->end ? CPIKA_OK : CPIKA_E_TRAILING;
}

int
cpika_deliver_split(const uint8_t *payload, size_t len, cpika_deliver_fields *out)
{
    span s = {payload + 4, payload + len};
    bool sound = take_shortstr(&s, &out->tag, &out->tag_len) && take(&s, 9, &out->fixed)
                 && take_shortstr(&s, &out->exchange, &out->exchange_len)
                 && take_shortstr(&s, &out->key, &out->key_len);
    return whole(&s, sound);
}

int
cpika_get_ok_split(const uint8_t *payload, size_t len, cpika_origin_fields *out)
{
    span s = {payload + 4, payload + len};
    bool sound = take(&s, 9, &out->fixed) && take_shortstr(&s, &out->exchange, &out->exchange_len)
                 && take_shortstr(&s, &out->key, &out->key_len) && take(&s, 4, &out->rest);
    return whole(&s, sound);
}

int
cpika_return_split(const uint8_t *payload, size_t len, cpika_origin_fields *out)
{
    span s = {payload + 4, payload + len};
    bool sound = take(&s, 2, &out->fixed) && take_shortstr(&s, &out->text, &out->text_len)
                 && take_shortstr(&s, &out->exchange, &out->exchange_len)
                 && take_shortstr(&s, &out->key, &out->key_len);
    return whole(&s, sound);
}
