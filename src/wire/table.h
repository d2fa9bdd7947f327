/* table.h - bounded walk over AMQP field tables and arrays.
 * Layer: wire (libc only).
 * Owns: nothing; allocates nothing and does not recurse.
 * Threads: any.
 * Errors: CPIKA_E_TRUNCATED, CPIKA_E_FIELD_KIND, CPIKA_E_DEPTH; *pos then stands at the byte that is wrong. */
#ifndef CPIKA_WIRE_TABLE_H
#define CPIKA_WIRE_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* Tables and arrays that may stand in one another, the outermost counted. */
#define CPIKA_TABLE_MAX_DEPTH 100

/* Walks the table (4-byte length, entries) that begins at data[*pos]; *pos moves behind it. */
int cpika_table_walk(const uint8_t *data, size_t len, size_t *pos);

/* Walks one value (kind, value) of a table. */
int cpika_table_walk_value(const uint8_t *data, size_t len, size_t *pos);

#endif
