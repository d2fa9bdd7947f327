/* method.c - the methods of the spec and their arguments as bytes, by rabbitmq-c's codec.  See method.h.
 * Layer: wire (libc, rabbitmq-c).  Owns: see method.h.  Threads: any.  Errors: negative cpika_status.
 *
 * Nothing from the network reaches rabbitmq-c before our own walker has passed it.  Tables never do: its table codec
 * recurses without limit (before 0.14) and loses kinds, so it is shown an empty table (four zero bytes) in the place
 * of each, and the true bytes are put back by us.  No method has more than one table. */
#include "method.h"

#include "rmq.h"
#include "table.h"

/* ---- descriptors ---- */

#define FIELD(owner, member, kind, name, dflt) \
    {#name, CPIKA_KIND_##kind, dflt, offsetof(amqp_##owner##_t, member)},
#define METHOD(id, cls, name, owner, flags, ...) static const cpika_field fields_##owner[] = {__VA_ARGS__{0}};
CPIKA_SPEC_METHODS(METHOD, FIELD)
#undef METHOD

const cpika_method_spec cpika_method_specs[CPIKA_METHOD_COUNT] = {
#define METHOD(id, cls, name, owner, flags, ...)                                                           \
    {(id),          #cls, #name, #cls "." #name, (flags), sizeof fields_##owner / sizeof(cpika_field) - 1, \
     fields_##owner},
    CPIKA_SPEC_METHODS(METHOD, FIELD)
#undef METHOD
#undef FIELD
};

/* The C type that each kind has in rabbitmq-c's structs; checked, because values are copied there by offset. */
typedef uint8_t rmq_octet;
typedef uint16_t rmq_short;
typedef uint32_t rmq_long;
typedef uint64_t rmq_longlong;
typedef amqp_boolean_t rmq_bit;
typedef amqp_bytes_t rmq_shortstr;
typedef amqp_bytes_t rmq_longstr;
typedef amqp_table_t rmq_table;

#define FIELD(owner, member, kind, name, dflt) \
    _Static_assert(sizeof(((amqp_##owner##_t *)0)->member) == sizeof(rmq_##kind), #owner "." #member);
#define METHOD(id, cls, name, owner, flags, ...) __VA_ARGS__
CPIKA_SPEC_METHODS(METHOD, FIELD)
#undef METHOD
#undef FIELD

#define FIELD(owner, member, kind, name, dflt)
typedef union {
#define METHOD(id, cls, name, owner, flags, ...) amqp_##owner##_t owner;
    CPIKA_SPEC_METHODS(METHOD, FIELD)
#undef METHOD
} rmq_method;

const cpika_method_spec *
cpika_method_find(uint32_t id)
{
    switch (id) {
#define METHOD(id, cls, name, owner, flags, ...) \
    case (id):                                   \
        return &cpika_method_specs[CPIKA_IX_##owner];
        CPIKA_SPEC_METHODS(METHOD, FIELD)
#undef METHOD
#undef FIELD
    default:
        return NULL;
    }
}

/* ---- walk ---- */

static int
walk_number(unsigned size, const uint8_t *data, size_t len, size_t *pos, cpika_value *value)
{
    const uint8_t *p = data + *pos;

    if (len - *pos < size) {
        return CPIKA_E_TRUNCATED;
    }
    value->as.number = size == 1   ? p[0]
                       : size == 2 ? cpika_get16(p)
                       : size == 4 ? cpika_get32(p)
                                   : cpika_get64(p);
    value->len = 0;
    *pos += size;
    return CPIKA_OK;
}

static int
walk_string(unsigned size, const uint8_t *data, size_t len, size_t *pos, cpika_value *value)
{
    size_t at = *pos;
    cpika_value length;
    int rc = walk_number(size, data, len, &at, &length);

    if (rc != CPIKA_OK) {
        return rc;
    }
    if (length.as.number > len - at) {
        return CPIKA_E_TRUNCATED;
    }
    value->as.bytes = data + at;
    value->len = (size_t)length.as.number;
    *pos = at + value->len;
    return CPIKA_OK;
}

static int
walk_table(const uint8_t *data, size_t len, size_t *pos, cpika_value *value)
{
    size_t begin = *pos;
    int rc = cpika_table_walk(data, len, pos);

    value->as.bytes = data + begin;
    value->len = *pos - begin;
    return rc;
}

int
cpika_field_walk(cpika_kind kind, const uint8_t *data, size_t len, size_t *pos, cpika_value *value)
{
    switch (kind) {
    case CPIKA_KIND_octet:
        return walk_number(1, data, len, pos, value);
    case CPIKA_KIND_short:
        return walk_number(2, data, len, pos, value);
    case CPIKA_KIND_long:
        return walk_number(4, data, len, pos, value);
    case CPIKA_KIND_longlong:
        return walk_number(8, data, len, pos, value);
    case CPIKA_KIND_shortstr:
        return walk_string(1, data, len, pos, value);
    case CPIKA_KIND_longstr:
        return walk_string(4, data, len, pos, value);
    case CPIKA_KIND_table:
        return walk_table(data, len, pos, value);
    case CPIKA_KIND_bit:
        break;
    }
    return CPIKA_E_CODEC;
}

/* Neighbouring bits share an octet, the first in its lowest bit. */
static int
walk_args(const cpika_method_spec *spec, const uint8_t *args, size_t len, cpika_value *values, size_t *used)
{
    size_t pos = 0;
    unsigned bit = 0;  // of the octet at pos; 0: it has not been begun

    for (unsigned i = 0; i < spec->field_count; i++) {
        cpika_kind kind = spec->fields[i].kind;
        int rc = CPIKA_OK;
        if (kind == CPIKA_KIND_bit && pos == len) {
            *used = pos;
            return CPIKA_E_TRUNCATED;
        }
        if (kind == CPIKA_KIND_bit) {
            values[i].as.number = args[pos] >> bit & 1u;
            values[i].len = 0;
            bit++;
        }
        if (bit == 8 || (bit > 0 && kind != CPIKA_KIND_bit)) {
            pos++;
            bit = 0;
        }
        if (kind != CPIKA_KIND_bit) {
            rc = cpika_field_walk(kind, args, len, &pos, &values[i]);
        }
        if (rc != CPIKA_OK) {
            *used = pos;
            return rc;
        }
    }
    *used = pos + (bit > 0);
    return CPIKA_OK;
}

/* ---- rabbitmq-c's structs ---- */

static bool
by_hand(const cpika_method_spec *spec)
{
#ifdef CPIKA_RMQ_WITHOUT_UPDATE_SECRET
    return spec->id == CPIKA_ID_connection_update_secret || spec->id == CPIKA_ID_connection_update_secret_ok;
#else
    (void)spec;
    return false;
#endif
}

/* Takes one value out of a decoded struct.  Numbers are rabbitmq-c's.  Strings and tables stay what the walk found:
 * where they stand in the caller's bytes, while rabbitmq-c may have seen a copy; it has to agree about their length. */
static int
value_from_rmq(const cpika_field *field, const void *decoded, cpika_value *value)
{
    const uint8_t *member = (const uint8_t *)decoded + field->offset;
    rmq_octet octet;
    rmq_short short_;
    rmq_long long_;
    rmq_bit bit;
    amqp_bytes_t bytes;

    switch (field->kind) {
    case CPIKA_KIND_octet:
        memcpy(&octet, member, sizeof octet);
        value->as.number = octet;
        break;
    case CPIKA_KIND_short:
        memcpy(&short_, member, sizeof short_);
        value->as.number = short_;
        break;
    case CPIKA_KIND_long:
        memcpy(&long_, member, sizeof long_);
        value->as.number = long_;
        break;
    case CPIKA_KIND_longlong:
        memcpy(&value->as.number, member, sizeof value->as.number);
        break;
    case CPIKA_KIND_bit:
        memcpy(&bit, member, sizeof bit);
        value->as.number = bit != 0;
        break;
    case CPIKA_KIND_shortstr:
    case CPIKA_KIND_longstr:
        memcpy(&bytes, member, sizeof bytes);
        return bytes.len == value->len ? CPIKA_OK : CPIKA_E_CODEC;
    case CPIKA_KIND_table:
        break;
    }
    return CPIKA_OK;
}

static void
value_to_rmq(const cpika_field *field, const cpika_value *value, rmq_method *method)
{
    uint8_t *member = (uint8_t *)method + field->offset;
    rmq_octet octet = (rmq_octet)value->as.number;
    rmq_short short_ = (rmq_short)value->as.number;
    rmq_long long_ = (rmq_long)value->as.number;
    rmq_bit bit = value->as.number != 0;
    amqp_bytes_t bytes;

    switch (field->kind) {
    case CPIKA_KIND_octet:
        memcpy(member, &octet, sizeof octet);
        break;
    case CPIKA_KIND_short:
        memcpy(member, &short_, sizeof short_);
        break;
    case CPIKA_KIND_long:
        memcpy(member, &long_, sizeof long_);
        break;
    case CPIKA_KIND_longlong:
        memcpy(member, &value->as.number, sizeof value->as.number);
        break;
    case CPIKA_KIND_bit:
        memcpy(member, &bit, sizeof bit);
        break;
    case CPIKA_KIND_shortstr:
    case CPIKA_KIND_longstr:
        bytes.len = value->len;
        bytes.bytes = (void *)(uintptr_t)value->as.bytes;  // only read from
        memcpy(member, &bytes, sizeof bytes);
        break;
    case CPIKA_KIND_table:
        memcpy(member, &amqp_empty_table, sizeof amqp_empty_table);
        break;
    }
}

/* Index of the table among the fields, or field_count. */
static unsigned
table_index(const cpika_method_spec *spec)
{
    unsigned i = 0;
    while (i < spec->field_count && spec->fields[i].kind != CPIKA_KIND_table) {
        i++;
    }
    return i;
}

/* Copy of the arguments, in the pool's memory, with an empty table in the place of `table`. */
static int
args_without_table(const uint8_t *args, size_t used, const cpika_value *table, amqp_pool_t *pool,
                   amqp_bytes_t *out)
{
    size_t before = (size_t)(table->as.bytes - args);
    size_t after = used - before - table->len;
    uint8_t *copy;

    amqp_pool_alloc_bytes(pool, before + 4 + after, out);
    copy = (uint8_t *)out->bytes;
    if (copy == NULL) {
        return CPIKA_E_NOMEM;
    }
    memcpy(copy, args, before);
    memset(copy + before, 0, 4);
    memcpy(copy + before + 4, table->as.bytes + table->len, after);
    return CPIKA_OK;
}

static int
decode_by_rmq(const cpika_method_spec *spec, const uint8_t *args, size_t used, cpika_value *values)
{
    amqp_bytes_t seen = {used, (void *)(uintptr_t)args};  // only read from
    unsigned table = table_index(spec);
    amqp_pool_t pool;
    void *decoded = NULL;
    int rc = CPIKA_OK;

    init_amqp_pool(&pool, 512);
    if (table < spec->field_count) {
        rc = args_without_table(args, used, &values[table], &pool, &seen);
    }
    if (rc == CPIKA_OK) {
        rc = amqp_decode_method(spec->id, &pool, seen, &decoded) == AMQP_STATUS_OK ? CPIKA_OK : CPIKA_E_CODEC;
    }
    for (unsigned i = 0; i < spec->field_count && rc == CPIKA_OK; i++) {
        rc = value_from_rmq(&spec->fields[i], decoded, &values[i]);
    }
    empty_amqp_pool(&pool);
    return rc;
}

int
cpika_method_decode_args(const cpika_method_spec *spec, const uint8_t *args, size_t len, cpika_value *values,
                         size_t *used)
{
    int rc = walk_args(spec, args, len, values, used);

    if (rc == CPIKA_OK && !by_hand(spec)) {
        rc = decode_by_rmq(spec, args, *used, values);
    }
    return rc;
}

/* ---- encode ---- */

/* Length that the arguments take; *table_at is where the table begins. */
static int
encoded_length(const cpika_method_spec *spec, const cpika_value *values, size_t *total, size_t *table_at)
{
    static const uint8_t sizes[] = {
        [CPIKA_KIND_octet] = 1,    [CPIKA_KIND_short] = 2,    [CPIKA_KIND_long] = 4,
        [CPIKA_KIND_longlong] = 8, [CPIKA_KIND_shortstr] = 1, [CPIKA_KIND_longstr] = 4,
        [CPIKA_KIND_table] = 0,    [CPIKA_KIND_bit] = 0,
    };
    size_t n = 0;
    unsigned bits = 0;

    for (unsigned i = 0; i < spec->field_count; i++) {
        cpika_kind kind = spec->fields[i].kind;
        bool is_bytes = kind == CPIKA_KIND_shortstr || kind == CPIKA_KIND_longstr || kind == CPIKA_KIND_table;
        bits = kind == CPIKA_KIND_bit ? bits + 1 : 0;
        if (kind == CPIKA_KIND_shortstr && values[i].len > UINT8_MAX) {
            return CPIKA_E_SHORTSTR;
        }
        if (is_bytes && values[i].len > UINT32_MAX - n - sizes[kind]) {
            return CPIKA_E_FRAME_SIZE;
        }
        if (kind == CPIKA_KIND_table) {
            *table_at = n;
        }
        n += sizes[kind] + (is_bytes ? values[i].len : 0) + (bits % 8 == 1);
    }
    *total = n;
    return CPIKA_OK;
}

/* The strings of UpdateSecret, where rabbitmq-c does not know it. */
static void
encode_by_hand(const cpika_method_spec *spec, const cpika_value *values, cpika_buf *out)
{
    for (unsigned i = 0; i < spec->field_count; i++) {
        uint8_t *p = out->data + out->len;
        size_t prefix = spec->fields[i].kind == CPIKA_KIND_shortstr ? 1 : 4;
        if (prefix == 1) {
            p[0] = (uint8_t)values[i].len;
        } else {
            cpika_put32(p, (uint32_t)values[i].len);
        }
        memcpy(p + prefix, values[i].as.bytes, values[i].len);
        out->len += prefix + values[i].len;
    }
}

/* Room for `total` bytes is there. */
static int
encode_by_rmq(const cpika_method_spec *spec, const cpika_value *values, size_t total, size_t table_at,
              cpika_buf *out)
{
    unsigned table = table_index(spec);
    size_t table_len = table < spec->field_count ? values[table].len : 4;
    size_t expected = total - table_len + 4;
    uint8_t *begin = out->data + out->len;
    amqp_bytes_t room = {expected, begin};
    rmq_method method;
    int written;

    memset(&method, 0, sizeof method);
    for (unsigned i = 0; i < spec->field_count; i++) {
        value_to_rmq(&spec->fields[i], &values[i], &method);
    }
    written = amqp_encode_method(spec->id, &method, room);
    if (written < 0 || (size_t)written != expected) {
        return CPIKA_E_CODEC;
    }
    if (table < spec->field_count) {
        memmove(begin + table_at + table_len, begin + table_at + 4, expected - table_at - 4);
        memcpy(begin + table_at, values[table].as.bytes, table_len);
    }
    out->len += total;
    return CPIKA_OK;
}

int
cpika_method_encode_args(const cpika_method_spec *spec, const cpika_value *values, cpika_buf *out)
{
    size_t total = 0;
    size_t table_at = 0;
    int rc = encoded_length(spec, values, &total, &table_at);

    if (rc == CPIKA_OK && total > 0) {
        rc = cpika_buf_reserve(out, total);
    }
    if (rc != CPIKA_OK || total == 0) {
        return rc;
    }
    if (by_hand(spec)) {
        encode_by_hand(spec, values, out);
        return CPIKA_OK;
    }
    return encode_by_rmq(spec, values, total, table_at, out);
}

cpika_codec_versions
cpika_codec_versions_here(void)
{
    return (cpika_codec_versions){.headers = AMQP_VERSION >> 16, .library = amqp_version_number() >> 16};
}
