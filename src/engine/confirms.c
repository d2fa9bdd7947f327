/* confirms.c - see confirms.h.
 * Layer: engine.  Owns: see confirms.h.  Threads: with the GIL.  Errors: see confirms.h. */
#include "confirms.h"

#include <string.h>

cpika_confirm *
cpika_confirm_new(void)
{
    return PyMem_Calloc(1, sizeof(cpika_confirm));
}

void
cpika_confirm_free(cpika_confirm *c)
{
    cpika_message_decref(c->returned);
    PyMem_Free(c);
}

bool
cpika_confirms_settle(cpika_confirm **list, const cpika_verdict *v)
{
    bool any = false;
    for (cpika_confirm **at = list; *at != NULL;) {
        cpika_confirm *c = *at;
        if (!cpika_verdict_covers(v, c->delivery_tag)) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        any = true;
        c->settled = true;
        c->nacked = v->nack;
        c->multiple = v->multiple;
        c->requeue = v->requeue;
        c->nack_tag = v->tag;
        if (c->abandoned) {
            cpika_confirm_free(c);
        }
    }
    return any;
}

void
cpika_confirms_fail(cpika_confirm **list)
{
    cpika_confirm *c = *list;
    *list = NULL;
    while (c != NULL) {
        cpika_confirm *next = c->next;
        if (c->abandoned) {
            cpika_confirm_free(c);
        } else {
            c->failed = true;
        }
        c = next;
    }
}

static bool
same_bytes(const uint8_t *a, size_t n, const uint8_t *b, size_t m)
{
    return n == m && (n == 0 || memcmp(a, b, n) == 0);
}

bool
cpika_confirm_is(const cpika_confirm *c, const cpika_identity *identity)
{
    if (!c->mandatory || c->returned != NULL) {
        return false;
    }
    if (c->abandoned) {
        return c->hash == cpika_identity_hash(identity);
    }
    // The call waits, and its bytes with it: compared only when something comes back, which costs a publish nothing.
    const cpika_identity *own = &c->identity;
    return same_bytes(own->exchange, own->exchange_len, identity->exchange, identity->exchange_len)
           && same_bytes(own->key, own->key_len, identity->key, identity->key_len)
           && same_bytes(own->body, own->body_len, identity->body, identity->body_len);
}

void
cpika_confirm_abandon(cpika_confirm *c)
{
    if (c->settled || c->failed || c->delivery_tag == 0) {
        cpika_confirm_free(c);
        return;
    }
    c->abandoned = true;
    c->hash = c->mandatory ? cpika_identity_hash(&c->identity) : 0;
    c->identity = (cpika_identity){0};
}
