/* hash.h - what a published message is known by when it comes back: Basic.Return carries no delivery tag.
 * Layer: engine.  Owns: nothing.  Threads: any.  Errors: none. */
#ifndef CPIKA_ENGINE_HASH_H
#define CPIKA_ENGINE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Exchange, routing key and body of a message: bytes of somebody else. */
typedef struct {
    const uint8_t *exchange, *key, *body;
    size_t exchange_len, key_len, body_len;
} cpika_identity;

/* Never 0.  Four lanes at once: a body of 1 MB is read at the speed of memory. */
uint64_t cpika_identity_hash(const cpika_identity *id);

#endif
