/* methods.h - the types of the spec's methods, and numbers and strings of Python as wire values.
 * Layer: values.  Owns: nothing.  Threads: the caller holds the GIL.  Errors: NULL or -1 with an exception set. */
#ifndef CPIKA_VALUES_METHODS_H
#define CPIKA_VALUES_METHODS_H

#include "object.h"

/* Makes the base types and all method types; the classes (Basic, ...) stand in the dict `classes` by name, the method
 * types in `methods` by id. */
int cpika_methods_init(cpika_values *v, PyObject *module, PyObject *classes, PyObject *methods);

/* What `*value` is as a field of that kind.  Strings are borrowed from it, an owned reference that may be replaced by one
 * to what holds the bytes; a table is appended to `table`. */
int cpika_value_from_python(cpika_values *v, const cpika_field *field, PyObject **value, cpika_value *out,
                            cpika_buf *table);

/* New object for a decoded value.  pika: long strings are bytes. */
PyObject *cpika_value_to_python(cpika_values *v, cpika_kind kind, const cpika_value *value);

/* Calls object.encode() and appends its pieces. */
int cpika_append_encoded(PyObject *object, PyObject *str_encode, cpika_buf *out);

/* New list of the bytes in `buf` (none: an empty list), for encode(). */
PyObject *cpika_pieces(const cpika_buf *buf);

/* Has the bytes from `from` to `to` stay as they are while user code runs: of a bytearray, or what shares one's memory, a
 * copy of those alone.  How far they lie further in front then; -1. */
Py_ssize_t cpika_hold_still(Py_buffer *encoded, size_t from, size_t to);

/* Where an offset stands in the bytes: one under 0 is counted from their end.  -1 with a struct.error. */
Py_ssize_t cpika_offset_in(cpika_values *v, const Py_buffer *encoded, Py_ssize_t offset);

/* Parses the arguments of decode(encoded, offset=0).  At an offset behind the end nothing is left to decode: what has
 * fields misses the first. */
int cpika_decode_arguments(cpika_values *v, PyObject *args, PyObject *kwds, Py_buffer *encoded,
                           size_t *offset);

#endif
