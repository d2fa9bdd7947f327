/* ack.h - basic_ack, basic_nack, basic_reject, basic_get: the small methods that go with every message.
 * Layer: api.
 * Owns: nothing.  Threads: any, with the GIL.
 * Errors: NULL with an exception; nothing is sent then. */
#ifndef CPIKA_API_ACK_H
#define CPIKA_API_ACK_H

#include "drivers/objects.h"

PyObject *channel_basic_ack(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *channel_basic_nack(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *channel_basic_reject(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *channel_basic_get(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

#endif
