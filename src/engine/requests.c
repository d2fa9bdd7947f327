/* requests.c - see requests.h.
 * Layer: engine.  Owns: see requests.h.  Threads: with the GIL.  Errors: see requests.h. */
#include "requests.h"

cpika_request *
cpika_request_new(uint32_t reply, uint32_t other_reply)
{
    cpika_request *r = PyMem_Calloc(1, sizeof *r);
    if (r != NULL) {
        r->replies[0] = reply;
        r->replies[1] = other_reply;
    }
    return r;
}

void
cpika_request_free(cpika_request *r)
{
    cpika_message_decref(r->answer);
    cpika_buf_free(&r->frame);
    PyMem_Free(r);
}

int
cpika_requests_join(cpika_requests *list, cpika_request *r, const uint8_t *bytes, size_t n)
{
    bool alone = list->first == NULL;
    if (!alone && cpika_buf_append(&r->frame, bytes, n) != CPIKA_OK) {
        return CPIKA_E_NOMEM;
    }
    r->next = NULL;
    r->state = alone ? CPIKA_REQUEST_SENT : CPIKA_REQUEST_QUEUED;
    *(alone ? &list->first : &list->last->next) = r;
    list->last = r;
    return alone ? CPIKA_OK : CPIKA_AGAIN;
}

cpika_request *
cpika_requests_pop(cpika_requests *list)
{
    cpika_request *next = list->first->next;
    list->first = next;
    if (next == NULL) {
        list->last = NULL;
    } else {
        next->state = CPIKA_REQUEST_SENT;
    }
    return next;
}

void
cpika_requests_remove(cpika_requests *list, cpika_request *r)
{
    cpika_request *before = NULL;
    for (cpika_request *at = list->first; at != r; at = at->next) {
        before = at;
    }
    *(before != NULL ? &before->next : &list->first) = r->next;
    if (list->last == r) {
        list->last = before;
    }
}

void
cpika_requests_fail(cpika_requests *list)
{
    cpika_request *r = list->first;
    *list = (cpika_requests){NULL, NULL};
    while (r != NULL) {
        cpika_request *next = r->next;
        if (r->abandoned) {
            cpika_request_free(r);
        } else {
            r->state = CPIKA_REQUEST_FAILED;
        }
        r = next;
    }
}
