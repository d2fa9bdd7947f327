/* rmq.h - rabbitmq-c, in either of its header layouts.  The only file that includes it.
 * Layer: wire (libc, rabbitmq-c).  Owns: nothing.  Threads: any.  Errors: none. */
#ifndef CPIKA_WIRE_RMQ_H
#define CPIKA_WIRE_RMQ_H

/* CPIKA_RMQ_OLD_LAYOUT: the library that is linked has the old one, whatever else is installed. */
#if defined(__has_include) && !defined(CPIKA_RMQ_OLD_LAYOUT)
#    if __has_include(<rabbitmq-c/amqp.h>)
#        define CPIKA_RMQ_NEW_LAYOUT 1
#    endif
#endif

#ifdef CPIKA_RMQ_NEW_LAYOUT  // since 0.12
#    include <rabbitmq-c/amqp.h>
#else
#    include <amqp.h>
#endif

/* 0.11 does not know the two methods by which a connection gets a new secret: method.c does them by hand there. */
#ifndef AMQP_CONNECTION_UPDATE_SECRET_METHOD
#    define CPIKA_RMQ_WITHOUT_UPDATE_SECRET 1
typedef struct {
    amqp_bytes_t new_secret;
    amqp_bytes_t reason;
} amqp_connection_update_secret_t;
typedef struct {
    char dummy;
} amqp_connection_update_secret_ok_t;
#endif

#endif
