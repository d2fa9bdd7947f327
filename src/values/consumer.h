/* consumer.h - _ConsumerInfo and _ConsumerDeliveryEvt: what a channel knows of a consumer, and a delivery as an event.
 * Layer: values.  Owns: see the structs.  Threads: with the GIL.  Errors: NULL with an exception. */
#ifndef CPIKA_VALUES_CONSUMER_H
#define CPIKA_VALUES_CONSUMER_H

#include "state.h"

#include <stdbool.h>

/* pika's states of a consumer, same numbers. */
enum {
    CONSUMER_SETTING_UP = 1,
    CONSUMER_ACTIVE = 2,
    CONSUMER_TEARING_DOWN = 3,
    CONSUMER_CANCELLED_BY_BROKER = 4
};

typedef struct CpikaConsumerInfo {
    PyObject_HEAD
    PyObject *on_message_callback;  // read at each dispatch: tracers replace it after basic_consume
    PyObject *alternate_event_sink;
    PyObject *consumer_tag;
    PyObject *store;          // of consume(): its `pending_events` gets what the sink would; NULL: none
    PyObject *sink_of_store;  // owned: the sink it stands for, while nobody replaces that
    struct CpikaConsumerInfo *refused_before;  // owned: see drivers/deliver.c
    char auto_ack;
    bool unsent;     // its Basic.Consume still waits for its turn: nobody needs to tell the broker of its end
    bool forgotten;  // its channel knows it no more
    int state;
} CpikaConsumerInfo;

/* New _ConsumerDeliveryEvt; the arguments are borrowed. */
PyObject *cpika_delivery_evt_new(cpika_state *st, PyObject *method, PyObject *properties, PyObject *body);

/* (method, properties, body) of one; anything else is returned as it is.  New reference. */
PyObject *cpika_delivery_evt_message(const cpika_state *st, PyObject *evt);

int cpika_consumer_exec(PyObject *module, cpika_state *st);

#endif
