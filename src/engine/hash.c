/* hash.c - see hash.h.
 * Layer: engine.  Owns: nothing.  Threads: any.  Errors: none. */
#include "hash.h"

#include <string.h>

enum { LANES = 4, WORD = 8, BLOCK = LANES * WORD };

#define MIX UINT64_C(0xFF51AFD7ED558CCD)
#define STEP UINT64_C(0x9E3779B97F4A7C15)

static uint64_t
word_at(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Not for hostile bytes: who makes two of his own messages collide gets his own messages mixed up. */
static uint64_t
hash_bytes(uint64_t seed, const uint8_t *p, size_t n)
{
    uint64_t h = seed ^ n * STEP;
    if (n >= BLOCK) {
        uint64_t lane[LANES] = {h, h + STEP, h ^ MIX, h - STEP};
        for (; n >= BLOCK; p += BLOCK, n -= BLOCK) {
            for (int i = 0; i < LANES; i++) {
                lane[i] = (lane[i] ^ word_at(p + i * WORD)) * MIX;
                lane[i] ^= lane[i] >> 32;
            }
        }
        for (int i = 0; i < LANES; i++) {
            h = (h ^ lane[i]) * MIX;
            h ^= h >> 29;
        }
    }
    for (; n >= WORD; p += WORD, n -= WORD) {
        h = (h ^ word_at(p)) * MIX;
        h ^= h >> 32;
    }
    uint64_t tail = 0;
    if (n > 0) {
        memcpy(&tail, p, n);
    }
    h = (h ^ tail) * MIX;
    return h ^ h >> 32;
}

uint64_t
cpika_identity_hash(const cpika_identity *id)
{
    uint64_t h = hash_bytes(0, id->exchange, id->exchange_len);
    h = hash_bytes(h, id->key, id->key_len);
    h = hash_bytes(h, id->body, id->body_len);
    return h != 0 ? h : 1;
}
