/* method.h - the methods of the spec and their arguments as bytes, by rabbitmq-c's codec.
 * Layer: wire (libc, rabbitmq-c).
 * Owns: the descriptors (constant).  Values reference the bytes they were decoded from.
 * Threads: any.
 * Errors: negative cpika_status; outputs unchanged on error unless said otherwise. */
#ifndef CPIKA_WIRE_METHOD_H
#define CPIKA_WIRE_METHOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "spec_table.h"

typedef enum {
    CPIKA_KIND_octet,
    CPIKA_KIND_short,
    CPIKA_KIND_long,
    CPIKA_KIND_longlong,  // timestamps too
    CPIKA_KIND_bit,
    CPIKA_KIND_shortstr,
    CPIKA_KIND_longstr,
    CPIKA_KIND_table,
} cpika_kind;

/* Default of a constructor's argument, in pika's eyes. */
typedef struct {
    enum {
        CPIKA_DEFAULT_REQUIRED,
        CPIKA_DEFAULT_NONE,
        CPIKA_DEFAULT_BOOL,
        CPIKA_DEFAULT_INT,
        CPIKA_DEFAULT_STR,
        CPIKA_DEFAULT_DIRECT,  // ExchangeType.direct
    } what;
    unsigned number;   // of BOOL and INT
    const char *text;  // of STR
} cpika_default;

#define CPIKA_REQUIRED {CPIKA_DEFAULT_REQUIRED, 0, NULL}
#define CPIKA_NONE {CPIKA_DEFAULT_NONE, 0, NULL}
#define CPIKA_FALSE {CPIKA_DEFAULT_BOOL, 0, NULL}
#define CPIKA_TRUE {CPIKA_DEFAULT_BOOL, 1, NULL}
#define CPIKA_INT(n) {CPIKA_DEFAULT_INT, (n), NULL}
#define CPIKA_STR(s) {CPIKA_DEFAULT_STR, 0, (s)}
#define CPIKA_DIRECT {CPIKA_DEFAULT_DIRECT, 0, "direct"}

typedef struct {
    const char *name;
    cpika_kind kind;
    cpika_default dflt;
    size_t offset;  // of the member in rabbitmq-c's struct; of properties: unused
} cpika_field;

enum {
    CPIKA_PLAIN = 0,
    CPIKA_SYNC = 1,     // pika's `synchronous`: the sender awaits an answer
    CPIKA_CONTENT = 2,  // header and body frames follow
};

typedef struct {
    uint32_t id;
    const char *class_name;
    const char *name;       // "Deliver"
    const char *full_name;  // "Basic.Deliver"
    unsigned flags;
    unsigned field_count;
    const cpika_field *fields;
} cpika_method_spec;

/* CPIKA_ID_basic_deliver == 0x003C003C, ... */
enum {
#define METHOD(id, cls, name, owner, flags, ...) CPIKA_ID_##owner = (id),
#define FIELD(owner, member, kind, name, dflt)
    CPIKA_SPEC_METHODS(METHOD, FIELD)
#undef METHOD
};

/* CPIKA_IX_basic_deliver: its place in cpika_method_specs. */
enum {
#define METHOD(id, cls, name, owner, flags, ...) CPIKA_IX_##owner,
    CPIKA_SPEC_METHODS(METHOD, FIELD)
#undef METHOD
#undef FIELD
        CPIKA_METHOD_COUNT
};

#define CPIKA_METHOD_MAX_FIELDS 9  // Exchange.Declare

extern const cpika_method_spec cpika_method_specs[CPIKA_METHOD_COUNT];

/* NULL: no such method. */
const cpika_method_spec *cpika_method_find(uint32_t id);

/* One argument, in no language's objects. */
typedef struct {
    union {
        uint64_t number;       // octet ... longlong, bit (0 or 1)
        const uint8_t *bytes;  // strings; a table with its 4-byte length
    } as;
    size_t len;  // of bytes
} cpika_value;

/* Decodes the arguments at the beginning of `args`: `values` gets spec->field_count values that reference `args`,
 * *used the length they took (trailing bytes are the caller's to judge), on error where the walk stopped; `values`
 * are of no use then. */
int cpika_method_decode_args(const cpika_method_spec *spec, const uint8_t *args, size_t len,
                             cpika_value *values, size_t *used);

/* Appends the arguments (without the id).  Numbers above their kind's range are the caller's to refuse: they are cut. */
int cpika_method_encode_args(const cpika_method_spec *spec, const cpika_value *values, cpika_buf *out);

/* Major and minor version of rabbitmq-c, 0x000B for 0.11: whose headers this was compiled with, and what runs. */
typedef struct {
    unsigned headers;
    unsigned library;
} cpika_codec_versions;

cpika_codec_versions cpika_codec_versions_here(void);

/* Reads one field of any kind but bit from data[*pos]; the walk that all decoding begins with. */
int cpika_field_walk(cpika_kind kind, const uint8_t *data, size_t len, size_t *pos, cpika_value *value);

#endif
