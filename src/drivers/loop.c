/* loop.c - see loop.h.
 * Layer: drivers.  Owns: nothing.  Threads: see loop.h.  Errors: see loop.h. */
#include "loop.h"

#include "asked.h"
#include "ended.h"
#include "engine/frames.h"
#include "framed.h"
#include "made.h"
#include "values/errors.h"
#include "values/gate.h"
#include "wire/method.h"

enum { PYTHON_READS = 4 };  // of a Python socket in one call: TLS holds bytes that no descriptor shows

/* ---- life ---- */

void
cpika_loop_begin(CpikaConnection *conn, PyObject *handler, PyObject *soon, PyObject *flush, PyObject *outcome)
{
    cpika_loop *loop = &conn->loop;
    Py_XSETREF(loop->handler, Py_NewRef(handler));
    Py_XSETREF(loop->soon, Py_NewRef(soon));
    Py_XSETREF(loop->flush, Py_NewRef(flush));
    Py_XSETREF(loop->outcome, Py_XNewRef(outcome));
    loop->thread = PyThread_get_thread_ident();
    loop->high = SIZE_MAX;
    conn->engine.tells_all = true;
    cpika_link_unwanted_wake(conn->io.link);  // it would stay until the collector finds the connection
    conn->io.link->watched = true;
}

int
cpika_loop_traverse(const cpika_loop *loop, visitproc visit, void *arg)
{
    Py_VISIT(loop->handler);
    Py_VISIT(loop->soon);
    Py_VISIT(loop->flush);
    Py_VISIT(loop->outcome);
    return 0;
}

void
cpika_loop_clear(cpika_loop *loop)
{
    Py_CLEAR(loop->handler);
    Py_CLEAR(loop->soon);
    Py_CLEAR(loop->flush);
    Py_CLEAR(loop->outcome);
}

/* ---- telling ---- */

/* object.name(*args).  0 or -1. */
static int
call_method(PyObject *object, PyObject *name, PyObject *const *args, size_t nargs)
{
    PyObject *method = PyObject_GetAttr(object, name);
    cpika_gate_section *gate = cpika_gate_leave();
    PyObject *done = method == NULL ? NULL : PyObject_Vectorcall(method, args, nargs, NULL);
    cpika_gate_return(gate);
    Py_XDECREF(method);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* handler.name(*args).  0 or -1. */
static int
tell(CpikaConnection *conn, PyObject *name, PyObject *const *args, size_t nargs)
{
    if (conn->loop.handler == NULL) {  // the collector has been here
        return 0;
    }
    PyObject *handler = Py_NewRef(conn->loop.handler);
    int rc = call_method(handler, name, args, nargs);
    Py_DECREF(handler);
    return rc;
}

/* channel.name(method frame, header frame, body).  0 or -1. */
static int
tell_message(CpikaConnection *conn, PyObject *name, CpikaChannel *ch, const cpika_made *made)
{
    if (conn->loop.handler == NULL) {
        return 0;
    }
    uint16_t number = ch->engine.number;
    PyObject *method = cpika_frame_method(conn->st, number, made->method);
    PyObject *header =
        method == NULL ? NULL : cpika_frame_header(conn->st, number, made->properties, made->body);
    PyObject *args[] = {method, header, made->body};
    int rc = header == NULL ? -1 : call_method((PyObject *)ch, name, args, 3);
    Py_XDECREF(header);
    Py_XDECREF(method);
    return rc;
}

/* handler._on_method_frame(channel or None, frame).  0 or -1. */
static int
tell_method(CpikaConnection *conn, CpikaChannel *ch, PyObject *frame)
{
    PyObject *args[] = {ch == NULL ? Py_None : (PyObject *)ch, frame};
    return tell(conn, conn->st->names._on_method_frame, args, 2);
}

/* ---- a delivery ---- */

/* Whether somebody has replaced _on_deliver, on the class or on the channel: looked up once in each read.  -1. */
static int
has_odd_deliver(CpikaConnection *conn, CpikaLoopChannel *ch)
{
    if (ch->looked != conn->loop.reads) {
        PyObject *method = PyObject_GetAttr((PyObject *)ch, conn->st->names._on_deliver);
        if (method == NULL) {
            return -1;
        }
        ch->odd_deliver =
            !PyCFunction_Check(method) || PyCFunction_GET_SELF(method) != (PyObject *)ch
            || PyCFunction_GET_FUNCTION(method) != (PyCFunction)(void (*)(void))cpika_loop_on_deliver;
        ch->looked = conn->loop.reads;
        Py_DECREF(method);
    }
    return ch->odd_deliver;
}

static int
run_message(CpikaConnection *conn, CpikaChannel *ch, const cpika_made *made)
{
    CpikaLoopChannel *lc = (CpikaLoopChannel *)ch;
    int odd = has_odd_deliver(conn, lc);
    if (odd < 0) {
        return -1;
    }
    if (odd) {
        return tell_message(conn, conn->st->names._on_deliver, ch, made);
    }
    PyObject *callback = NULL;
    if (PySet_GET_SIZE(lc->cancelled) == 0) {
        PyObject *consumers = Py_NewRef(ch->consumer_infos);  // a key's __eq__ may replace the channel's
        callback = cpika_dict_get(consumers, made->tag);
        Py_DECREF(consumers);
    }
    if (callback == NULL) {
        return PyErr_Occurred() ? -1 : tell_message(conn, conn->st->names._deliver, ch, made);
    }
    PyObject *args[] = {(PyObject *)ch, made->method, made->properties, made->body};
    cpika_gate_section *gate = cpika_gate_leave();
    PyObject *done = PyObject_Vectorcall(callback, args, 4, NULL);
    cpika_gate_return(gate);
    Py_DECREF(callback);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
run_raw(CpikaConnection *conn, const cpika_raw_delivery *raw)
{
    CpikaChannel *ch = cpika_channel_object(raw->channel);
    cpika_made made = {0};
    Py_INCREF(ch);
    int rc = cpika_make_raw(conn, raw, &made);
    cpika_input_unpin(raw->chunk);
    if (rc == 0) {
        rc = run_message(conn, ch, &made);
        cpika_made_clear(&made);
    }
    Py_DECREF(ch);
    return rc < 0 ? -1 : 0;
}

PyObject *
cpika_loop_on_deliver(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    CPIKA_GATE;
    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "_on_deliver() takes method_frame, header_frame and body");
        return NULL;
    }
    if (call_method(op, ((CpikaChannel *)op)->st->names._deliver, args, 3) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- the broker's word for a publish ---- */

static bool
is_at(PyObject *dict, PyObject *key, const PyObject *wanted)
{
    PyObject *found = cpika_dict_get(dict, key);
    Py_XDECREF(found);
    return found == wanted;
}

/* New reference to the one callback that stays, of a CallbackManager, for what `key` names on this channel; NULL: none, or
 * more, or one that wants to be looked at more closely; or an exception. */
static PyObject *
only_callback(CpikaConnection *conn, const CpikaLoopChannel *ch, PyObject *key)
{
    const cpika_names *names = &conn->st->names;
    PyObject *callback = NULL;
    PyObject *manager =
        conn->loop.handler == NULL ? NULL : PyObject_GetAttr(conn->loop.handler, names->callbacks);
    PyObject *stack = manager == NULL ? NULL : PyObject_GetAttr(manager, names->_stack);
    if (stack != NULL && PyDict_Check(stack)) {
        PyObject *keys = cpika_dict_get(stack, ch->prefix);
        PyObject *list = keys != NULL && PyDict_Check(keys) ? cpika_dict_get(keys, key) : NULL;
        PyObject *entry =
            list != NULL && PyList_Check(list) && PyList_GET_SIZE(list) == 1 ? cpika_list_get(list, 0) : NULL;
        if (entry != NULL && PyDict_Check(entry) && is_at(entry, names->one_shot, Py_False)
            && is_at(entry, names->arguments, Py_None) && is_at(entry, names->only, Py_None)) {
            callback = cpika_dict_get(entry, names->callback);
        }
        Py_XDECREF(entry);
        Py_XDECREF(list);
        Py_XDECREF(keys);
    }
    Py_XDECREF(stack);
    Py_XDECREF(manager);
    return callback;
}

static int
run_verdict(CpikaConnection *conn, const cpika_raw_delivery *raw)
{
    uint32_t id;
    int status;
    CpikaLoopChannel *ch = (CpikaLoopChannel *)cpika_channel_object(raw->channel);
    Py_INCREF(ch);
    PyObject *method = cpika_method_decode(&conn->st->values, raw->method, raw->method_len, &id, &status);
    cpika_input_unpin(raw->chunk);
    int rc = -1;
    if (method != NULL) {
        const cpika_names *names = &conn->st->names;
        PyObject *callback = only_callback(
            conn, ch, id == CPIKA_ID_basic_ack ? names->basic_ack_name : names->basic_nack_name);
        PyObject *frame =
            PyErr_Occurred() ? NULL : cpika_frame_method(conn->st, ch->base.engine.number, method);
        if (frame != NULL && callback != NULL) {
            cpika_gate_section *gate = cpika_gate_leave();
            PyObject *done = PyObject_CallOneArg(callback, frame);
            cpika_gate_return(gate);
            rc = done == NULL ? -1 : 0;
            Py_XDECREF(done);
        } else if (frame != NULL) {
            rc = tell_method(conn, &ch->base, frame);
        }
        Py_XDECREF(frame);
        Py_XDECREF(callback);
    }
    Py_XDECREF(method);
    Py_DECREF(ch);
    return rc;
}

/* ---- the other events ---- */

static int
run_method(CpikaConnection *conn, const cpika_event *event)
{
    CpikaChannel *ch = (CpikaChannel *)event->owner;
    PyObject *method = cpika_make_method(conn, event->message);
    PyObject *frame =
        method == NULL ? NULL : cpika_frame_method(conn->st, ch == NULL ? 0 : ch->engine.number, method);
    int rc = frame == NULL ? -1 : tell_method(conn, ch, frame);
    Py_XDECREF(frame);
    Py_XDECREF(method);
    return rc;
}

static int
run_event(CpikaConnection *conn, const cpika_event *event)
{
    if (event->channel != NULL && event->channel->state == CHANNEL_CLOSED) {
        return 0;
    }
    if (event->kind == CPIKA_EVENT_METHOD) {
        return run_method(conn, event);
    }
    cpika_made made = {0};
    int rc = cpika_make_message(conn, event->message, &made);
    if (rc == 0 && event->kind == CPIKA_EVENT_DELIVERY) {
        rc = run_message(conn, cpika_channel_object(event->channel), &made);
    } else if (rc == 0) {
        const cpika_names *names = &conn->st->names;
        bool got = cpika_message_id(event->message) == CPIKA_ID_basic_get_ok;
        rc = tell_message(conn, got ? names->_on_getok : names->_on_return,
                          cpika_channel_object(event->channel), &made);
    }
    cpika_made_clear(&made);
    return rc;
}

/* ---- handling ---- */

/* Runs all that has come, in the stream's order.  0, or -1 with an exception. */
static int
handle(CpikaConnection *conn)
{
    cpika_engine *e = &conn->engine;
    int rc = 0;
    while (rc == 0) {
        cpika_event *event = cpika_events_take_first(&e->events);
        if (event != NULL) {
            rc = run_event(conn, event);
            cpika_event_free(event);
        } else {
            cpika_raw_delivery raw;
            cpika_step step = cpika_engine_step(e, &raw);
            if (step == CPIKA_STEP_DELIVERY) {
                rc = run_raw(conn, &raw);
            } else if (step == CPIKA_STEP_VERDICT) {
                rc = run_verdict(conn, &raw);
            } else if (step == CPIKA_STEP_MORE && e->events.first == NULL) {
                break;
            }
        }
        if (rc == 0) {  // a callback may have forked: in the child the rest is the parent's
            rc = cpika_check_fork(conn);
        }
    }
    if (e->grave.first != NULL && rc == 0) {
        cpika_engine_bury(e);
    }
    return rc;
}

/* ---- output ---- */

/* Another thread has something to send: whether it did so by itself.  Once for each time that the loop has come by: who
 * waits for an answer before he goes on is spared the way over the loop's thread; who does not, sends many with its flush.  At
 * the end of the interpreter there is no such thread any more. */
static bool
sent_from_outside(CpikaConnection *conn)
{
    cpika_loop *loop = &conn->loop;
    if ((loop->sent_at == loop->reads && !Py_IsFinalizing()) || loop->above) {
        return false;
    }
    loop->sent_at = loop->reads;
    return cpika_transport_try_flush(&conn->io);
}

/* Has the loop flush; `again`: also where it was asked. */
static int
ask(CpikaConnection *conn, bool again)
{
    cpika_loop *loop = &conn->loop;
    if ((loop->asked != NULL && !again) || loop->inside > 0 || loop->soon == NULL) {
        return 0;
    }
    // The thread that called in last need not be the loop's any more: that decides on who sends, not on how to ask.
    if (loop->thread != PyThread_get_thread_ident() && sent_from_outside(conn)) {
        return 0;
    }
    return again ? cpika_ask_again(conn) : cpika_ask(conn);
}

static int
append(CpikaConnection *conn, CpikaChannel *ch, const uint8_t *bytes, size_t n, uint64_t frames,
       uint64_t *tag)
{
    cpika_transport *io = &conn->io;
    if (cpika_engine_ended(&conn->engine) || io->closed) {
        // The loop's next turn tells why; until then it is a publish like those before it, which nobody confirms.
        if (tag != NULL) {
            *tag = ch->engine.confirming ? ++ch->engine.published : 0;
        }
        return 0;
    }
    cpika_transport_lock(io);  // which may let other threads run: only behind it is the order settled
    if (ch != NULL && ch->engine.state != CHANNEL_OPEN) {
        cpika_transport_unlock(io);
        return cpika_check_channel(ch) < 0 ? -1 : 0;
    }
    int rc = cpika_outq_push(&io->link->out, bytes, n);
    if (rc == CPIKA_OK && tag != NULL) {
        *tag = ch->engine.confirming ? ++ch->engine.published : 0;
    } else if (rc == CPIKA_OK) {
        cpika_engine_note_confirm_select(&conn->engine, bytes, n);
    }
    size_t queued = io->link->out.bytes;
    cpika_transport_unlock(io);
    if (rc < 0) {
        PyErr_NoMemory();
        return -1;
    }
    io->frames_sent += frames;
    if (ask(conn, ch == NULL) < 0) {
        return -1;
    }
    if (queued > conn->loop.high && !conn->loop.above) {
        conn->loop.above = true;
        return tell(conn, conn->st->names._on_output_high, NULL, 0);
    }
    return 0;
}

int
cpika_loop_taken(CpikaConnection *conn)
{
    cpika_loop *loop = &conn->loop;
    cpika_asked_and_done(conn);
    if (!loop->above || conn->io.link->out.bytes > loop->low || cpika_engine_ended(&conn->engine)) {
        return 0;
    }
    loop->above = false;
    return tell(conn, conn->st->names._on_output_low, NULL, 0);
}

int
cpika_loop_append(CpikaConnection *conn, const uint8_t *bytes, size_t n, uint64_t frames)
{
    return append(conn, NULL, bytes, n, frames, NULL);
}

int
cpika_loop_append_of(CpikaChannel *ch, const uint8_t *bytes, size_t n, uint64_t frames, uint64_t *tag)
{
    return append(ch->conn, ch, bytes, n, frames, tag);
}

/* Sends what is there.  Bits, or -1. */
static int
flush(CpikaConnection *conn)
{
    cpika_transport *io = &conn->io;
    cpika_asked_and_done(conn);
    if (io->closed) {
        return CPIKA_LOOP_ENDED;
    }
    int rc = CPIKA_OK;
    if (io->link->out.bytes > 0 || conn->engine.owed.len > 0) {
        rc = cpika_transport_flush(io);
    }
    if (rc == CPIKA_IO_RAISED || (rc == CPIKA_IO_ENDED && handle(conn) < 0)) {
        return -1;
    }
    if (cpika_loop_taken(conn) < 0) {
        return -1;
    }
    size_t queued = io->link->out.bytes;
    if (cpika_engine_ended(&conn->engine)) {
        return CPIKA_LOOP_ENDED;
    }
    return (queued > 0 && !io->wants_read) || io->wants_write ? CPIKA_LOOP_WANTS_WRITE : 0;
}

/* ---- what the loop calls ---- */

static void
enter(CpikaConnection *conn)
{
    conn->loop.thread = PyThread_get_thread_ident();
    conn->loop.inside++;
    conn->loop.reads++;
}

/* Ends a call: sends, unless an exception is on its way, which leaves that to the loop's next turn; in a child made by fork
 * the connection's end. */
static int
leave(CpikaConnection *conn, int rc)
{
    conn->loop.inside--;
    if (rc == 0) {
        return flush(conn);
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (!cpika_engine_ended(&conn->engine)) {
        (void)cpika_ask(conn);
    }
    cpika_drop_for(type, value, traceback);
    return -1;
}

int
cpika_loop_readable(CpikaConnection *conn)
{
    cpika_transport *io = &conn->io;
    enter(conn);
    Py_ssize_t n = 0;
    int rc = handle(conn);  // what an exception has left, or what somebody else has read
    for (int reads = 0; rc == 0 && !io->closed && reads < (io->sock == NULL ? 1 : PYTHON_READS); reads++) {
        n = cpika_transport_read(io);
        rc = n == CPIKA_IO_RAISED ? -1 : handle(conn);
        if (n <= 0) {
            break;
        }
    }
    int bits = leave(conn, rc);
    return bits >= 0 && io->sock != NULL && n > 0 ? bits | CPIKA_LOOP_MORE : bits;
}

int
cpika_loop_writable(CpikaConnection *conn)
{
    if (conn->io.wants_write) {
        return cpika_loop_readable(conn);
    }
    enter(conn);
    return leave(conn, 0);
}

/* outcome(bits, None), or outcome(None, the exception that is set).  0 or -1. */
static int
tell_outcome(PyObject *outcome, int bits)
{
    PyObject *number = NULL, *type = NULL, *error = NULL, *traceback = NULL;
    if (bits >= 0) {
        number = PyLong_FromLong(bits);
    } else {
        PyErr_Fetch(&type, &error, &traceback);
        PyErr_NormalizeException(&type, &error, &traceback);
        if (traceback != NULL) {
            PyException_SetTraceback(error, traceback);
        }
    }
    cpika_gate_section *gate = cpika_gate_leave();
    PyObject *done = PyObject_CallFunctionObjArgs(outcome, number == NULL ? Py_None : number,
                                                  error == NULL ? Py_None : error, NULL);
    cpika_gate_return(gate);
    Py_XDECREF(number);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

int
cpika_loop_called(CpikaConnection *conn, int (*call)(CpikaConnection *))
{
    cpika_loop *loop = &conn->loop;
    if (loop->outcome == NULL) {
        return 0;
    }
    PyObject *outcome = Py_NewRef(loop->outcome);  // a callback may end it
    int bits = cpika_check_fork(conn) < 0 ? -1 : call(conn);
    int rc = 0;
    if (bits != loop->told || bits < 0 || (bits & (CPIKA_LOOP_ENDED | CPIKA_LOOP_MORE)) != 0) {
        loop->told = bits < 0 ? loop->told : bits & CPIKA_LOOP_WANTS_WRITE;
        rc = tell_outcome(outcome, bits);
    }
    Py_DECREF(outcome);
    return rc;
}

void
cpika_loop_uncalled(CpikaConnection *conn)
{
    Py_CLEAR(conn->loop.outcome);
}

int
cpika_loop_feed(CpikaConnection *conn, const uint8_t *bytes, size_t n)
{
    cpika_engine *e = &conn->engine;
    if (cpika_engine_ended(e)) {
        return 0;
    }
    if (cpika_input_append(&e->in, bytes, n) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    e->bytes_received += n;
    enter(conn);
    int rc = handle(conn);
    conn->loop.inside--;
    return rc;
}
