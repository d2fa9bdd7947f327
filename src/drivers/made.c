/* made.c - see made.h.
 * Layer: drivers.  Owns: nothing.  Threads: with the GIL.  Errors: see made.h. */
#include "made.h"

#include "engine/delivery.h"
#include "values/values.h"
#include "wire/method.h"

/* Exchange and routing key: as a rule those of the message before. */
typedef struct {
    PyObject *exchange;  // owned
    PyObject *key;       // owned
} origin;

static int
make_origin(CpikaConnection *conn, const uint8_t *exchange, size_t exchange_len, const uint8_t *key,
            size_t key_len, origin *out)
{
    out->exchange = cpika_strcache_exchange(&conn->strings, exchange, exchange_len);
    out->key = out->exchange == NULL ? NULL : cpika_strcache_key(&conn->strings, key, key_len);
    return out->key == NULL ? -1 : 0;
}

static void
free_origin(origin *from)
{
    Py_XDECREF(from->exchange);
    Py_XDECREF(from->key);
}

/* ---- Deliver ---- */

/* A Deliver like the one before shares its strings after two comparisons: 6 % of the instructions of an auto-acked
 * message.  CPIKA_OK, -1 with an exception, or what is wrong with it (below -1, without). */
static int
make_deliver(CpikaConnection *conn, const uint8_t *payload, size_t len, cpika_made *made)
{
    cpika_strcache *strings = &conn->strings;
    origin from = {NULL, NULL};
    const uint8_t *fixed;
    int rc = 0;
    if (cpika_strcache_is_kept(strings, payload, len)) {
        fixed = payload + strings->deliver.fixed_at;
        made->tag = Py_NewRef(strings->deliver.tag);
        from = (origin){Py_NewRef(strings->deliver.exchange), Py_NewRef(strings->deliver.key)};
    } else {
        cpika_deliver_fields d;
        int status = cpika_deliver_split(payload, len, &d);
        if (status != CPIKA_OK) {
            return status;
        }
        fixed = d.fixed;
        PyObject *before = strings->last_tag;
        made->tag = cpika_strcache_tag(strings, d.tag, d.tag_len);
        rc = made->tag == NULL ? -1 : make_origin(conn, d.exchange, d.exchange_len, d.key, d.key_len, &from);
        if (rc == 0 && made->tag == before) {  // not with many consumers, whose deliveries take turns
            cpika_strcache_keep(strings, payload, len, (size_t)(d.fixed - payload), made->tag, from.exchange,
                                from.key);
        }
    }
    if (rc == 0) {
        made->method = cpika_deliver_new(&conn->st->values, made->tag, cpika_get64(fixed),
                                         (fixed[8] & 1) != 0, from.exchange, from.key);
        rc = made->method == NULL ? -1 : 0;
    }
    free_origin(&from);
    return rc;
}

int
cpika_make_raw(CpikaConnection *conn, const cpika_raw_delivery *raw, cpika_made *made)
{
    int rc = make_deliver(conn, raw->method, raw->method_len, made);
    if (rc < -1) {
        cpika_engine_violation(&conn->engine, rc, (long)raw->method_len);
        return 1;
    }
    if (rc == 0) {
        made->properties = cpika_props_from_raw(&conn->st->values, raw->properties, raw->properties_len);
        made->body = raw->body_len == 0
                         ? Py_NewRef(conn->st->empty_bytes)
                         : PyBytes_FromStringAndSize((const char *)raw->body, (Py_ssize_t)raw->body_len);
        rc = made->properties == NULL || made->body == NULL ? -1 : 0;
    }
    if (rc < 0) {
        cpika_made_clear(made);
    }
    return rc;
}

/* ---- the others ---- */

static PyObject *
make_get_ok(CpikaConnection *conn, const cpika_message *m)
{
    cpika_origin_fields f;
    origin from = {NULL, NULL};
    PyObject *method = NULL;
    if (cpika_get_ok_split(m->bytes, m->method_len, &f) == CPIKA_OK
        && make_origin(conn, f.exchange, f.exchange_len, f.key, f.key_len, &from) == 0) {
        method = cpika_getok_new(&conn->st->values, cpika_get64(f.fixed), (f.fixed[8] & 1) != 0,
                                 from.exchange, from.key, cpika_get32(f.rest));
    }
    free_origin(&from);
    return method;
}

static PyObject *
make_return(CpikaConnection *conn, const cpika_message *m)
{
    cpika_origin_fields f;
    origin from = {NULL, NULL};
    PyObject *method = NULL;
    PyObject *text = NULL;
    if (cpika_return_split(m->bytes, m->method_len, &f) == CPIKA_OK) {
        text = cpika_text_decode(f.text, f.text_len);
    }
    if (text != NULL && make_origin(conn, f.exchange, f.exchange_len, f.key, f.key_len, &from) == 0) {
        method = cpika_return_new(&conn->st->values, cpika_get16(f.fixed), text, from.exchange, from.key);
    }
    free_origin(&from);
    Py_XDECREF(text);
    return method;
}

int
cpika_make_message(CpikaConnection *conn, const cpika_message *m, cpika_made *made)
{
    switch (cpika_message_id(m)) {
    case CPIKA_ID_basic_deliver:
        if (make_deliver(conn, m->bytes, m->method_len, made) < 0) {
            cpika_made_clear(made);
            return -1;
        }
        break;
    case CPIKA_ID_basic_get_ok:
        made->method = make_get_ok(conn, m);
        break;
    default:
        made->method = make_return(conn, m);
        break;
    }
    if (made->method != NULL) {
        made->properties =
            cpika_props_from_raw(&conn->st->values, cpika_message_properties(m), m->properties_len);
    }
    if (made->properties == NULL) {
        cpika_made_clear(made);
        return -1;
    }
    made->body = Py_NewRef(m->body);
    return 0;
}

PyObject *
cpika_make_method(CpikaConnection *conn, const cpika_message *m)
{
    uint32_t id;
    int status;
    PyObject *method = cpika_method_decode(&conn->st->values, m->bytes, m->method_len, &id, &status);
    if (method == NULL && !PyErr_Occurred()) {
        cpika_values_raise(&conn->st->values, status,
                           "a method");  // the engine has walked over it: cannot be
    }
    return method;
}
