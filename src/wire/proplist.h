/* proplist.h - bounded walk over the property flags and list of a content header.
 * Layer: wire (libc only).
 * Owns: the descriptors (constant).  Values reference the bytes they were read from.
 * Threads: any.
 * Errors: negative cpika_status: CPIKA_E_TRUNCATED, CPIKA_E_TRAILING, and those of table.h. */
#ifndef CPIKA_WIRE_PROPLIST_H
#define CPIKA_WIRE_PROPLIST_H

#include "method.h"

/* CPIKA_PROP_content_type, ...: the place of a property on the wire and in BasicProperties. */
enum {
#define PROPERTY(bit, kind, name) CPIKA_PROP_##name,
    CPIKA_SPEC_PROPERTIES(PROPERTY)
#undef PROPERTY
        CPIKA_PROP_COUNT
};

extern const cpika_field cpika_prop_fields[CPIKA_PROP_COUNT];

static inline unsigned
cpika_prop_flag(unsigned prop)
{
    return 0x8000u >> prop;
}

#define CPIKA_MAX_FIELDS CPIKA_PROP_COUNT
_Static_assert(CPIKA_PROP_COUNT >= CPIKA_METHOD_MAX_FIELDS, "the most fields of any object");

/* Whether the bytes are flags and properties and nothing else. */
int cpika_props_check(const uint8_t *raw, size_t len);

/* Reads flags and properties at the beginning of `raw`: values[i] is set where *flags has cpika_prop_flag(i). */
int cpika_props_walk(const uint8_t *raw, size_t len, cpika_value values[CPIKA_PROP_COUNT], unsigned *flags,
                     size_t *used);

#endif
