/* requests.h - methods that await an answer: one at a time is with the broker, the others stand behind it.
 * Layer: engine.
 * Owns: the requests in a list; a caller's own request until it is released or abandoned.
 * Threads: with the GIL.  Nothing here runs user code.
 * Errors: CPIKA_E_NOMEM.
 *
 * RabbitMQ answers Basic.Consume and Basic.Cancel from the queue's process, other methods from the channel's: two that
 * are under way at once are answered in any order, so never two are.  The engine sends the next one itself when an
 * answer comes; no caller has to run for that, wherever a signal handler, a greenlet or a callback holds it up. */
#ifndef CPIKA_ENGINE_REQUESTS_H
#define CPIKA_ENGINE_REQUESTS_H

#include "message.h"  // Python.h before any other header

#include <stdbool.h>

#include "wire/buf.h"

typedef enum {
    CPIKA_REQUEST_QUEUED,
    CPIKA_REQUEST_SENT,
    CPIKA_REQUEST_ANSWERED,
    CPIKA_REQUEST_FAILED
} cpika_request_state;

typedef struct cpika_request {
    struct cpika_request *next;
    uint32_t replies[2];  // method ids that answer it; 0: none
    cpika_request_state state;
    bool abandoned;         // nobody waits any more: the engine owns it, and undoes what it has begun
    bool no_ack;            // Basic.Get, Basic.Consume: what is delivered cannot be given back
    cpika_buf frame;        // while it is queued
    cpika_message *answer;  // counted; when answered
} cpika_request;

typedef struct {
    cpika_request *first;  // the one that was sent, if any was
    cpika_request *last;
} cpika_requests;

/* New request of no list; NULL: no memory. */
cpika_request *cpika_request_new(uint32_t reply, uint32_t other_reply);
void cpika_request_free(cpika_request *r);

/* Joins the list.  CPIKA_OK: it is the first, counts as sent, and the caller sends `bytes` now; CPIKA_AGAIN: they are kept
 * until its turn; CPIKA_E_NOMEM: it did not join. */
int cpika_requests_join(cpika_requests *list, cpika_request *r, const uint8_t *bytes, size_t n);

/* The one under way, when `id` answers it; else NULL. */
static inline cpika_request *
cpika_requests_match(const cpika_requests *list, uint32_t id)
{
    cpika_request *r = list->first;
    return r != NULL && r->state == CPIKA_REQUEST_SENT && (r->replies[0] == id || r->replies[1] == id) ? r
                                                                                                       : NULL;
}

/* Takes the first one out of the list: it is answered.  The next one, queued so far, counts as sent: its frame is to be
 * sent now; NULL: there is none. */
cpika_request *cpika_requests_pop(cpika_requests *list);

/* Takes one that is still queued out of the list. */
void cpika_requests_remove(cpika_requests *list, cpika_request *r);

/* Nobody will be answered any more: abandoned ones are freed, the others have failed; the list is empty. */
void cpika_requests_fail(cpika_requests *list);

#endif
