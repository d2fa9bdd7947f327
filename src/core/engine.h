/* engine.h - the inside of a connection: what the engine's files share.
 * Layer: core.
 * Owns: see the structs.  Threads: the GIL guards every field, unless it says otherwise; what the keeper may touch is
 *       in the link, under the link's lock.
 * Errors: int functions return -1 with an exception set; when the connection itself broke, it is closed by then.
 *
 * What the protocol does and who waits are apart: engine_read_some, engine_next_frame, engine_flush_some never block;
 * engine_wait (wait.c) is the blocking driver on top.  Before user code runs the state is whole: the read position is
 * stored, no pointer into the input survives, and afterwards everything is read anew (rule 11). */
#ifndef CPIKA_CORE_ENGINE_H
#define CPIKA_CORE_ENGINE_H

#include "values/state.h"  // Python.h before any other header

#include <stdbool.h>
#include <stdint.h>

#include "offer.h"
#include "values/errors.h"
#include "values/strcache.h"
#include "window.h"
#include "wire/buf.h"
#include "wire/clock.h"
#include "wire/frame.h"
#include "wire/heartbeat.h"
#include "wire/keeper.h"
#include "wire/link.h"

typedef struct CpikaConnection CpikaConnection;
typedef struct CpikaChannel CpikaChannel;

/* States of pika.connection.Connection and pika.channel.Channel, same numbers. */
enum {
    CONNECTION_CLOSED = 0,
    CONNECTION_INIT = 1,
    CONNECTION_PROTOCOL = 2,
    CONNECTION_START = 3,
    CONNECTION_TUNE = 4,
    CONNECTION_OPEN = 5,
    CONNECTION_CLOSING = 6,
};
enum { CHANNEL_CLOSED = 0, CHANNEL_OPENING = 1, CHANNEL_OPEN = 2, CHANNEL_CLOSING = 3 };

/* Somebody who awaits an answer.  On the heap, in the FIFO of its channel: an interrupted wait leaves it there as a
 * tombstone that swallows its answer (rule 13). */
typedef struct cpika_waiter {
    struct cpika_waiter *next;
    uint32_t replies[2];  // method ids that answer it; 0: none
    bool done;            // `result` is set
    bool failed;          // channel or connection closed before the answer
    bool abandoned;       // nobody waits any more: the answer frees it
    bool no_ack;          // basic_get: what was asked for, to give an unwanted message back
    PyObject *result;     // owned: method object, or (method, properties, body)
} cpika_waiter;

/* One publish that awaits its confirm; on the stack of its call. */
typedef struct cpika_confirm {
    struct cpika_confirm *next;
    uint64_t delivery_tag;
    uint64_t hash;  // of cpika_message_hash; 0: not mandatory, nothing comes back
    bool done;
    bool failed;         // channel or connection closed before the confirm
    PyObject *nack;      // owned: Basic.Nack as it came; NULL for an ack
    PyObject *returned;  // owned: ReturnedMessage; NULL: none
} cpika_confirm;

/* A thread's `with channel.buffered()`, with those inside it. */
typedef struct cpika_block {
    struct cpika_block *next;
    unsigned long thread;
    int depth;         // how many it has entered
    size_t max_bytes;  // of the innermost
    uint64_t max_delay_ns;
    cpika_window window;  // in confirm mode; before the first publish `nacked` is NULL
} cpika_block;

/* A message whose header or body is still coming; one per channel. */
typedef struct {
    uint32_t method_id;  // Deliver, GetOk or Return; 0: none
    bool header_seen;
    PyObject *tag;         // owned: consumer tag of a Deliver
    PyObject *method;      // owned
    PyObject *properties;  // owned
    PyObject *body;        // owned bytes, as large as announced or as far as allocated
    uint64_t size;         // announced
    uint64_t received;
} cpika_content;

/* A message, or another event, that waits to be dispatched. */
typedef struct {
    CpikaChannel *channel;  // owned
    PyObject *consumer;     // owned: _ConsumerInfo, where it goes straight to its callback; NULL: look it up
    PyObject *tag;          // owned: consumer tag; NULL: concerns no consumer
    PyObject *method;       // owned; with `properties` NULL it is an event object with dispatch()
    PyObject *properties;   // owned
    PyObject *body;         // owned
} cpika_event;

typedef struct {
    cpika_event *items;  // ring
    size_t head, count, cap;
} cpika_events;

struct CpikaChannel {
    PyObject_HEAD
    cpika_state *st;
    CpikaConnection *conn;     // owned; NULL before __init__
    PyObject *consumer_infos;  // owned dict: tag -> _ConsumerInfo
    PyObject *found_tag;       // owned: looked up in it last; NULL: none, or it was handed out since
    PyObject *found_info;      // owned
    PyObject *closing_reason;  // owned exception, or NULL
    PyObject *weakrefs;
    cpika_waiter *waiters;  // FIFO
    cpika_waiter **waiters_end;
    cpika_confirm *confirms;  // publishes in flight, by delivery tag
    cpika_content content;
    PyObject *returned;  // owned: ReturnedMessage that _on_return has made, until its publish is found
    uint64_t published;  // delivery tag of the last publish in confirm mode
    unsigned long confirm_owner;  // thread whose turn it is to publish with confirm; 0: nobody's
    int number;
    uint8_t state;
    bool confirming;        // confirm.select was answered
    cpika_window *windows;  // publishes that many calls or one big one await; innermost first
    cpika_block *blocks;    // owned: one for each thread that is inside `with channel.buffered()`
};

struct CpikaConnection {
    PyObject_HEAD
    cpika_state *st;
    PyObject *weakrefs;
    cpika_link *link;  // counted; NULL before __init__
    PyObject *sock;    // owned: Python socket that does the I/O (rule 9); NULL: the link's descriptor does
    PyObject *sock_chunk;      // owned bytes that sock.send() wants again; NULL: none
    bool sock_wants_write;     // a TLS read that waits for room to write
    bool sock_wants_read;      // a TLS write that waits for bytes to read
    unsigned long sock_owner;  // thread inside sock.send/recv; 0: nobody
    PyObject *error;           // owned: why the connection ended; NULL while it is sound
    uint8_t state;
    bool closed_by_client;  // an orderly end: nothing to raise
    uint32_t frame_max;
    // input
    cpika_buf in;
    size_t in_pos;   // first byte not yet handled
    cpika_buf late;  // came while a frame in `in` was being decoded, which must not move: goes behind it
    CpikaChannel *direct;   // borrowed: channel whose body is received in place; NULL: none
    size_t direct_left;     // bytes of the frame begun that still belong to that body
    size_t skip;            // bytes of a frame begun for a channel that is gone
    uint64_t last_look_ns;  // when a publish last looked at the input
    uint64_t clock_ns;      // the last time that was read: good enough for what may leave early
    uint64_t bytes_received;
    cpika_heartbeat heartbeat;
    uint64_t blocked_timeout_ns;  // blocked_connection_timeout; 0: none
    uint64_t blocked_until_ns;  // Connection.Blocked outlasts blocked_connection_timeout then; 0: not blocked
    // channels
    CpikaChannel **channels;  // owned references, by number; NULL where there is none
    size_t channels_cap;
    int channel_seen;       // highest number that was ever opened
    cpika_waiter *waiters;  // of channel 0
    cpika_waiter **waiters_end;
    // dispatch
    cpika_events events;
    unsigned long dispatcher;  // thread that dispatches; 0: none
    int dispatch_depth;
    bool may_hold;              // an ack given now may wait: more messages stand ready (rule 4)
    bool holding;               // acks or publishes are held
    uint64_t holding_until_ns;  // what the keeper was told
    bool return_asked;          // the dispatching call has a reason to return
    cpika_offer offer;          // of the loops of C (rule 1)
    // who reads
    unsigned long reader;   // thread that polls; 0: none
    unsigned long handler;  // thread that handles a frame, perhaps in Python code; 0: none
    bool turned_away;       // others wanted to meanwhile
    bool decoding;          // a frame was taken and has not had its effect yet: no other may overtake it
    int followers;          // threads that wait for the reader to do their work
    uint64_t wake_seq;      // under role_lock
    pthread_mutex_t role_lock;
    pthread_cond_t role_cond;
    bool role_ready;  // both were initialised
    // output
    cpika_buf scratch;  // taken by the call that encodes, given back after
    cpika_strcache strings;
};

/* ---- failure.c ---- */
/* 0 when calls are allowed; else -1 with ConnectionWrongStateError. */
int engine_check(CpikaConnection *conn);
/* Ends the connection because of `error` (stolen; NULL: out of memory making it) and raises it.  Always -1. */
int engine_fail(CpikaConnection *conn, PyObject *error);
/* The same for a violation of the wire; tells the peer the reply code. */
int engine_violation(CpikaConnection *conn, int status, long detail);
int engine_refuse(CpikaConnection *conn, int reply_code, PyObject *error);
/* Ends the connection without raising.  `error` is stolen. */
void engine_terminate(CpikaConnection *conn, PyObject *error);
/* Raises conn->error or, when there is none, ConnectionWrongStateError.  Always -1. */
int engine_raise_closed(CpikaConnection *conn);
/* Calls a Python method of `self`; what it raises is reported and goes no further. */
void engine_hook(PyObject *self, PyObject *name, PyObject *const *args, size_t nargs);

/* ---- connection.c ---- */
CpikaChannel *engine_channel(CpikaConnection *conn, int number);
int engine_add_channel(CpikaConnection *conn, CpikaChannel *channel);
void engine_drop_channel(CpikaConnection *conn, CpikaChannel *channel);
/* Seconds from now (None: never) as monotonic time.  0 or -1. */
int engine_deadline(PyObject *seconds, uint64_t *deadline_ns);

/* ---- transport.c ---- */
int engine_attach(CpikaConnection *conn, PyObject *sock);
/* Sends what stands in the queue, without waiting: CPIKA_OK, CPIKA_AGAIN, or -1. */
int engine_flush_some(CpikaConnection *conn);
/* Sends a message: CPIKA_OK (it has left), CPIKA_AGAIN (the rest is queued), or -1. */
int engine_send(CpikaConnection *conn, const uint8_t *bytes, size_t n);
/* The same; the waiter for its answer joins those of the channel at the moment that decides what leaves first. */
int engine_send_request(CpikaConnection *conn, CpikaChannel *ch, cpika_waiter *waiter, const uint8_t *bytes,
                        size_t n);
/* The same for a caller who has the lock; gives it back.  now_ns: see cpika_link_send_locked. */
int engine_send_unlock(CpikaConnection *conn, const uint8_t *bytes, size_t n, uint64_t now_ns);
/* Puts a frame behind what is queued; it leaves with the next flush, or by the keeper for_ns after clock_ns at the
 * latest (a clock read for each ack would be 7 % of a consumer's time; a stale one lets it leave earlier).
 * *queued: bytes in the queue now. */
int engine_hold(CpikaConnection *conn, const uint8_t *bytes, size_t n, uint64_t for_ns, size_t *queued);
/* The same for a caller who has the lock; gives it back. */
int engine_hold_unlock(CpikaConnection *conn, const uint8_t *bytes, size_t n, uint64_t for_ns,
                       size_t *queued);
/* Leaves what is queued to the keeper. */
void engine_leave_output(CpikaConnection *conn);
/* One read of what is there: > 0 bytes, 0 (nothing there now), or -1. */
Py_ssize_t engine_read_some(CpikaConnection *conn);
/* Waits without the GIL until something can be done, at most timeout_ms.  -1 with an exception; signals are the
 * caller's to look for. */
int engine_poll(CpikaConnection *conn, bool want_write, int timeout_ms);
void engine_lock(CpikaConnection *conn);
void engine_unlock(CpikaConnection *conn);
bool engine_inside_socket(const CpikaConnection *conn);
bool engine_has_output(CpikaConnection *conn);
void engine_close_transport(CpikaConnection *conn);

/* ---- reader.c ---- */
/* Room for `n` more bytes of input, moving what is unread to the front when it must.  0 or -1. */
int engine_input_room(CpikaConnection *conn, size_t n);
/* Puts what a Python socket has given behind what came before.  0 or -1. */
int engine_input_append(CpikaConnection *conn, const void *bytes, size_t n);
/* Handles one frame: 1, or 0 when there is none complete, or -1.  A delivery that got complete goes into `direct`
 * when that is given and nothing is queued before it (direct->channel is set then), else into the queue. */
int engine_next_frame(CpikaConnection *conn, cpika_event *direct);
bool engine_frame_ready(const CpikaConnection *conn);

/* ---- content.c ---- */
/* Whether a content header may follow that method: CPIKA_OK, or what is wrong with it. */
int engine_check_header(const cpika_frame *frame, uint32_t method_id);
/* Steals method and tag (the consumer's; NULL for GetOk and Return).  1. */
int engine_begin_content(CpikaChannel *ch, uint32_t id, PyObject *method, PyObject *tag);
int engine_content_header(CpikaConnection *conn, CpikaChannel *ch, const cpika_frame *frame,
                          cpika_event *direct);
int engine_content_body(CpikaConnection *conn, CpikaChannel *ch, const cpika_frame *frame,
                        cpika_event *direct);
/* Takes what has come of a large body frame; the rest is received straight into the body.  1, 0 (not worth it), -1. */
int engine_begin_direct(CpikaConnection *conn, const cpika_frame *frame, size_t available);
/* Where the next bytes of a body received in place belong, and how many fit. */
int engine_direct_target(CpikaConnection *conn, uint8_t **target, size_t *room);
void engine_direct_received(CpikaConnection *conn, size_t n);
/* Ends the frame received in place: 1, 0 when it is not complete yet, or -1. */
int engine_end_direct(CpikaConnection *conn, cpika_event *direct);
void engine_clear_content(CpikaChannel *ch);

/* ---- deliver.c ---- */
void cpika_event_clear(cpika_event *event);
/* Takes what `event` owns, also when it fails.  0 or -1. */
int engine_queue_event(CpikaConnection *conn, cpika_event *event);
void engine_free_content(cpika_content *c);
/* A delivery is whole: to its consumer's sink, into `direct`, or into the queue.  Takes what `c` owns.  1 or -1. */
int engine_accept_message(CpikaConnection *conn, CpikaChannel *ch, cpika_content *c, cpika_event *direct);
/* Dispatches what is queued, then what stands in the buffer.  Events dispatched, or -1. */
Py_ssize_t engine_dispatch(CpikaConnection *conn);
void engine_discard_events(CpikaConnection *conn, CpikaChannel *ch);
void engine_discard_all_events(CpikaConnection *conn);
/* Forgets what the last delivery has found in consumer_infos. */
void engine_forget_found(CpikaChannel *ch);
PyObject *engine_take_pending(CpikaConnection *conn, CpikaChannel *ch, PyObject *tag);

/* ---- wait.c ---- */
typedef bool (*engine_predicate)(CpikaConnection *conn, void *arg);
#define ENGINE_FOREVER UINT64_MAX
/* Drives the connection until `done` (0), the deadline (1), or an exception (-1). */
int engine_wait(CpikaConnection *conn, engine_predicate done, void *arg, uint64_t deadline_ns);
/* The same right after a request has left: its answer takes a round trip, so it polls before it reads.  Without the
 * read that finds nothing, and the drain of a wake descriptor that is empty, basic_get takes 57 us instead of 62. */
int engine_wait_answer(CpikaConnection *conn, engine_predicate done, void *arg, uint64_t deadline_ns);
/* Waits until everything queued has left. */
int engine_wait_output(CpikaConnection *conn);
/* Wakes the threads that wait for something which this one has done for them. */
void engine_wake_others(CpikaConnection *conn);
/* Deadlines of the connection itself: a dead peer, a block that lasts too long.  -1: it failed. */
int engine_check_deadlines(CpikaConnection *conn);
/* One dispatching call, see Connection._process: 1 after events, 2 when asked to return, 0 when the time was over,
 * -1. */
int engine_process(CpikaConnection *conn, uint64_t deadline_ns, bool dispatch);

/* ---- rpc.c ---- */
cpika_waiter *engine_new_waiter(uint32_t reply, uint32_t other_reply);
/* Sends a request (n 0: nothing) and waits for its answer: new reference, or NULL with an exception.  Takes the waiter,
 * which joins the others in the order in which the requests leave. */
PyObject *engine_request(CpikaConnection *conn, CpikaChannel *ch, cpika_waiter *waiter, const uint8_t *bytes,
                         size_t n, uint64_t deadline_ns);
/* Behind those that wait already. */
void engine_join_waiters(CpikaConnection *conn, CpikaChannel *ch, cpika_waiter *waiter);
void engine_forget_waiter(CpikaConnection *conn, CpikaChannel *ch, cpika_waiter *waiter);
/* The first waiter that has no answer yet, when `id` is one for it; else NULL. */
cpika_waiter *engine_waiter_for(CpikaConnection *conn, CpikaChannel *ch, uint32_t id);
/* Gives a waiter its answer (stolen); a tombstone swallows it and is gone. */
void engine_answer(CpikaConnection *conn, CpikaChannel *ch, cpika_waiter *waiter, PyObject *result);
/* Nobody who waits will be answered any more: channel or connection is closed. */
void engine_fail_waiters(CpikaConnection *conn, CpikaChannel *ch);
/* Appends a method frame to `out`; -1 with an exception, `out` unchanged. */
int engine_encode_method(CpikaConnection *conn, int channel, PyObject *method, cpika_buf *out);
int engine_send_method(CpikaConnection *conn, int channel, PyObject *method);
/* Sends a method (None: only waits) and returns its answer: new reference, or NULL with an exception. */
PyObject *engine_rpc(CpikaConnection *conn, CpikaChannel *ch, PyObject *method, uint32_t reply,
                     uint64_t deadline_ns);

/* ---- channel.c, ack.c, confirm.c, publish.c ---- */
/* 0 when the channel is open; else -1 with pika's ChannelWrongStateError. */
int channel_check_open(CpikaChannel *ch);
/* Raises why it is not open: the broker's reason, if it was the broker, else pika's ChannelWrongStateError.  -1. */
int channel_raise_not_open(CpikaChannel *ch);
/* Raises why the broker closed the channel, if it did.  0 or -1. */
int channel_raise_closed_by_broker(CpikaChannel *ch);
/* Looks at the input when the last look is over 1 ms old, so that a caller that only writes learns of Channel.Close,
 * Blocked and EOF (rule 2).  0 or -1. */
int channel_look(CpikaChannel *ch);
void channel_set_closed(CpikaChannel *ch, PyObject *reason);
int engine_reject(CpikaConnection *conn, CpikaChannel *ch, uint64_t delivery_tag);
/* The broker confirmed (`nack` NULL) or refused a publish, or all up to it. */
int engine_confirmed(CpikaChannel *ch, uint64_t delivery_tag, bool multiple, PyObject *nack);
PyObject *channel_basic_publish(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *channel_basic_ack(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *channel_basic_nack(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *channel_basic_reject(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
/* A message came back, and _on_return has seen it: notes it for the publish that it was.  0 or -1. */
int channel_note_return(CpikaChannel *ch, const cpika_content *c);
PyObject *channel_publish_many(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *channel_begin_buffered(PyObject *self, PyObject *args);
PyObject *channel_end_buffered(PyObject *self, PyObject *args);
PyObject *channel_basic_get(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

/* ---- types ---- */
int cpika_connection_exec(PyObject *module, cpika_state *st);
int cpika_channel_exec(PyObject *module, cpika_state *st);
int cpika_consumer_exec(PyObject *module, cpika_state *st);

#endif
