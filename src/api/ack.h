/* ack.h - basic_ack, basic_nack, basic_reject, basic_get: the small methods that go with every message.
 * Layer: api.
 * Owns: nothing.  Threads: any, with the GIL.
 * Errors: NULL with an exception; nothing is sent then. */
#ifndef CPIKA_API_ACK_H
#define CPIKA_API_ACK_H

#include "drivers/objects.h"
#include "values/args.h"

PyObject *channel_basic_ack(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *channel_basic_nack(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *channel_basic_reject(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *channel_basic_get(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

/* Every acknowledgement is a frame of one size: id, delivery tag, bits. */
enum { CHANNEL_ACK_FRAME = 7 + 1 + 4 + 8 + 1 };
void channel_encode_ack(uint8_t *frame, int channel, uint32_t id, uint64_t tag, unsigned bits);

typedef struct {
    uint32_t id;  // of the method
    uint64_t tag;
    unsigned bits;
} channel_ack;

/* The arguments of each, of an open channel; the blocking one and those on loops send them in their own ways.  0 or -1. */
int channel_parse_ack(const cpika_signature *signature, CpikaChannel *ch, PyObject *const *args,
                      Py_ssize_t nargs, PyObject *kwnames, channel_ack *out);
int channel_parse_nack(const cpika_signature *signature, CpikaChannel *ch, PyObject *const *args,
                       Py_ssize_t nargs, PyObject *kwnames, channel_ack *out);
int channel_parse_reject(const cpika_signature *signature, CpikaChannel *ch, PyObject *const *args,
                         Py_ssize_t nargs, PyObject *kwnames, channel_ack *out);

#endif
