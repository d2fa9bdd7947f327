/* state.h - what one module object of cpika._core keeps.
 * Layer: values.  Owns: every reference below.  Threads: the GIL guards it.
 * Errors: none; module.c fills it and fails the import when it cannot. */
#ifndef CPIKA_VALUES_STATE_H
#define CPIKA_VALUES_STATE_H

#include "compat.h"
#include "values.h"
#include "wire/sock.h"

#define CPIKA_MODULE_NAME "cpika._core"

/* pika's exception classes that the core raises: one list, from which the enum and the imports are made. */
#define CPIKA_EXCEPTIONS(X)      \
    X(_AnswerTimeout)            \
    X(AMQPConnectionError)       \
    X(AMQPError)                 \
    X(AMQPHeartbeatTimeout)      \
    X(BodyTooLongError)          \
    X(ChannelClosedByBroker)     \
    X(ChannelWrongStateError)    \
    X(ConnectionBlockedTimeout)  \
    X(ConnectionClosedByBroker)  \
    X(ConnectionClosedByClient)  \
    X(ConnectionWrongStateError) \
    X(DuplicateConsumerTag)      \
    X(InvalidFieldTypeException) \
    X(InvalidFrameError)         \
    X(NackError)                 \
    X(ProtocolSyntaxError)       \
    X(ReentrancyError)           \
    X(StreamLostError)           \
    X(UnexpectedFrameError)      \
    X(UnroutableError)

typedef enum {
#define CPIKA_EXC_ENUM(name) CPIKA_EXC_##name,
    CPIKA_EXCEPTIONS(CPIKA_EXC_ENUM)
#undef CPIKA_EXC_ENUM
        CPIKA_EXC_COUNT
} cpika_exc;

/* Names that the hot paths look up or compare; interned once. */
#define CPIKA_NAMES(X)      \
    X(append)               \
    X(dispatch)             \
    X(_signal)              \
    X(set_wakeup_fd)        \
    X(warn_on_full_buffer)  \
    X(send)                 \
    X(greenlet)             \
    X(getcurrent)           \
    X(_blocking)            \
    X(_stack)               \
    X(arguments)            \
    X(body_size)            \
    X(callback)             \
    X(callbacks)            \
    X(channel_number)       \
    X(frame_type)           \
    X(method)               \
    X(one_shot)             \
    X(only)                 \
    X(properties)           \
    X(_deliver)             \
    X(_on_deliver)          \
    X(_on_getok)            \
    X(_on_output_high)      \
    X(_on_output_low)       \
    X(_on_return)           \
    X(select)               \
    X(_dispatch_cancel)     \
    X(_dispatch_return)     \
    X(_on_closed_by_broker) \
    X(_on_ended)            \
    X(_let_run)             \
    X(_on_held)             \
    X(_on_method)           \
    X(_on_method_frame)     \
    X(_on_nack)             \
    X(_on_returned)         \
    X(_on_unexpected)       \
    X(pending_events)       \
    X(popleft)              \
    X(_returned_message)    \
    X(_run_due)             \
    X(_tick)                \
    X(_wait_socket)         \
    X(_waiting)

typedef struct {
#define CPIKA_NAME_FIELD(name) PyObject *name;
    CPIKA_NAMES(CPIKA_NAME_FIELD)
#undef CPIKA_NAME_FIELD
    PyObject *basic_ack_name;  // "Basic.Ack", as a CallbackManager has it
    PyObject *basic_nack_name;
} cpika_names;

typedef struct cpika_state {
    cpika_values values;
    PyTypeObject *connection_type;
    PyTypeObject *channel_type;
    PyTypeObject *loop_channel_type;
    PyTypeObject *consumer_info_type;
    PyTypeObject *delivery_evt_type;
    PyTypeObject *wish_type;  // of drivers/asked.c
    PyObject *exceptions[CPIKA_EXC_COUNT];

    PyObject *want_read;   // ssl.SSLWantReadError, set when a TLS socket is attached
    PyObject *want_write;  // ssl.SSLWantWriteError
    PyObject *ssl_socket;  // ssl.SSLSocket
    PyObject *empty_bytes;
    PyObject *deque_type, *deque_append, *deque_popleft;  // collections.deque
    PyObject *method_frame, *header_frame;  // cpika.frame.Method and .Header, once they were needed
    cpika_names names;

    PyObject *greenlet_getcurrent;  // owned; NULL while the program has no greenlets
    PyObject *modules;              // owned: the dict sys.modules, in which that is looked for
    Py_ssize_t modules_seen;        // how many there were when it was last looked for
    cpika_pipe signals;             // into which the interpreter writes them while a wait wants to know
    unsigned signal_generation;     // cpika_fork_generation() when it was made: a child wants its own
} cpika_state;

/* The state of the module that made `type` (or a base of it).  Borrowed; NULL with an exception. */
cpika_state *cpika_state_of_type(PyTypeObject *type);

#endif
