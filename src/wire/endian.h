/* endian.h - big-endian integers at any address.
 * Layer: wire (libc only).  Owns: nothing.  Threads: any.  Errors: none; the caller has checked the bounds. */
#ifndef CPIKA_WIRE_ENDIAN_H
#define CPIKA_WIRE_ENDIAN_H

#include <stdint.h>

#include "hot.h"

/* Written byte by byte: compilers make one load and one bswap of it, and no alignment is assumed. */
CPIKA_HOT uint16_t
cpika_get16(const uint8_t *p)
{
    return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

CPIKA_HOT uint32_t
cpika_get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

CPIKA_HOT uint64_t
cpika_get64(const uint8_t *p)
{
    return (uint64_t)cpika_get32(p) << 32 | cpika_get32(p + 4);
}

CPIKA_HOT void
cpika_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

CPIKA_HOT void
cpika_put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

CPIKA_HOT void
cpika_put64(uint8_t *p, uint64_t v)
{
    cpika_put32(p, (uint32_t)(v >> 32));
    cpika_put32(p + 4, (uint32_t)v);
}

#endif
