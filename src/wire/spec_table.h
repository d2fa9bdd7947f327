/* spec_table.h - every class, method and property of AMQP 0-9-1 as RabbitMQ speaks it, once.
 * Layer: wire (no library).  Owns: nothing.  Threads: any.  Errors: none.
 *
 * Ids, descriptors, Python types and signatures are all expansions of the three lists below.
 *
 * CPIKA_SPEC_CLASSES(CLASS)
 *     CLASS(id, Name)
 * CPIKA_SPEC_METHODS(METHOD, FIELD)
 *     METHOD(id, Class, Name, owner, flags, fields)       owner: amqp_<owner>_t is rabbitmq-c's struct
 *     FIELD(owner, member, kind, name, default)           member: the spec's (and rabbitmq-c's) name;
 *                                                         name: pika's, of the field and the argument
 * CPIKA_SPEC_PROPERTIES(PROPERTY)
 *     PROPERTY(bit, kind, name)                           in the order of the wire
 *
 * Order of the methods: that of pika.spec.methods.  Order of the fields: that of the wire, which is also that of the
 * arguments of pika's constructors. */
#ifndef CPIKA_WIRE_SPEC_TABLE_H
#define CPIKA_WIRE_SPEC_TABLE_H

// clang-format off
#define CPIKA_SPEC_CLASSES(CLASS) \
    CLASS(0x000A, Connection) \
    CLASS(0x0014, Channel) \
    CLASS(0x001E, Access) \
    CLASS(0x0028, Exchange) \
    CLASS(0x0032, Queue) \
    CLASS(0x003C, Basic) \
    CLASS(0x005A, Tx) \
    CLASS(0x0055, Confirm)

#define CPIKA_SPEC_METHODS(METHOD, FIELD) \
    METHOD(0x000A000A, Connection, Start, connection_start, CPIKA_SYNC, \
        FIELD(connection_start, version_major, octet, version_major, CPIKA_INT(0)) \
        FIELD(connection_start, version_minor, octet, version_minor, CPIKA_INT(9)) \
        FIELD(connection_start, server_properties, table, server_properties, CPIKA_NONE) \
        FIELD(connection_start, mechanisms, longstr, mechanisms, CPIKA_STR("PLAIN")) \
        FIELD(connection_start, locales, longstr, locales, CPIKA_STR("en_US"))) \
    METHOD(0x000A000B, Connection, StartOk, connection_start_ok, CPIKA_PLAIN, \
        FIELD(connection_start_ok, client_properties, table, client_properties, CPIKA_NONE) \
        FIELD(connection_start_ok, mechanism, shortstr, mechanism, CPIKA_STR("PLAIN")) \
        FIELD(connection_start_ok, response, longstr, response, CPIKA_NONE) \
        FIELD(connection_start_ok, locale, shortstr, locale, CPIKA_STR("en_US"))) \
    METHOD(0x000A0014, Connection, Secure, connection_secure, CPIKA_SYNC, \
        FIELD(connection_secure, challenge, longstr, challenge, CPIKA_NONE)) \
    METHOD(0x000A0015, Connection, SecureOk, connection_secure_ok, CPIKA_PLAIN, \
        FIELD(connection_secure_ok, response, longstr, response, CPIKA_NONE)) \
    METHOD(0x000A001E, Connection, Tune, connection_tune, CPIKA_SYNC, \
        FIELD(connection_tune, channel_max, short, channel_max, CPIKA_INT(0)) \
        FIELD(connection_tune, frame_max, long, frame_max, CPIKA_INT(0)) \
        FIELD(connection_tune, heartbeat, short, heartbeat, CPIKA_INT(0))) \
    METHOD(0x000A001F, Connection, TuneOk, connection_tune_ok, CPIKA_PLAIN, \
        FIELD(connection_tune_ok, channel_max, short, channel_max, CPIKA_INT(0)) \
        FIELD(connection_tune_ok, frame_max, long, frame_max, CPIKA_INT(0)) \
        FIELD(connection_tune_ok, heartbeat, short, heartbeat, CPIKA_INT(0))) \
    METHOD(0x000A0028, Connection, Open, connection_open, CPIKA_SYNC, \
        FIELD(connection_open, virtual_host, shortstr, virtual_host, CPIKA_STR("/")) \
        FIELD(connection_open, capabilities, shortstr, capabilities, CPIKA_STR("")) \
        FIELD(connection_open, insist, bit, insist, CPIKA_FALSE)) \
    METHOD(0x000A0029, Connection, OpenOk, connection_open_ok, CPIKA_PLAIN, \
        FIELD(connection_open_ok, known_hosts, shortstr, known_hosts, CPIKA_STR(""))) \
    METHOD(0x000A0032, Connection, Close, connection_close, CPIKA_SYNC, \
        FIELD(connection_close, reply_code, short, reply_code, CPIKA_NONE) \
        FIELD(connection_close, reply_text, shortstr, reply_text, CPIKA_STR("")) \
        FIELD(connection_close, class_id, short, class_id, CPIKA_NONE) \
        FIELD(connection_close, method_id, short, method_id, CPIKA_NONE)) \
    METHOD(0x000A0033, Connection, CloseOk, connection_close_ok, CPIKA_PLAIN, ) \
    METHOD(0x000A003C, Connection, Blocked, connection_blocked, CPIKA_PLAIN, \
        FIELD(connection_blocked, reason, shortstr, reason, CPIKA_STR(""))) \
    METHOD(0x000A003D, Connection, Unblocked, connection_unblocked, CPIKA_PLAIN, ) \
    METHOD(0x000A0046, Connection, UpdateSecret, connection_update_secret, CPIKA_SYNC, \
        FIELD(connection_update_secret, new_secret, longstr, new_secret, CPIKA_REQUIRED) \
        FIELD(connection_update_secret, reason, shortstr, reason, CPIKA_REQUIRED)) \
    METHOD(0x000A0047, Connection, UpdateSecretOk, connection_update_secret_ok, CPIKA_PLAIN, ) \
    METHOD(0x0014000A, Channel, Open, channel_open, CPIKA_SYNC, \
        FIELD(channel_open, out_of_band, shortstr, out_of_band, CPIKA_STR(""))) \
    METHOD(0x0014000B, Channel, OpenOk, channel_open_ok, CPIKA_PLAIN, \
        FIELD(channel_open_ok, channel_id, longstr, channel_id, CPIKA_STR(""))) \
    METHOD(0x00140014, Channel, Flow, channel_flow, CPIKA_SYNC, \
        FIELD(channel_flow, active, bit, active, CPIKA_NONE)) \
    METHOD(0x00140015, Channel, FlowOk, channel_flow_ok, CPIKA_PLAIN, \
        FIELD(channel_flow_ok, active, bit, active, CPIKA_NONE)) \
    METHOD(0x00140028, Channel, Close, channel_close, CPIKA_SYNC, \
        FIELD(channel_close, reply_code, short, reply_code, CPIKA_NONE) \
        FIELD(channel_close, reply_text, shortstr, reply_text, CPIKA_STR("")) \
        FIELD(channel_close, class_id, short, class_id, CPIKA_NONE) \
        FIELD(channel_close, method_id, short, method_id, CPIKA_NONE)) \
    METHOD(0x00140029, Channel, CloseOk, channel_close_ok, CPIKA_PLAIN, ) \
    METHOD(0x001E000A, Access, Request, access_request, CPIKA_SYNC, \
        FIELD(access_request, realm, shortstr, realm, CPIKA_STR("/data")) \
        FIELD(access_request, exclusive, bit, exclusive, CPIKA_FALSE) \
        FIELD(access_request, passive, bit, passive, CPIKA_TRUE) \
        FIELD(access_request, active, bit, active, CPIKA_TRUE) \
        FIELD(access_request, write, bit, write, CPIKA_TRUE) \
        FIELD(access_request, read, bit, read, CPIKA_TRUE)) \
    METHOD(0x001E000B, Access, RequestOk, access_request_ok, CPIKA_PLAIN, \
        FIELD(access_request_ok, ticket, short, ticket, CPIKA_INT(1))) \
    METHOD(0x0028000A, Exchange, Declare, exchange_declare, CPIKA_SYNC, \
        FIELD(exchange_declare, ticket, short, ticket, CPIKA_INT(0)) \
        FIELD(exchange_declare, exchange, shortstr, exchange, CPIKA_NONE) \
        FIELD(exchange_declare, type, shortstr, type, CPIKA_DIRECT) \
        FIELD(exchange_declare, passive, bit, passive, CPIKA_FALSE) \
        FIELD(exchange_declare, durable, bit, durable, CPIKA_FALSE) \
        FIELD(exchange_declare, auto_delete, bit, auto_delete, CPIKA_FALSE) \
        FIELD(exchange_declare, internal, bit, internal, CPIKA_FALSE) \
        FIELD(exchange_declare, nowait, bit, nowait, CPIKA_FALSE) \
        FIELD(exchange_declare, arguments, table, arguments, CPIKA_NONE)) \
    METHOD(0x0028000B, Exchange, DeclareOk, exchange_declare_ok, CPIKA_PLAIN, ) \
    METHOD(0x00280014, Exchange, Delete, exchange_delete, CPIKA_SYNC, \
        FIELD(exchange_delete, ticket, short, ticket, CPIKA_INT(0)) \
        FIELD(exchange_delete, exchange, shortstr, exchange, CPIKA_NONE) \
        FIELD(exchange_delete, if_unused, bit, if_unused, CPIKA_FALSE) \
        FIELD(exchange_delete, nowait, bit, nowait, CPIKA_FALSE)) \
    METHOD(0x00280015, Exchange, DeleteOk, exchange_delete_ok, CPIKA_PLAIN, ) \
    METHOD(0x0028001E, Exchange, Bind, exchange_bind, CPIKA_SYNC, \
        FIELD(exchange_bind, ticket, short, ticket, CPIKA_INT(0)) \
        FIELD(exchange_bind, destination, shortstr, destination, CPIKA_NONE) \
        FIELD(exchange_bind, source, shortstr, source, CPIKA_NONE) \
        FIELD(exchange_bind, routing_key, shortstr, routing_key, CPIKA_STR("")) \
        FIELD(exchange_bind, nowait, bit, nowait, CPIKA_FALSE) \
        FIELD(exchange_bind, arguments, table, arguments, CPIKA_NONE)) \
    METHOD(0x0028001F, Exchange, BindOk, exchange_bind_ok, CPIKA_PLAIN, ) \
    METHOD(0x00280028, Exchange, Unbind, exchange_unbind, CPIKA_SYNC, \
        FIELD(exchange_unbind, ticket, short, ticket, CPIKA_INT(0)) \
        FIELD(exchange_unbind, destination, shortstr, destination, CPIKA_NONE) \
        FIELD(exchange_unbind, source, shortstr, source, CPIKA_NONE) \
        FIELD(exchange_unbind, routing_key, shortstr, routing_key, CPIKA_STR("")) \
        FIELD(exchange_unbind, nowait, bit, nowait, CPIKA_FALSE) \
        FIELD(exchange_unbind, arguments, table, arguments, CPIKA_NONE)) \
    METHOD(0x00280033, Exchange, UnbindOk, exchange_unbind_ok, CPIKA_PLAIN, ) \
    METHOD(0x0032000A, Queue, Declare, queue_declare, CPIKA_SYNC, \
        FIELD(queue_declare, ticket, short, ticket, CPIKA_INT(0)) \
        FIELD(queue_declare, queue, shortstr, queue, CPIKA_STR("")) \
        FIELD(queue_declare, passive, bit, passive, CPIKA_FALSE) \
        FIELD(queue_declare, durable, bit, durable, CPIKA_FALSE) \
        FIELD(queue_declare, exclusive, bit, exclusive, CPIKA_FALSE) \
        FIELD(queue_declare, auto_delete, bit, auto_delete, CPIKA_FALSE) \
        FIELD(queue_declare, nowait, bit, nowait, CPIKA_FALSE) \
        FIELD(queue_declare, arguments, table, arguments, CPIKA_NONE)) \
    METHOD(0x0032000B, Queue, DeclareOk, queue_declare_ok, CPIKA_PLAIN, \
        FIELD(queue_declare_ok, queue, shortstr, queue, CPIKA_NONE) \
        FIELD(queue_declare_ok, message_count, long, message_count, CPIKA_NONE) \
        FIELD(queue_declare_ok, consumer_count, long, consumer_count, CPIKA_NONE)) \
    METHOD(0x00320014, Queue, Bind, queue_bind, CPIKA_SYNC, \
        FIELD(queue_bind, ticket, short, ticket, CPIKA_INT(0)) \
        FIELD(queue_bind, queue, shortstr, queue, CPIKA_STR("")) \
        FIELD(queue_bind, exchange, shortstr, exchange, CPIKA_NONE) \
        FIELD(queue_bind, routing_key, shortstr, routing_key, CPIKA_STR("")) \
        FIELD(queue_bind, nowait, bit, nowait, CPIKA_FALSE) \
        FIELD(queue_bind, arguments, table, arguments, CPIKA_NONE)) \
    METHOD(0x00320015, Queue, BindOk, queue_bind_ok, CPIKA_PLAIN, ) \
    METHOD(0x0032001E, Queue, Purge, queue_purge, CPIKA_SYNC, \
        FIELD(queue_purge, ticket, short, ticket, CPIKA_INT(0)) \
        FIELD(queue_purge, queue, shortstr, queue, CPIKA_STR("")) \
        FIELD(queue_purge, nowait, bit, nowait, CPIKA_FALSE)) \
    METHOD(0x0032001F, Queue, PurgeOk, queue_purge_ok, CPIKA_PLAIN, \
        FIELD(queue_purge_ok, message_count, long, message_count, CPIKA_NONE)) \
    METHOD(0x00320028, Queue, Delete, queue_delete, CPIKA_SYNC, \
        FIELD(queue_delete, ticket, short, ticket, CPIKA_INT(0)) \
        FIELD(queue_delete, queue, shortstr, queue, CPIKA_STR("")) \
        FIELD(queue_delete, if_unused, bit, if_unused, CPIKA_FALSE) \
        FIELD(queue_delete, if_empty, bit, if_empty, CPIKA_FALSE) \
        FIELD(queue_delete, nowait, bit, nowait, CPIKA_FALSE)) \
    METHOD(0x00320029, Queue, DeleteOk, queue_delete_ok, CPIKA_PLAIN, \
        FIELD(queue_delete_ok, message_count, long, message_count, CPIKA_NONE)) \
    METHOD(0x00320032, Queue, Unbind, queue_unbind, CPIKA_SYNC, \
        FIELD(queue_unbind, ticket, short, ticket, CPIKA_INT(0)) \
        FIELD(queue_unbind, queue, shortstr, queue, CPIKA_STR("")) \
        FIELD(queue_unbind, exchange, shortstr, exchange, CPIKA_NONE) \
        FIELD(queue_unbind, routing_key, shortstr, routing_key, CPIKA_STR("")) \
        FIELD(queue_unbind, arguments, table, arguments, CPIKA_NONE)) \
    METHOD(0x00320033, Queue, UnbindOk, queue_unbind_ok, CPIKA_PLAIN, ) \
    METHOD(0x003C000A, Basic, Qos, basic_qos, CPIKA_SYNC, \
        FIELD(basic_qos, prefetch_size, long, prefetch_size, CPIKA_INT(0)) \
        FIELD(basic_qos, prefetch_count, short, prefetch_count, CPIKA_INT(0)) \
        FIELD(basic_qos, global, bit, global_qos, CPIKA_FALSE)) \
    METHOD(0x003C000B, Basic, QosOk, basic_qos_ok, CPIKA_PLAIN, ) \
    METHOD(0x003C0014, Basic, Consume, basic_consume, CPIKA_SYNC, \
        FIELD(basic_consume, ticket, short, ticket, CPIKA_INT(0)) \
        FIELD(basic_consume, queue, shortstr, queue, CPIKA_STR("")) \
        FIELD(basic_consume, consumer_tag, shortstr, consumer_tag, CPIKA_STR("")) \
        FIELD(basic_consume, no_local, bit, no_local, CPIKA_FALSE) \
        FIELD(basic_consume, no_ack, bit, no_ack, CPIKA_FALSE) \
        FIELD(basic_consume, exclusive, bit, exclusive, CPIKA_FALSE) \
        FIELD(basic_consume, nowait, bit, nowait, CPIKA_FALSE) \
        FIELD(basic_consume, arguments, table, arguments, CPIKA_NONE)) \
    METHOD(0x003C0015, Basic, ConsumeOk, basic_consume_ok, CPIKA_PLAIN, \
        FIELD(basic_consume_ok, consumer_tag, shortstr, consumer_tag, CPIKA_NONE)) \
    METHOD(0x003C001E, Basic, Cancel, basic_cancel, CPIKA_SYNC, \
        FIELD(basic_cancel, consumer_tag, shortstr, consumer_tag, CPIKA_NONE) \
        FIELD(basic_cancel, nowait, bit, nowait, CPIKA_FALSE)) \
    METHOD(0x003C001F, Basic, CancelOk, basic_cancel_ok, CPIKA_PLAIN, \
        FIELD(basic_cancel_ok, consumer_tag, shortstr, consumer_tag, CPIKA_NONE)) \
    METHOD(0x003C0028, Basic, Publish, basic_publish, CPIKA_CONTENT, \
        FIELD(basic_publish, ticket, short, ticket, CPIKA_INT(0)) \
        FIELD(basic_publish, exchange, shortstr, exchange, CPIKA_STR("")) \
        FIELD(basic_publish, routing_key, shortstr, routing_key, CPIKA_STR("")) \
        FIELD(basic_publish, mandatory, bit, mandatory, CPIKA_FALSE) \
        FIELD(basic_publish, immediate, bit, immediate, CPIKA_FALSE)) \
    METHOD(0x003C0032, Basic, Return, basic_return, CPIKA_CONTENT, \
        FIELD(basic_return, reply_code, short, reply_code, CPIKA_NONE) \
        FIELD(basic_return, reply_text, shortstr, reply_text, CPIKA_STR("")) \
        FIELD(basic_return, exchange, shortstr, exchange, CPIKA_NONE) \
        FIELD(basic_return, routing_key, shortstr, routing_key, CPIKA_NONE)) \
    METHOD(0x003C003C, Basic, Deliver, basic_deliver, CPIKA_CONTENT, \
        FIELD(basic_deliver, consumer_tag, shortstr, consumer_tag, CPIKA_NONE) \
        FIELD(basic_deliver, delivery_tag, longlong, delivery_tag, CPIKA_NONE) \
        FIELD(basic_deliver, redelivered, bit, redelivered, CPIKA_FALSE) \
        FIELD(basic_deliver, exchange, shortstr, exchange, CPIKA_NONE) \
        FIELD(basic_deliver, routing_key, shortstr, routing_key, CPIKA_NONE)) \
    METHOD(0x003C0046, Basic, Get, basic_get, CPIKA_SYNC, \
        FIELD(basic_get, ticket, short, ticket, CPIKA_INT(0)) \
        FIELD(basic_get, queue, shortstr, queue, CPIKA_STR("")) \
        FIELD(basic_get, no_ack, bit, no_ack, CPIKA_FALSE)) \
    METHOD(0x003C0047, Basic, GetOk, basic_get_ok, CPIKA_CONTENT, \
        FIELD(basic_get_ok, delivery_tag, longlong, delivery_tag, CPIKA_NONE) \
        FIELD(basic_get_ok, redelivered, bit, redelivered, CPIKA_FALSE) \
        FIELD(basic_get_ok, exchange, shortstr, exchange, CPIKA_NONE) \
        FIELD(basic_get_ok, routing_key, shortstr, routing_key, CPIKA_NONE) \
        FIELD(basic_get_ok, message_count, long, message_count, CPIKA_NONE)) \
    METHOD(0x003C0048, Basic, GetEmpty, basic_get_empty, CPIKA_PLAIN, \
        FIELD(basic_get_empty, cluster_id, shortstr, cluster_id, CPIKA_STR(""))) \
    METHOD(0x003C0050, Basic, Ack, basic_ack, CPIKA_PLAIN, \
        FIELD(basic_ack, delivery_tag, longlong, delivery_tag, CPIKA_INT(0)) \
        FIELD(basic_ack, multiple, bit, multiple, CPIKA_FALSE)) \
    METHOD(0x003C005A, Basic, Reject, basic_reject, CPIKA_PLAIN, \
        FIELD(basic_reject, delivery_tag, longlong, delivery_tag, CPIKA_NONE) \
        FIELD(basic_reject, requeue, bit, requeue, CPIKA_TRUE)) \
    METHOD(0x003C0064, Basic, RecoverAsync, basic_recover_async, CPIKA_PLAIN, \
        FIELD(basic_recover_async, requeue, bit, requeue, CPIKA_FALSE)) \
    METHOD(0x003C006E, Basic, Recover, basic_recover, CPIKA_SYNC, \
        FIELD(basic_recover, requeue, bit, requeue, CPIKA_FALSE)) \
    METHOD(0x003C006F, Basic, RecoverOk, basic_recover_ok, CPIKA_PLAIN, ) \
    METHOD(0x003C0078, Basic, Nack, basic_nack, CPIKA_PLAIN, \
        FIELD(basic_nack, delivery_tag, longlong, delivery_tag, CPIKA_INT(0)) \
        FIELD(basic_nack, multiple, bit, multiple, CPIKA_FALSE) \
        FIELD(basic_nack, requeue, bit, requeue, CPIKA_TRUE)) \
    METHOD(0x005A000A, Tx, Select, tx_select, CPIKA_SYNC, ) \
    METHOD(0x005A000B, Tx, SelectOk, tx_select_ok, CPIKA_PLAIN, ) \
    METHOD(0x005A0014, Tx, Commit, tx_commit, CPIKA_SYNC, ) \
    METHOD(0x005A0015, Tx, CommitOk, tx_commit_ok, CPIKA_PLAIN, ) \
    METHOD(0x005A001E, Tx, Rollback, tx_rollback, CPIKA_SYNC, ) \
    METHOD(0x005A001F, Tx, RollbackOk, tx_rollback_ok, CPIKA_PLAIN, ) \
    METHOD(0x0055000A, Confirm, Select, confirm_select, CPIKA_SYNC, \
        FIELD(confirm_select, nowait, bit, nowait, CPIKA_FALSE)) \
    METHOD(0x0055000B, Confirm, SelectOk, confirm_select_ok, CPIKA_PLAIN, )

#define CPIKA_SPEC_PROPERTIES(PROPERTY) \
    PROPERTY(15, shortstr, content_type) \
    PROPERTY(14, shortstr, content_encoding) \
    PROPERTY(13, table, headers) \
    PROPERTY(12, octet, delivery_mode) \
    PROPERTY(11, octet, priority) \
    PROPERTY(10, shortstr, correlation_id) \
    PROPERTY(9, shortstr, reply_to) \
    PROPERTY(8, shortstr, expiration) \
    PROPERTY(7, shortstr, message_id) \
    PROPERTY(6, longlong, timestamp) \
    PROPERTY(5, shortstr, type) \
    PROPERTY(4, shortstr, user_id) \
    PROPERTY(3, shortstr, app_id) \
    PROPERTY(2, shortstr, cluster_id)
// clang-format on

#endif
