/* raised.h - in a build with CPIKA_DEBUG, whoever goes on with an exception set is aborted where he asks for more.
 * Layer: values.
 * Owns: nothing.  Threads: with the GIL.  Errors: none: it aborts.
 *
 * What may run Python code - an attribute, a call, a comparison, a look into a dict - may clear an exception that is
 * set before, or take it for its own: then a function ends with NULL and without an exception, or the other way round.
 * Whether it does depends on what CPython's caches hold, so the tests of a usual build would hardly ever meet it. */
#ifndef CPIKA_VALUES_RAISED_H
#define CPIKA_VALUES_RAISED_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#ifdef CPIKA_DEBUG
void cpika_nothing_raised(const char *function);

#    define CPIKA_UNRAISED(function, ...) (cpika_nothing_raised(#function), (function)(__VA_ARGS__))

/* Up to CPython 3.12 these two are macros for what PY_SSIZE_T_CLEAN makes of them. */
static PyObject *(*const cpika_usual_call_function)(PyObject *, const char *, ...) = PyObject_CallFunction;
static PyObject *(*const cpika_usual_call_method)(PyObject *, const char *, const char *,
                                                  ...) = PyObject_CallMethod;
#    undef PyObject_CallFunction
#    undef PyObject_CallMethod
#    define PyObject_CallFunction(...) CPIKA_UNRAISED(cpika_usual_call_function, __VA_ARGS__)
#    define PyObject_CallMethod(...) CPIKA_UNRAISED(cpika_usual_call_method, __VA_ARGS__)
#    define PyBytes_FromObject(...) CPIKA_UNRAISED(PyBytes_FromObject, __VA_ARGS__)
#    define PyDict_Contains(...) CPIKA_UNRAISED(PyDict_Contains, __VA_ARGS__)
#    define PyDict_Update(...) CPIKA_UNRAISED(PyDict_Update, __VA_ARGS__)
#    define PyFloat_AsDouble(...) CPIKA_UNRAISED(PyFloat_AsDouble, __VA_ARGS__)
#    define PyImport_ImportModule(...) CPIKA_UNRAISED(PyImport_ImportModule, __VA_ARGS__)
#    define PyIter_Next(...) CPIKA_UNRAISED(PyIter_Next, __VA_ARGS__)
#    define PyLong_AsLong(...) CPIKA_UNRAISED(PyLong_AsLong, __VA_ARGS__)
#    define PyLong_AsSsize_t(...) CPIKA_UNRAISED(PyLong_AsSsize_t, __VA_ARGS__)
#    define PyLong_AsUnsignedLong(...) CPIKA_UNRAISED(PyLong_AsUnsignedLong, __VA_ARGS__)
#    define PyLong_AsUnsignedLongLong(...) CPIKA_UNRAISED(PyLong_AsUnsignedLongLong, __VA_ARGS__)
#    define PyNumber_AsSsize_t(...) CPIKA_UNRAISED(PyNumber_AsSsize_t, __VA_ARGS__)
#    define PyNumber_Index(...) CPIKA_UNRAISED(PyNumber_Index, __VA_ARGS__)
#    define PyNumber_Long(...) CPIKA_UNRAISED(PyNumber_Long, __VA_ARGS__)
#    define PyNumber_Negative(...) CPIKA_UNRAISED(PyNumber_Negative, __VA_ARGS__)
#    define PyObject_Call(...) CPIKA_UNRAISED(PyObject_Call, __VA_ARGS__)
#    define PyObject_CallFunctionObjArgs(...) CPIKA_UNRAISED(PyObject_CallFunctionObjArgs, __VA_ARGS__)
#    define PyObject_CallMethodNoArgs(...) CPIKA_UNRAISED(PyObject_CallMethodNoArgs, __VA_ARGS__)
#    define PyObject_CallMethodObjArgs(...) CPIKA_UNRAISED(PyObject_CallMethodObjArgs, __VA_ARGS__)
#    define PyObject_CallMethodOneArg(...) CPIKA_UNRAISED(PyObject_CallMethodOneArg, __VA_ARGS__)
#    define PyObject_CallNoArgs(...) CPIKA_UNRAISED(PyObject_CallNoArgs, __VA_ARGS__)
#    define PyObject_CallObject(...) CPIKA_UNRAISED(PyObject_CallObject, __VA_ARGS__)
#    define PyObject_CallOneArg(...) CPIKA_UNRAISED(PyObject_CallOneArg, __VA_ARGS__)
#    define PyObject_Format(...) CPIKA_UNRAISED(PyObject_Format, __VA_ARGS__)
#    define PyObject_GenericGetAttr(...) CPIKA_UNRAISED(PyObject_GenericGetAttr, __VA_ARGS__)
#    define PyObject_GenericSetAttr(...) CPIKA_UNRAISED(PyObject_GenericSetAttr, __VA_ARGS__)
#    define PyObject_GetAttr(...) CPIKA_UNRAISED(PyObject_GetAttr, __VA_ARGS__)
#    define PyObject_GetAttrString(...) CPIKA_UNRAISED(PyObject_GetAttrString, __VA_ARGS__)
#    define PyObject_GetBuffer(...) CPIKA_UNRAISED(PyObject_GetBuffer, __VA_ARGS__)
#    define PyObject_GetIter(...) CPIKA_UNRAISED(PyObject_GetIter, __VA_ARGS__)
#    define PyObject_IsInstance(...) CPIKA_UNRAISED(PyObject_IsInstance, __VA_ARGS__)
#    define PyObject_IsTrue(...) CPIKA_UNRAISED(PyObject_IsTrue, __VA_ARGS__)
#    define PyObject_Repr(...) CPIKA_UNRAISED(PyObject_Repr, __VA_ARGS__)
#    define PyObject_RichCompare(...) CPIKA_UNRAISED(PyObject_RichCompare, __VA_ARGS__)
#    define PyObject_RichCompareBool(...) CPIKA_UNRAISED(PyObject_RichCompareBool, __VA_ARGS__)
#    define PyObject_SetAttr(...) CPIKA_UNRAISED(PyObject_SetAttr, __VA_ARGS__)
#    define PyObject_SetAttrString(...) CPIKA_UNRAISED(PyObject_SetAttrString, __VA_ARGS__)
#    define PyObject_Size(...) CPIKA_UNRAISED(PyObject_Size, __VA_ARGS__)
#    define PyObject_Vectorcall(...) CPIKA_UNRAISED(PyObject_Vectorcall, __VA_ARGS__)
#    define PyObject_VectorcallMethod(...) CPIKA_UNRAISED(PyObject_VectorcallMethod, __VA_ARGS__)
#    define PySequence_Tuple(...) CPIKA_UNRAISED(PySequence_Tuple, __VA_ARGS__)
#    define PyUnicode_FromFormat(...) CPIKA_UNRAISED(PyUnicode_FromFormat, __VA_ARGS__)
#    define PyUnicode_Join(...) CPIKA_UNRAISED(PyUnicode_Join, __VA_ARGS__)
#endif

#endif
