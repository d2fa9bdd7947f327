/* proplist.c - bounded walk over the property flags and list of a content header.  See proplist.h.
 * Layer: wire (libc only).  Owns: see proplist.h.  Threads: any.  Errors: negative cpika_status. */
#include "proplist.h"

const cpika_field cpika_prop_fields[CPIKA_PROP_COUNT] = {
#define PROPERTY(bit, kind, name) {#name, CPIKA_KIND_##kind, CPIKA_NONE, 0},
    CPIKA_SPEC_PROPERTIES(PROPERTY)
#undef PROPERTY
};

#define PROPERTY(bit, kind, name) \
    _Static_assert((0x8000u >> CPIKA_PROP_##name) == (1u << (bit)), "flags descend from bit 15: " #name);
CPIKA_SPEC_PROPERTIES(PROPERTY)
#undef PROPERTY

/* Each word's lowest bit says that another follows.  Those after the first name properties that do not exist. */
static int
walk_flags(const uint8_t *raw, size_t len, unsigned *flags, size_t *pos)
{
    unsigned word;

    *pos = 0;
    do {
        if (len - *pos < 2) {
            return CPIKA_E_TRUNCATED;
        }
        word = cpika_get16(raw + *pos);
        if (*pos == 0) {
            *flags = word & 0xFFFCu;
        }
        *pos += 2;
    } while (word & 1);
    return CPIKA_OK;
}

int
cpika_props_walk(const uint8_t *raw, size_t len, cpika_value values[CPIKA_PROP_COUNT], unsigned *flags,
                 size_t *used)
{
    size_t pos;
    int rc = walk_flags(raw, len, flags, &pos);

    for (unsigned i = 0; i < CPIKA_PROP_COUNT && rc == CPIKA_OK; i++) {
        if (*flags & cpika_prop_flag(i)) {
            rc = cpika_field_walk(cpika_prop_fields[i].kind, raw, len, &pos, &values[i]);
        }
    }
    *used = pos;
    return rc;
}

int
cpika_props_check(const uint8_t *raw, size_t len)
{
    cpika_value values[CPIKA_PROP_COUNT];
    unsigned flags;
    size_t used;
    int rc = cpika_props_walk(raw, len, values, &flags, &used);

    if (rc == CPIKA_OK && used != len) {
        rc = CPIKA_E_TRAILING;
    }
    return rc;
}
