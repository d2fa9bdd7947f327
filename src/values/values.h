/* values.h - the Python values of the protocol: method objects, BasicProperties, tables.
 * Layer: values.
 * Owns: cpika_values, a part of the module's state (one for each interpreter): types, interned names, free lists.
 * Threads: the caller holds the GIL.  No function here waits or does I/O.
 * Errors: NULL or -1 with an exception set, unless a comment says otherwise. */
#ifndef CPIKA_VALUES_VALUES_H
#define CPIKA_VALUES_VALUES_H

#include "gate.h"  // Python.h before any other header

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/buf.h"
#include "wire/method.h"
#include "wire/proplist.h"

enum {
    CPIKA_FREELIST_MAX = 32,
    CPIKA_FREELIST_LIMIT = CPIKA_FREE_THREADED ? 0 : CPIKA_FREELIST_MAX,  // they die in any thread, ungated
};

struct cpika_values;
struct cpika_object;

/* What the objects of one type share. */
typedef struct {
    struct cpika_values *values;    // the state it stands in
    PyTypeObject *type;             // owned
    const cpika_method_spec *spec;  // NULL for the base types and BasicProperties
    const char *name;               // pika's NAME
    const char *doc;                // a sentence about it
    const cpika_field *fields;
    PyObject *names[CPIKA_MAX_FIELDS];     // owned, interned; in __init__'s order
    PyObject *defaults[CPIKA_MAX_FIELDS];  // owned; NULL: the argument is required
    Py_ssize_t count;
    struct cpika_object *free[CPIKA_FREELIST_MAX];  // dead objects of exactly this type, without references
    int free_count;
    int free_limit;
} cpika_class;

/* Has to be the FIRST member of the module's state: the types find it by PyType_GetModuleState(). */
typedef struct cpika_values {
    cpika_class amqp_object, klass, method, properties;  // the base types
    cpika_class methods[CPIKA_METHOD_COUNT];
    cpika_class basic_properties;
    PyObject *struct_pack;  // all owned
    PyObject *struct_error;
    PyObject *long_type;           // cpika.compat.long
    PyObject *delivery_mode_type;  // cpika.delivery_mode.DeliveryMode
    PyObject *short_string_too_long;
    PyObject *unsupported_field;
    PyObject *invalid_field_type;
    PyObject *slotnames;  // copyreg._slotnames
    // cpika.data, once it was met.  What makes times and decimals is looked up there each time: tools and tests replace it
    // (freezegun the class datetime).  Its modules are imported with this one, and not in a call that meets such a value:
    // a signal's handler would find half a module, a child made by fork a lock that nobody gives back.  But datetime, in an
    // interpreter that is not the main one, is imported when it is needed: in two at once that crashes CPython 3.13.
    PyObject *data_module;
    PyObject *str_data_module, *str_decimal, *str_Decimal, *str_datetime, *str_timezone, *str_utc;
    PyObject *str_calendar, *str_timegm;
    PyObject *str_dict, *str_encode, *str_index, *str_items, *str_getstate, *str_value, *str_utf8;
} cpika_values;

/* ---- methods ---- */

/* New method object from the payload of a method frame (4-byte id, arguments), or NULL.
 * NULL with *status < 0: the peer's bytes are wrong, NO exception is set, and *status says how;
 * NULL with *status == CPIKA_OK: an exception is set.  *id is set in any case (0: not even an id was there). */
PyObject *cpika_method_decode(cpika_values *v, const uint8_t *payload, size_t len, uint32_t *id, int *status);

/* Appends id and arguments of a method: ours, of a subclass with an encode() of its own, or any object with INDEX
 * and encode().  -1 with an exception leaves `out` as it was.  May run user code. */
int cpika_method_encode(cpika_values *v, PyObject *method, cpika_buf *out);

/* Its id (INDEX), or 0 with an exception. */
uint32_t cpika_method_id(cpika_values *v, PyObject *method);

/* New references; the arguments are borrowed.  Where a tracer replaced __init__ of the type, it is called without
 * arguments, as pika does, before the fields are filled in. */
PyObject *cpika_deliver_new(cpika_values *v, PyObject *consumer_tag, uint64_t delivery_tag, bool redelivered,
                            PyObject *exchange, PyObject *routing_key);
PyObject *cpika_getok_new(cpika_values *v, uint64_t delivery_tag, bool redelivered, PyObject *exchange,
                          PyObject *routing_key, uint32_t message_count);
PyObject *cpika_return_new(cpika_values *v, uint16_t reply_code, PyObject *reply_text, PyObject *exchange,
                           PyObject *routing_key);

/* ---- properties ---- */

/* New BasicProperties from property flags and list, which have passed cpika_props_check().  The bytes are copied;
 * the fields are decoded when one is first asked for. */
PyObject *cpika_props_from_raw(cpika_values *v, const uint8_t *raw, size_t len);

/* Appends flags and property list.  None: no properties.  A subclass with an encode() of its own and any foreign
 * object: by its encode().  -1 with an exception leaves `out` as it was.  May run user code. */
int cpika_props_encode(cpika_values *v, PyObject *props_or_none, cpika_buf *out);

/* ---- strings and tables ---- */

/* Whether the bytes of `value` are what is sent for it: a subclass may have an encode() of its own, which pika calls. */
static inline bool
cpika_is_plain_string(PyObject *value)
{
    return PyUnicode_CheckExact(value) || PyBytes_CheckExact(value);
}

/* What isinstance() says: it believes a __class__, which a proxy borrows from what it stands for.  -1 with an exception. */
static inline int
cpika_passes_for(PyObject *value, PyTypeObject *type)
{
    return PyObject_TypeCheck(value, type) ? 1 : PyObject_IsInstance(value, (PyObject *)type);
}

/* New reference to the str or bytes that is sent for `value`: itself if it is plain, else what its encode('UTF-8') gives,
 * or itself if it counts as bytes.  Runs user code unless it is plain. */
PyObject *cpika_string_sent(cpika_values *v, PyObject *value);

/* The bytes of an exact str or bytes, or of what cpika_string_sent() gave. */
int cpika_string_bytes(PyObject *value, const char *field, const uint8_t **data, Py_ssize_t *len);

/* The bytes of a str (UTF-8) or bytes without a copy: borrowed, good as long as `*value` lives, an owned reference that
 * may be replaced by one to what cpika_string_sent() gives.  `field` names it in the AssertionError('A non-string value
 * was supplied for self.<field>') for anything else; NULL: whatever has an encode() will do.  Or ShortStringTooLong. */
int cpika_shortstr_take(cpika_values *v, PyObject **value, const char *field, const uint8_t **data,
                        Py_ssize_t *len);
/* The same without the limit of 255 bytes. */
int cpika_longstr_take(cpika_values *v, PyObject **value, const char *field, const uint8_t **data,
                       Py_ssize_t *len);

/* cpika_shortstr_take() of a borrowed reference: for what is plain, or has been taken. */
int cpika_shortstr_check(cpika_values *v, PyObject *value, const char *field, const uint8_t **data,
                         Py_ssize_t *len);

/* New str, or bytes where they are not UTF-8: what pika makes of a short string. */
PyObject *cpika_text_decode(const uint8_t *data, size_t len);

/* Appends a table (4-byte length, entries) or one value (kind, value).  -1 leaves `out` as it was. */
int cpika_table_encode(cpika_values *v, PyObject *table, cpika_buf *out);
int cpika_value_encode(cpika_values *v, PyObject *value, cpika_buf *out);

/* cpika.data, borrowed; new reference to what it has under that name now, or what of that has that attribute. */
PyObject *cpika_data_module(cpika_values *v);
PyObject *cpika_data_get(cpika_values *v, PyObject *name);
PyObject *cpika_data_get_of(cpika_values *v, PyObject *name, PyObject *attribute);

/* New dict from a table, new object from a value, which have passed the walker of wire/table.h; *pos moves on. */
PyObject *cpika_table_decode(cpika_values *v, const uint8_t *data, size_t *pos);
PyObject *cpika_value_decode(cpika_values *v, const uint8_t *data, size_t *pos);

/* Sets the exception for what Python code gave to a decode(): struct.error, InvalidFieldTypeException, ...
 * (What the network sent is answered by the engine.) */
void cpika_values_raise(cpika_values *v, int status, const char *what);

/* The same where the walk of `data` stopped at `pos`: of an unknown kind pika's exception carries the byte. */
void cpika_values_raise_at(cpika_values *v, int status, const char *what, const uint8_t *data, size_t pos);

#endif
