/* table.c - bounded walk over AMQP field tables and arrays.  See table.h.
 * Layer: wire (libc only).  Owns: nothing.  Threads: any.  Errors: negative cpika_status. */
#include "table.h"

#include <stdbool.h>

#include "endian.h"

typedef struct {
    size_t end;
    bool keyed;  // a table, whose values have names; else an array
} level;

typedef struct {
    const uint8_t *data;
    size_t at;
    unsigned depth;
    level levels[CPIKA_TABLE_MAX_DEPTH];
} walker;

/* Moves over the 4-byte length at w->at; CPIKA_E_TRUNCATED where that many bytes do not follow before `end`. */
static int
take_length(walker *w, size_t end, size_t *length)
{
    if (end - w->at < 4 || cpika_get32(w->data + w->at) > end - w->at - 4) {
        return CPIKA_E_TRUNCATED;
    }
    *length = cpika_get32(w->data + w->at);
    w->at += 4;
    return CPIKA_OK;
}

static int
skip(walker *w, size_t end, size_t n)
{
    if (n > end - w->at) {
        return CPIKA_E_TRUNCATED;
    }
    w->at += n;
    return CPIKA_OK;
}

static int
skip_string(walker *w, size_t end)
{
    size_t length;
    int rc = take_length(w, end, &length);
    if (rc == CPIKA_OK) {
        w->at += length;
    }
    return rc;
}

static int
skip_key(walker *w, size_t end)
{
    return w->at < end ? skip(w, end, (size_t)w->data[w->at] + 1) : CPIKA_E_TRUNCATED;
}

static int
enter(walker *w, size_t end, bool keyed)
{
    size_t length;
    int rc;

    if (w->depth == CPIKA_TABLE_MAX_DEPTH) {
        return CPIKA_E_DEPTH;
    }
    rc = take_length(w, end, &length);
    if (rc == CPIKA_OK) {
        w->levels[w->depth].end = w->at + length;
        w->levels[w->depth].keyed = keyed;
        w->depth++;
    }
    return rc;
}

/* Moves over kind and value; of a table or an array only into it. */
static int
step_value(walker *w, size_t end)
{
    if (w->at == end) {
        return CPIKA_E_TRUNCATED;
    }
    switch (w->data[w->at++]) {
    case 'V':
        return CPIKA_OK;
    case 't':
    case 'b':
    case 'B':
        return skip(w, end, 1);
    case 'U':
    case 'u':
    case 's':
        return skip(w, end, 2);
    case 'I':
    case 'i':
    case 'f':
        return skip(w, end, 4);
    case 'D':
        return skip(w, end, 5);
    case 'L':
    case 'l':
    case 'd':
    case 'T':
        return skip(w, end, 8);
    case 'S':
    case 'x':
        return skip_string(w, end);
    case 'F':
        return enter(w, end, true);
    case 'A':
        return enter(w, end, false);
    default:
        w->at--;
        return CPIKA_E_FIELD_KIND;
    }
}

/* Walks until every table and array that was entered is left again. */
static int
walk_levels(walker *w)
{
    int rc = CPIKA_OK;

    while (rc == CPIKA_OK && w->depth > 0) {
        const level *top = &w->levels[w->depth - 1];
        size_t end = top->end;
        if (w->at == end) {
            w->depth--;
            continue;
        }
        if (top->keyed) {
            rc = skip_key(w, end);
        }
        if (rc == CPIKA_OK) {
            rc = step_value(w, end);
        }
    }
    return rc;
}

int
cpika_table_walk(const uint8_t *data, size_t len, size_t *pos)
{
    walker w;
    int rc;

    w.data = data;
    w.at = *pos;
    w.depth = 0;
    if (w.at > len) {
        return CPIKA_E_TRUNCATED;
    }
    rc = enter(&w, len, true);
    if (rc == CPIKA_OK) {
        rc = walk_levels(&w);
    }
    *pos = w.at;
    return rc;
}

int
cpika_table_walk_value(const uint8_t *data, size_t len, size_t *pos)
{
    walker w;
    int rc;

    w.data = data;
    w.at = *pos;
    w.depth = 0;
    if (w.at > len) {
        return CPIKA_E_TRUNCATED;
    }
    rc = step_value(&w, len);
    if (rc == CPIKA_OK) {
        rc = walk_levels(&w);
    }
    *pos = w.at;
    return rc;
}
