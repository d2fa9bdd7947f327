/* framed.c - see framed.h.
 * Layer: drivers.  Owns: nothing.  Threads: see framed.h.  Errors: see framed.h. */
#include "framed.h"

#include "wire/frame.h"

/* A class of cpika.frame, borrowed; looked up when the first frame is made: that module imports this one. */
static PyTypeObject *
frame_class(PyObject **kept, const char *name)
{
    if (*kept == NULL) {
        PyObject *module = PyImport_ImportModule("cpika.frame");
        PyObject *found = module == NULL ? NULL : PyObject_GetAttrString(module, name);
        Py_XDECREF(module);
        if (found != NULL && !PyType_Check(found)) {  // a mock of it, say
            PyErr_Format(PyExc_TypeError, "cpika.frame.%s is no class: %R", name, found);
            Py_CLEAR(found);
        }
        if (found == NULL) {
            return NULL;
        }
        Py_XSETREF(*kept, found);  // importing may run code that needs a frame itself
    }
    return (PyTypeObject *)*kept;
}

static int
set_number(PyObject *frame, PyObject *name, Py_ssize_t value)
{
    PyObject *number = PyLong_FromSsize_t(value);
    int rc = number == NULL ? -1 : PyObject_SetAttr(frame, name, number);
    Py_XDECREF(number);
    return rc;
}

/* New frame with what Frame.__init__ sets. */
static PyObject *
new_frame(cpika_state *st, PyTypeObject *type, int kind, uint16_t channel)
{
    PyObject *none = type == NULL ? NULL : PyTuple_New(0);
    PyObject *frame = none == NULL ? NULL : type->tp_new(type, none, NULL);
    Py_XDECREF(none);
    if (frame != NULL
        && (set_number(frame, st->names.frame_type, kind) < 0
            || set_number(frame, st->names.channel_number, channel) < 0)) {
        Py_CLEAR(frame);
    }
    return frame;
}

PyObject *
cpika_frame_method(cpika_state *st, uint16_t channel, PyObject *method)
{
    PyObject *frame = new_frame(st, frame_class(&st->method_frame, "Method"), CPIKA_FRAME_METHOD, channel);
    if (frame != NULL && PyObject_SetAttr(frame, st->names.method, method) < 0) {
        Py_CLEAR(frame);
    }
    return frame;
}

PyObject *
cpika_frame_header(cpika_state *st, uint16_t channel, PyObject *properties, PyObject *body)
{
    PyObject *frame = new_frame(st, frame_class(&st->header_frame, "Header"), CPIKA_FRAME_HEADER, channel);
    if (frame != NULL
        && (set_number(frame, st->names.body_size, PyBytes_GET_SIZE(body)) < 0
            || PyObject_SetAttr(frame, st->names.properties, properties) < 0)) {
        Py_CLEAR(frame);
    }
    return frame;
}
