"""Opening, using, closing and losing a BlockingConnection."""

from __future__ import annotations

from typing import Any

from parity.harness import covers


@covers(
    "BlockingConnection.init.Parameters",
    "BlockingConnection.is_open",
    "BlockingConnection.is_closed",
    "BlockingConnection.close",
    broker=True,
)
def a_connection_is_open_until_it_is_closed(pika: Any, env: Any) -> None:
    connection = env.connect()
    env.show_state("opened", connection)
    env.call("close", connection.close)
    env.show_state("closed", connection)


@covers("BlockingConnection.init.None", broker=True)
def without_parameters_the_defaults_are_used(pika: Any, env: Any) -> None:
    defaults = pika.connection.Parameters
    kept = (
        defaults.DEFAULT_HOST,
        defaults.DEFAULT_PORT,
        defaults.DEFAULT_VIRTUAL_HOST,
        defaults.DEFAULT_CREDENTIALS,
    )
    wanted = env.parameters()
    defaults.DEFAULT_HOST, defaults.DEFAULT_PORT = wanted.host, wanted.port
    defaults.DEFAULT_VIRTUAL_HOST, defaults.DEFAULT_CREDENTIALS = wanted.virtual_host, wanted.credentials
    try:
        connection = env.keep(pika.BlockingConnection())
        env.show_state("opened", connection)
        env.show("parameters", connection._impl.params)
    finally:
        (
            defaults.DEFAULT_HOST,
            defaults.DEFAULT_PORT,
            defaults.DEFAULT_VIRTUAL_HOST,
            defaults.DEFAULT_CREDENTIALS,
        ) = kept


@covers("BlockingConnection.init.sequence", "semantics.parameter-sequence", broker=True)
def of_several_parameters_the_first_that_answers_is_used(pika: Any, env: Any) -> None:
    refused = env.parameters(host="127.0.0.1", port=env.refusing_port())
    for label, sequence in (
        ("list", [refused, env.parameters()]),
        ("tuple", (refused, env.parameters(), refused)),
        ("only", [env.parameters()]),
    ):
        connection = env.keep(pika.BlockingConnection(sequence))
        env.show_state(label, connection)
        env.show(f"{label} port is the answering one", connection._impl.params.port == env.broker.port)


@covers("BlockingConnection.init.sequence", "semantics.parameter-sequence")
def when_all_parameters_fail_the_last_failure_is_raised(pika: Any, env: Any) -> None:
    sequence = [
        env.parameters(host="127.0.0.1", port=env.refusing_port(), retry_delay=0.01) for _ in range(3)
    ]
    env.call("connect", pika.BlockingConnection, sequence)


@covers("BlockingConnection.init.sequence", "semantics.attempts-of-the-last-parameters")
def attempts_and_delay_of_the_last_parameters_count(pika: Any, env: Any) -> None:
    accepted: list[int] = []
    port = env.serve(lambda client: accepted.append(1))
    hangs_up = env.parameters(host="127.0.0.1", port=port, connection_attempts=3, retry_delay=0.01)
    refuses = env.parameters(
        host="127.0.0.1", port=env.refusing_port(), connection_attempts=1, retry_delay=60
    )
    env.call("connect", pika.BlockingConnection, [hangs_up, refuses])
    env.show("accepted", accepted)


@covers("BlockingConnection.init.empty-sequence", cases=[("list", []), ("tuple", ())])
def an_empty_sequence_of_parameters_is_refused(pika: Any, env: Any, case: Any) -> None:
    env.call("connect", pika.BlockingConnection, case[1])


@covers("BlockingConnection.context-manager", broker=True)
def a_connection_is_a_context_manager_that_closes(pika: Any, env: Any) -> None:
    connection = env.connect()
    with connection as entered:
        env.show("is the connection", entered is connection)
        env.show_state("inside", connection)
    env.show_state("after", connection)


@covers("BlockingConnection.context-manager", broker=True)
def an_exception_leaves_the_context_of_a_connection_and_closes_it(pika: Any, env: Any) -> None:
    connection = env.connect()

    def body() -> None:
        with connection:
            raise KeyError("mine")

    env.call("with", body)
    env.show_state("after", connection)


@covers("BlockingConnection.context-manager", broker=True)
def the_context_of_a_connection_closed_inside_ends_quietly(pika: Any, env: Any) -> None:
    with env.connect() as connection:
        env.call("close", connection.close)
    env.show_state("after", connection)


@covers("BlockingConnection.close", "semantics.closed-connection", broker=True)
def closing_a_connection_twice_is_a_wrong_state(pika: Any, env: Any) -> None:
    connection = env.connect()
    connection.close()
    with env.log("close"):
        env.call("close", connection.close)
    env.call("close with reason", connection.close, 320, "going")


@covers("BlockingConnection.close", broker=True)
def a_connection_closes_with_a_code_and_text_and_takes_its_channels_along(pika: Any, env: Any) -> None:
    connection = env.connect()
    channels = [connection.channel() for _ in range(3)]
    channels[1].close()
    env.call("close", connection.close, reply_code=320, reply_text="leaving")
    env.show_state("connection", connection)
    for channel in channels:
        env.show_state(f"channel {int(channel)}", channel)


CONNECTION_CALLS = {
    "channel": lambda c: c.channel(),
    "channel(3)": lambda c: c.channel(3),
    "close": lambda c: c.close(),
    "process_data_events(None)": lambda c: c.process_data_events(time_limit=None),
    "add_callback_threadsafe": lambda c: c.add_callback_threadsafe(print),
    "update_secret": lambda c: c.update_secret("secret", "expired"),
}


@covers("semantics.closed-connection", broker=True, cases=CONNECTION_CALLS.items())
def a_closed_connection_refuses_every_call(pika: Any, env: Any, case: Any) -> None:
    connection = env.connect()
    connection.close()
    env.call(case[0], case[1], connection)
    env.show_state("after", connection)


CHANNEL_CALLS = {
    "basic_ack": lambda c: c.basic_ack(1),
    "basic_nack": lambda c: c.basic_nack(1),
    "basic_reject": lambda c: c.basic_reject(1),
    "basic_publish": lambda c: c.basic_publish("", "nowhere", b""),
    "basic_get": lambda c: c.basic_get("nowhere"),
    "basic_consume": lambda c: c.basic_consume("nowhere", print),
    "basic_cancel": lambda c: c.basic_cancel("nobody"),
    "basic_qos": lambda c: c.basic_qos(prefetch_count=1),
    "basic_recover": lambda c: c.basic_recover(True),
    "cancel": lambda c: c.cancel(),
    "close": lambda c: c.close(),
    "confirm_delivery": lambda c: c.confirm_delivery(),
    "consume": lambda c: next(c.consume("nowhere")),
    "exchange_bind": lambda c: c.exchange_bind("nowhere", "nowhere"),
    "exchange_declare": lambda c: c.exchange_declare("nowhere"),
    "exchange_delete": lambda c: c.exchange_delete("nowhere"),
    "exchange_unbind": lambda c: c.exchange_unbind("nowhere", "nowhere"),
    "flow": lambda c: c.flow(True),
    "get_waiting_message_count": lambda c: c.get_waiting_message_count(),
    "queue_bind": lambda c: c.queue_bind("nowhere", "nowhere"),
    "queue_declare": lambda c: c.queue_declare("nowhere"),
    "queue_delete": lambda c: c.queue_delete("nowhere"),
    "queue_purge": lambda c: c.queue_purge("nowhere"),
    "queue_unbind": lambda c: c.queue_unbind("nowhere", "nowhere"),
    "start_consuming": lambda c: c.start_consuming(),
    "stop_consuming": lambda c: c.stop_consuming(),
    "tx_commit": lambda c: c.tx_commit(),
    "tx_rollback": lambda c: c.tx_rollback(),
    "tx_select": lambda c: c.tx_select(),
}


@covers(
    "semantics.closed-connection",
    broker=True,
    cases=[item for item in CHANNEL_CALLS.items() if item[0] != "basic_get"],
)
def a_channel_of_a_closed_connection_refuses_every_call(pika: Any, env: Any, case: Any) -> None:
    connection = env.connect()
    channel = connection.channel()
    connection.close()
    env.call(case[0], case[1], channel)


@covers("semantics.closed-channel", broker=True, cases=CHANNEL_CALLS.items())
def a_closed_channel_refuses_every_call(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    channel.close()
    env.call(case[0], case[1], channel)
    env.show_state("connection", channel.connection)


@covers(
    "semantics.closed-channel", "semantics.channel-closed-by-broker", broker=True, cases=CHANNEL_CALLS.items()
)
def a_channel_closed_by_the_broker_refuses_every_later_call(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    env.call("cause", channel.queue_declare, env.name("missing"), passive=True)
    env.call(case[0], case[1], channel)
    env.show_state("connection", channel.connection)


@covers("semantics.lost-connection", broker=True, cases=CONNECTION_CALLS.items())
def after_the_broker_closed_the_connection_every_call_is_a_wrong_state(
    pika: Any, env: Any, case: Any
) -> None:
    connection = env.connect()
    channel = connection.channel()
    env.call("cause", channel.basic_qos, prefetch_size=1)
    env.show_state("connection", connection)
    env.show_state("channel", channel)
    env.call(case[0], case[1], connection)
    env.call("channel", channel.queue_purge, "nowhere")


@covers(
    "BlockingConnection.basic_nack",
    "BlockingConnection.basic_nack_supported",
    "BlockingConnection.consumer_cancel_notify",
    "BlockingConnection.consumer_cancel_notify_supported",
    "BlockingConnection.exchange_exchange_bindings",
    "BlockingConnection.exchange_exchange_bindings_supported",
    "BlockingConnection.publisher_confirms",
    "BlockingConnection.publisher_confirms_supported",
    broker=True,
)
def the_supported_features_are_properties(pika: Any, env: Any) -> None:
    connection = env.connect()
    for feature in (
        "basic_nack",
        "consumer_cancel_notify",
        "exchange_exchange_bindings",
        "publisher_confirms",
    ):
        env.show(feature, getattr(connection, feature))
        env.show(f"{feature}_supported", getattr(connection, f"{feature}_supported"))
        env.call_wrongly(f"set {feature}", setattr, connection, feature, False)


@covers("BlockingConnection.repr", "BlockingChannel.repr", broker=True)
def a_connection_and_a_channel_say_what_they_are(pika: Any, env: Any) -> None:
    connection = env.connect()
    channel = connection.channel()
    env.show_text("open connection", repr(connection))
    env.show_text("open channel", repr(channel))
    channel.close()
    env.show_text("closed channel", repr(channel))
    connection.close()
    env.show_text("closed connection", repr(connection))


@covers("Parameters.heartbeat.negotiation", broker=True, cases=[None, 0, 1, 30, 60, 600])
def the_clients_heartbeat_wins(pika: Any, env: Any, case: Any) -> None:
    connection = env.connect(heartbeat=case)
    env.show("heartbeat", connection._impl.params.heartbeat)


@covers("Parameters.heartbeat.callable", broker=True, cases=[0, 17])
def a_callable_decides_about_the_heartbeat(pika: Any, env: Any, case: Any) -> None:
    def decide(connection: Any, proposed: Any) -> Any:
        env.show("asked", (connection.params.host == env.broker.host, proposed))
        return case

    def connect() -> Any:
        return env.connect(heartbeat=decide)._impl.params.heartbeat

    env.call("heartbeat", connect)


@covers("Parameters.channel_max.negotiation", "exceptions.NoFreeChannels", broker=True)
def there_are_only_channel_max_channels(pika: Any, env: Any) -> None:
    connection = env.connect(channel_max=2)
    env.show("channel_max", connection._impl.params.channel_max)
    first = connection.channel()
    connection.channel()
    env.call("third", connection.channel)
    env.show_state("connection", connection)
    first.close()
    env.show("number after a close", int(connection.channel()))


@covers("Parameters.frame_max.negotiation", broker=True, cases=[8192, 10000, 131072])
def frame_max_is_negotiated_and_bodies_are_split_by_it(pika: Any, env: Any, case: Any) -> None:
    connection = env.connect(frame_max=case)
    env.show("frame_max", connection._impl.params.frame_max)
    channel = connection.channel()
    queue = env.queue(channel)
    for size in (case - 8, case - 7, case, 3 * case + 1):
        channel.basic_publish("", queue, b"x" * size)
        env.until_ready(channel, queue, 1)
        env.show(f"got {size}", channel.basic_get(queue, auto_ack=True)[2])


@covers("Parameters.channel_max.negotiation", "ConnectionParameters", broker=True)
def the_parameters_that_were_given_stay_as_they_are(pika: Any, env: Any) -> None:
    parameters = env.parameters(channel_max=10, heartbeat=None)
    connection = env.keep(pika.BlockingConnection(parameters))
    connection.channel()
    env.show("is a copy", connection._impl.params is not parameters)
    env.show("heartbeat given", parameters.heartbeat)
    env.show("channel_max given", parameters.channel_max)
    env.show("equal", connection._impl.params == parameters)


@covers("credentials.erase_on_connect", broker=True)
def credentials_are_erased_on_connect_when_asked(pika: Any, env: Any) -> None:
    credentials = pika.PlainCredentials(env.broker.user, env.broker.password, erase_on_connect=True)
    connection = env.connect(credentials=credentials)
    used = connection._impl.params.credentials
    env.show("used", (used.username, used.password))
    env.show(
        "given is kept",
        (credentials.username == env.broker.user, credentials.password == env.broker.password),
    )


@covers("URLParameters", broker=True)
def a_url_connects(pika: Any, env: Any) -> None:
    where = env.broker
    vhost = where.vhost.replace("/", "%2f")
    url = (
        f"amqp://{where.user}:{where.password}@{where.host}:{where.port}/{vhost}?heartbeat=25&frame_max=8192"
    )
    connection = env.keep(pika.BlockingConnection(pika.URLParameters(url)))
    env.show_state("opened", connection)
    env.show("heartbeat", connection._impl.params.heartbeat)
    env.show("frame_max", connection._impl.params.frame_max)


@covers("Parameters.tcp_options", broker=True)
def tcp_options_are_taken(pika: Any, env: Any) -> None:
    options = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30000}
    connection = env.connect(tcp_options=options)
    env.show_state("opened", connection)
    env.show("options", connection._impl.params.tcp_options)


@covers(
    "BlockingConnection.add_on_connection_blocked_callback",
    "BlockingConnection.add_on_connection_unblocked_callback",
    broker=True,
    cases=["blocked", "unblocked"],
)
def callbacks_for_blocking_are_registered_and_checked(pika: Any, env: Any, case: Any) -> None:
    connection = env.connect()
    add = getattr(connection, f"add_on_connection_{case}_callback")
    env.call("callable", add, print)
    env.call("keyword", add, callback=print)
    env.call_wrongly("None", add, None)
    env.call_wrongly("text", add, "callback")
    env.call_wrongly("nothing", add)
    connection.close()
    env.call("closed", add, print)


@covers(
    "BlockingConnection.update_secret", broker=True, cases=[("known", "guest", "again"), ("new", "other", "")]
)
def a_secret_is_updated(pika: Any, env: Any, case: Any) -> None:
    connection = env.connect()
    channel = connection.channel()
    env.call("update_secret", connection.update_secret, case[1], case[2])
    env.show_state("connection", connection)
    env.call("still works", channel.basic_qos, prefetch_count=1)


@covers("BlockingConnection.update_secret", broker=True, cases=[(None, "r"), (5, "r"), ("s", None), ("s", 5)])
def a_secret_and_its_reason_must_be_text(pika: Any, env: Any, case: Any) -> None:
    connection = env.connect()
    env.call("update_secret", connection.update_secret, *case)


@covers("BlockingConnection.update_secret", broker=True)
def update_secret_takes_keywords_and_both_arguments(pika: Any, env: Any) -> None:
    connection = env.connect()
    env.call("keywords", connection.update_secret, new_secret="s", reason="r")
    env.call_wrongly("missing", connection.update_secret, "s")


CLOSES_THE_CONNECTION = {
    "qos with prefetch_size: 540": lambda ch, name: ch.basic_qos(prefetch_size=10),
    "unknown exchange type: 503, on RabbitMQ 4 406 of the channel alone": lambda ch, name: (
        ch.exchange_declare(name, "no-such-type")
    ),
}


@covers("semantics.connection-closed-by-broker", broker=True, cases=CLOSES_THE_CONNECTION.items())
def the_broker_closes_the_connection(pika: Any, env: Any, case: Any) -> None:
    connection = env.connect()
    channel, other = connection.channel(), connection.channel()
    env.call("cause", case[1], channel, env.name("e"))
    env.show_state("connection", connection)
    env.show_state("channel", channel)
    env.show_state("other channel", other)
    env.call("later on the channel", channel.queue_declare, "")
    env.call("later on the other", other.queue_declare, "")
    env.call("later on the connection", connection.channel)
    env.call("close", connection.close)


@covers("semantics.connection-closed-by-broker", "BlockingChannel.start_consuming", broker=True)
def the_broker_closes_the_connection_under_start_consuming(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one",))

    def on_message(ch: Any, method: Any, properties: Any, body: Any) -> None:
        env.show("message", body)
        env.call("inside", ch.basic_qos, prefetch_size=1)

    channel.basic_consume(queue, on_message)
    env.call("start_consuming", channel.start_consuming)
    env.show_state("channel", channel)
    env.show_state("connection", channel.connection)
    env.call("again", channel.start_consuming)
