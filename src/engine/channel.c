/* channel.c - see channel.h.
 * Layer: engine.  Owns: see channel.h.  Threads: with the GIL.  Errors: see channel.h. */
#include "channel.h"

void
cpika_channel_free(cpika_channel *ch)
{
    cpika_content_clear(&ch->content);
    cpika_channel_fail_all(ch);
    cpika_consumers_free(&ch->consumers);
    PyMem_Free(ch->reason);
    ch->reason = NULL;
}

void
cpika_channel_fail_all(cpika_channel *ch)
{
    cpika_requests_fail(&ch->requests);
    cpika_confirms_fail(&ch->confirms);
    for (cpika_window *w = ch->windows; w != NULL; w = w->outer) {
        w->over = true;
    }
}

int
cpika_channel_settle(cpika_channel *ch, const cpika_verdict *v)
{
    int rc = CPIKA_OK;
    for (cpika_window *w = ch->windows; w != NULL && rc == CPIKA_OK; w = w->outer) {
        rc = cpika_window_settle(w, v);
    }
    cpika_confirms_settle(&ch->confirms, v);
    return rc;
}

/* Basic.Return: reply code, reply text, exchange, routing key. */
static bool
identity_of_return(const cpika_message *m, cpika_identity *id)
{
    const uint8_t *text;
    size_t n;
    size_t at = 4 + 2;
    id->body = (const uint8_t *)PyBytes_AS_STRING(m->body);
    id->body_len = (size_t)PyBytes_GET_SIZE(m->body);
    return cpika_payload_shortstr(m->bytes, m->method_len, &at, &text, &n)
           && cpika_payload_shortstr(m->bytes, m->method_len, &at, &id->exchange, &id->exchange_len)
           && cpika_payload_shortstr(m->bytes, m->method_len, &at, &id->key, &id->key_len);
}

int
cpika_channel_note_return(cpika_channel *ch, cpika_message *message)
{
    cpika_identity id;
    if (!identity_of_return(message, &id)) {
        return CPIKA_E_TRUNCATED;
    }
    cpika_confirm *confirm = NULL;
    cpika_window *window = NULL;
    uint64_t oldest = UINT64_MAX;
    for (cpika_confirm *c = ch->confirms; c != NULL; c = c->next) {
        if (c->delivery_tag < oldest && cpika_confirm_is(c, &id)) {
            confirm = c;
            oldest = c->delivery_tag;
        }
    }
    if (ch->windows != NULL) {
        uint64_t hash = cpika_identity_hash(&id);
        for (cpika_window *w = ch->windows; w != NULL; w = w->outer) {
            uint64_t tag = cpika_window_find(w, hash);
            if (tag < oldest) {
                window = w;
                oldest = tag;
            }
        }
    }
    if (window != NULL) {
        return cpika_window_note_return(window, oldest, message);
    }
    if (confirm != NULL) {
        confirm->returned = cpika_message_incref(message);
    }
    return CPIKA_OK;
}
