/* class.c - makes the types of the values: names, defaults, signature, slots.  See object.h.
 * Layer: values.
 * Owns: what a cpika_class holds.
 * Threads: the caller holds the GIL; run once for each module.
 * Errors: -1 with an exception set. */
#include "object.h"

static PyObject *
default_object(const cpika_default *dflt)
{
    PyObject *module;
    PyObject *type;
    PyObject *member;

    switch (dflt->what) {
    case CPIKA_DEFAULT_REQUIRED:
        return NULL;
    case CPIKA_DEFAULT_NONE:
        return Py_NewRef(Py_None);
    case CPIKA_DEFAULT_BOOL:
        return PyBool_FromLong((long)dflt->number);
    case CPIKA_DEFAULT_INT:
        return PyLong_FromUnsignedLong(dflt->number);
    case CPIKA_DEFAULT_STR:
        return PyUnicode_InternFromString(dflt->text);
    case CPIKA_DEFAULT_DIRECT:
        break;
    }
    module = PyImport_ImportModule("cpika.exchange_type");
    type = module == NULL ? NULL : PyObject_GetAttrString(module, "ExchangeType");
    member = type == NULL ? NULL : PyObject_GetAttrString(type, dflt->text);
    Py_XDECREF(module);
    Py_XDECREF(type);
    return member;
}

static int
class_set_fields(cpika_class *cls)
{
    for (Py_ssize_t i = 0; i < cls->count; i++) {
        cls->names[i] = PyUnicode_InternFromString(cls->fields[i].name);
        if (cls->names[i] == NULL) {
            return -1;
        }
        cls->defaults[i] = default_object(&cls->fields[i].dflt);
        if (cls->defaults[i] == NULL && PyErr_Occurred()) {
            return -1;
        }
    }
    return 0;
}

/* New str: the signature that inspect finds in the type's docstring, and a sentence about it. */
static PyObject *
class_doc(const cpika_class *cls, const char *short_name)
{
    PyObject *parts = PyList_New(0);
    PyObject *comma = PyUnicode_FromString(", ");
    PyObject *arguments = NULL;
    PyObject *doc = NULL;
    int rc = parts == NULL || comma == NULL ? -1 : 0;

    for (Py_ssize_t i = 0; rc == 0 && i < cls->count; i++) {
        bool direct = cls->fields[i].dflt.what == CPIKA_DEFAULT_DIRECT;
        PyObject *part = cls->defaults[i] == NULL ? PyUnicode_FromFormat("%U", cls->names[i])
                         : direct ? PyUnicode_FromFormat("%U=ExchangeType.direct", cls->names[i])
                                  : PyUnicode_FromFormat("%U=%R", cls->names[i], cls->defaults[i]);
        rc = part == NULL ? -1 : PyList_Append(parts, part);
        Py_XDECREF(part);
    }
    if (rc == 0) {
        arguments = PyUnicode_Join(comma, parts);
    }
    if (arguments != NULL) {
        doc = PyUnicode_FromFormat("%s(%U)\n--\n\n%s", short_name, arguments, cls->doc);
    }
    Py_XDECREF(parts);
    Py_XDECREF(comma);
    Py_XDECREF(arguments);
    return doc;
}

/* PyType_FromSpec takes all before the last dot for the module and leaves the whole in messages. */
static int
class_set_names(const cpika_class *cls, const char *module_name, const char *qualname, const char *short_name)
{
    const char *const attributes[][2] = {{"__module__", module_name},
                                         {"__qualname__", qualname},
                                         {"__name__", short_name},
                                         {"NAME", cls->name}};

    for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++) {
        PyObject *text = PyUnicode_InternFromString(attributes[i][1]);
        int rc = text == NULL ? -1 : PyObject_SetAttrString((PyObject *)cls->type, attributes[i][0], text);
        Py_XDECREF(text);
        if (rc < 0) {
            return -1;
        }
    }
    return 0;
}

/* Before 3.10 PyType_FromSpec cuts the signature off the docstring, where inspect looks for it. */
static int
class_keep_signature(const cpika_class *cls, PyObject *doc)
{
#if PY_VERSION_HEX < 0x030A0000
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(doc, &size);
    char *copy = text == NULL ? NULL : PyObject_Malloc((size_t)size + 1);
    if (copy == NULL) {
        if (text != NULL) {
            PyErr_NoMemory();
        }
        return -1;
    }
    memcpy(copy, text, (size_t)size + 1);
    PyObject_Free((void *)(uintptr_t)cls->type->tp_doc);  // as the type does with it at its end
    cls->type->tp_doc = copy;
#else
    (void)cls;
    (void)doc;
#endif
    return 0;
}

int
cpika_class_init(cpika_class *cls, cpika_values *v, PyObject *module, const char *module_name,
                 const char *qualname, PyObject *base, const PyType_Slot *own_slots)
{
    const char *dot = strrchr(qualname, '.');
    const char *short_name = dot == NULL ? qualname : dot + 1;
    PyType_Slot slots[20] = {
        {Py_tp_alloc, cpika_object_alloc},
        {Py_tp_dealloc, cpika_object_dealloc},
        {Py_tp_traverse, cpika_object_traverse},
        {Py_tp_clear, cpika_object_clear},
    };
    size_t n = 4;
    PyObject *bases = NULL;
    PyObject *doc = NULL;
    PyObject *path = NULL;
    int rc = -1;

    cls->values = v;
    if (class_set_fields(cls) < 0) {
        return -1;
    }
    doc = class_doc(cls, short_name);
    path = PyUnicode_FromFormat("%s.%s", module_name, qualname);
    if (doc == NULL || path == NULL) {
        goto done;
    }
    slots[n++] = (PyType_Slot){Py_tp_doc, (void *)(uintptr_t)PyUnicode_AsUTF8(doc)};
    for (const PyType_Slot *s = own_slots; s != NULL && s->slot != 0; s++) {
        slots[n++] = *s;
    }
    PyType_Spec spec = {
        .name = PyUnicode_AsUTF8(path),
        .basicsize = (int)(sizeof(CpikaObject) + (size_t)cls->count * sizeof(PyObject *)),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
        .slots = slots,
    };
    bases = base == NULL ? NULL : PyTuple_Pack(1, base);
    if (base != NULL && bases == NULL) {
        goto done;
    }
    cls->type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, bases);
    if (cls->type == NULL || class_keep_signature(cls, doc) < 0) {
        goto done;
    }
    if (cls->type->tp_init == cpika_object_init) {
        cls->type->tp_vectorcall = cpika_object_vectorcall;
    }
    rc = class_set_names(cls, module_name, qualname, short_name);

done:
    Py_XDECREF(doc);
    Py_XDECREF(path);
    Py_XDECREF(bases);
    return rc;
}

int
cpika_class_traverse(cpika_class *cls, visitproc visit, void *arg)
{
    Py_VISIT(cls->type);
    for (Py_ssize_t i = 0; i < cls->count; i++) {
        Py_VISIT(cls->defaults[i]);
    }
    return 0;
}

void
cpika_class_clear(cpika_class *cls)
{
    cls->free_limit = 0;
    while (cls->free_count > 0) {
        PyObject_GC_Del(cls->free[--cls->free_count]);
    }
    Py_CLEAR(cls->type);
    for (Py_ssize_t i = 0; i < cls->count; i++) {
        Py_CLEAR(cls->defaults[i]);
        Py_CLEAR(cls->names[i]);
    }
}
