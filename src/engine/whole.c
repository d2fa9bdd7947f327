/* whole.c - see whole.h.
 * Layer: engine.  Owns: nothing.  Threads: with the GIL.  Errors: none. */
#include "whole.h"

#include "wire/frame.h"
#include "wire/method.h"

bool
cpika_take_whole(cpika_engine *e, const cpika_frame *method, size_t available, cpika_raw_delivery *d)
{
    cpika_channel *ch = cpika_engine_channel(e, method->channel);
    if (cpika_get32(method->payload) != CPIKA_ID_basic_deliver || ch == NULL || ch->content.method_id != 0
        || ch->events.first != NULL || ch->consumers.refused > 0 || ch->state != CHANNEL_OPEN) {
        return false;
    }
    const uint8_t *p = method->payload - CPIKA_FRAME_HEAD_SIZE;
    size_t total = method->total;
    cpika_frame header, body = {0};
    if (cpika_frame_split(p + total, available - total, e->frame_max, &header) != CPIKA_OK
        || header.type != CPIKA_FRAME_HEADER || header.channel != method->channel
        || cpika_content_check_header(&header, CPIKA_ID_basic_deliver) < 0) {
        return false;
    }
    total += header.total;
    uint64_t body_len = cpika_get64(header.payload + 4);
    if (body_len > 0) {
        if (cpika_frame_split(p + total, available - total, e->frame_max, &body) != CPIKA_OK
            || body.type != CPIKA_FRAME_BODY || body.channel != method->channel || body.size != body_len) {
            return false;
        }
        total += body.total;
    }
    *d = (cpika_raw_delivery){.channel = ch,
                              .chunk = cpika_input_pin(&e->in),
                              .method = method->payload,
                              .method_len = method->size,
                              .properties = header.payload + 12,
                              .properties_len = header.size - 12,
                              .body = body.payload,
                              .body_len = body_len};
    e->in.pos += total;
    e->frames_received += body_len > 0 ? 3 : 2;
    return true;
}

bool
cpika_take_verdict(cpika_engine *e, const cpika_frame *frame, cpika_raw_delivery *d)
{
    cpika_channel *ch = cpika_engine_channel(e, frame->channel);
    if (frame->type != CPIKA_FRAME_METHOD || frame->size != 4 + 9 || ch == NULL
        || ch->content.method_id != 0) {
        return false;
    }
    uint32_t id = cpika_get32(frame->payload);
    if (id != CPIKA_ID_basic_ack && id != CPIKA_ID_basic_nack) {
        return false;
    }
    *d = (cpika_raw_delivery){
        .channel = ch, .chunk = cpika_input_pin(&e->in), .method = frame->payload, .method_len = frame->size};
    e->in.pos += frame->total;
    e->frames_received++;
    return true;
}
