"""Connections and channels on event loops: which callbacks are called, in which order, with what."""

from __future__ import annotations

import importlib
import socket
from typing import Any

from parity.loops import Loop, frame_text, on_loops


def body_of(loop: Loop, label: str, *steps: Any) -> Any:
    """A message callback that records the message."""

    def callback(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        loop.env.show(label, [frame_text(channel), repr(method), repr(properties), body])
        for step in steps:
            step()

    return callback


@on_loops("loop.connection")
def opening_and_closing(env: Any, loop: Loop) -> None:
    def opened(connection: Any) -> None:
        env.show("loop", connection.ioloop is loop.native)
        env.show("capabilities", [connection.basic_nack, connection.publisher_confirms])
        env.show("close", connection.close())
        env.show("closing", connection.is_closing)
        try:
            connection.close()
        except env.pika.exceptions.ConnectionWrongStateError as error:
            env.show("close again", str(error).partition(" request on ")[0])

    connection = loop.connect(opened)
    env.show_state("afterwards", connection)


@on_loops("loop.connection")
def callbacks_of_a_connection_are_called_in_order(env: Any, loop: Loop) -> None:
    connection = loop.adapter(
        env.parameters(),
        on_open_callback=lambda _connection: env.show("first", 1),
        on_close_callback=lambda _connection, _error: env.show("end", 1),
        custom_ioloop=loop.native,
    )
    loop.connection = connection
    connection.add_on_open_callback(lambda _connection: env.show("second", 2))
    connection.add_on_open_callback(loop.close)
    connection.add_on_close_callback(lambda _connection, error: env.show_error("end 2", error))
    connection.add_on_close_callback(loop.stop)
    env.call("not callable", connection.add_on_open_callback, 5)
    env.call("not callable", connection.add_on_close_callback, None)
    loop.run()


@on_loops("loop.connection")
def closing_while_opening(env: Any, loop: Loop) -> None:
    loop.connection = loop.adapter(
        env.parameters(), None, loop._ended("on_open_error"), loop._ended("on_close"), loop.native
    )
    env.show_state("made", loop.connection)
    env.show("close", loop.connection.close())
    loop.run()


@on_loops("loop.connection")
def a_refused_connection(env: Any, loop: Loop) -> None:
    loop.connect(host="127.0.0.1", port=env.refusing_port())


@on_loops("loop.connection")
def a_wrong_password(env: Any, loop: Loop) -> None:
    loop.connect(credentials=env.pika.PlainCredentials("guest", "wrong"))


@on_loops("loop.connection")
def a_virtual_host_that_is_not_there(env: Any, loop: Loop) -> None:
    loop.connect(virtual_host="nowhere")


@on_loops("loop.connection")
def a_server_that_hangs_up(env: Any, loop: Loop) -> None:
    def talk(client: socket.socket) -> None:
        client.recv(8)

    loop.connect(port=env.serve(talk))


@on_loops("loop.connection")
def create_connection_gives_an_open_one(env: Any, loop: Loop) -> None:
    def done(result: Any) -> None:
        env.show("kind", type(result).__name__)
        env.show_state("result", result)
        result.add_on_close_callback(loop._ended("on_close"))
        loop.connection = result
        result.close()

    configs = [env.parameters(host="127.0.0.1", port=env.refusing_port()), env.parameters()]
    workflow = loop.adapter.create_connection(configs, done, loop.native)
    env.show("workflow", hasattr(workflow, "abort"))
    loop.run()


@on_loops("loop.connection")
def create_connection_gives_a_failure(env: Any, loop: Loop) -> None:
    def done(result: Any) -> None:
        env.show_error("result", result)
        env.show("exceptions", [type(error).__name__ for error in result.exceptions])
        loop.stop()

    config = env.parameters(
        host="127.0.0.1", port=env.refusing_port(), connection_attempts=2, retry_delay=0.01
    )
    loop.adapter.create_connection([config], done, loop.native)
    loop.run()


@on_loops("loop.connection")
def create_connection_is_aborted(env: Any, loop: Loop) -> None:
    def done(result: Any) -> None:
        env.show_error("result", result)
        loop.stop()

    workflow = loop.adapter.create_connection([env.parameters()], done, loop.native)
    workflow.abort()
    loop.run()
    env.call("again", workflow.abort)


@on_loops("loop.connection")
def channels_have_numbers(env: Any, loop: Loop) -> None:
    def opened(connection: Any) -> None:
        first = connection.channel()
        second = connection.channel(channel_number=7)
        third = connection.channel(on_open_callback=lambda channel: loop.close())
        env.show("numbers", [int(first), int(second), int(third)])
        env.show("opening", [first.is_opening, first.is_open, first.is_closed])
        env.call("publish while opening", first.basic_publish, "", "q", b"x")
        env.call("not callable", connection.channel, None, 5)

    loop.connect(opened)
    env.call("channel afterwards", lambda: type(loop.connection.channel()))


@on_loops("loop.rpc")
def requests_call_back_with_frames(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        queue, exchange = env.name(), env.name("x")
        then = loop.then
        channel.queue_declare(queue, exclusive=True, callback=then("declared"))
        channel.exchange_declare(exchange, "topic", callback=then("exchange"))
        channel.queue_bind(queue, exchange, "a.#", callback=then("bound"))
        channel.basic_qos(prefetch_count=3, callback=then("qos"))
        channel.queue_purge(queue, callback=then("purged"))
        channel.queue_unbind(queue, exchange, "a.#", callback=then("unbound"))
        channel.exchange_bind(exchange, "amq.topic", "k", callback=then("exchange bound"))
        channel.exchange_unbind(exchange, "amq.topic", "k", callback=then("exchange unbound"))
        channel.queue_delete(queue, callback=then("deleted"))
        channel.exchange_delete(exchange, callback=then("exchange deleted", loop.close))

    loop.channel(opened)


@on_loops("loop.rpc")
def transactions_and_flow_call_back(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        channel.tx_select(loop.then("select"))
        channel.tx_commit(loop.then("commit"))
        channel.tx_rollback(loop.then("rollback"))
        channel.flow(True, loop.then("flow"))
        channel.basic_recover(True, loop.then("recover", loop.close))

    loop.channel(opened)


@on_loops("loop.rpc")
def requests_wait_for_the_one_before_and_others_do_not(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        queue = env.name()
        channel.queue_declare(queue, exclusive=True)
        channel.basic_qos(prefetch_count=1, callback=loop.then("qos"))
        env.show("under way", [channel._blocking, len(channel._blocked)])
        channel.queue_purge(queue)
        channel.queue_bind(queue, "amq.topic", callback=loop.then("bound"))
        env.show("queued", [channel._blocking, len(channel._blocked)])
        channel.basic_publish("", queue, b"before the bind")
        channel.queue_declare(queue, passive=True, callback=loop.then("counted", loop.close))

    loop.channel(opened)


@on_loops("loop.rpc")
def arguments_are_checked_when_the_method_is_called(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        env.call("queue", channel.queue_declare, 5)
        env.call("callback", channel.queue_declare, "q", callback=5)
        env.call("qos", channel.basic_qos, prefetch_count=-1)
        env.call("consume", channel.basic_consume, "q", None)
        env.call("get", channel.basic_get, "q", None)
        env.call("reject", channel.basic_reject, "1")
        env.call("confirms", channel.confirm_delivery, None)
        env.call("cancel", channel.basic_cancel, 5)
        env.call("exchange", channel.exchange_bind, "x", 5)
        env.call("key", channel.basic_publish, "", "k" * 300, b"")
        env.call("number", channel.basic_publish, "", "k", 5)
        loop.close()

    loop.channel(opened)


@on_loops("loop.channel")
def the_broker_closes_a_channel(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        def ended(closed: Any, error: BaseException) -> None:
            env.show_error("told", error)
            env.show("state", [closed.is_open, closed.is_closed, closed is channel])
            env.call("publish", closed.basic_publish, "", "q", b"x")
            env.call("declare", closed.queue_declare, "q")
            env.call("close", closed.close)
            loop.connection.channel(on_open_callback=loop.then("another", loop.close))

        channel.add_on_close_callback(ended)
        channel.queue_declare(env.name("none"), passive=True, callback=loop.then("never"))
        channel.queue_declare(env.name(), exclusive=True, callback=loop.then("never"))

    loop.channel(opened)


@on_loops("loop.channel")
def closing_a_channel(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        channel.queue_declare(env.name(), exclusive=True, callback=loop.then("declared"))
        channel.close(320, "enough")
        env.show("closing", channel.is_closing)
        env.call("declare", channel.queue_declare, "q")
        env.call("publish", channel.basic_publish, "", "q", b"x")
        env.call("ack", channel.basic_ack, 1)
        env.call("close", channel.close)
        channel.add_on_close_callback(lambda _channel, _error: loop.close())

    loop.channel(opened)


@on_loops("loop.channel")
def closing_the_connection_behind_requests(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        queue = env.name()
        channel.queue_declare(queue, exclusive=True, callback=loop.then("declared"))
        channel.queue_bind(queue, "amq.topic", callback=loop.then("bound"))
        loop.close()

    loop.channel(opened)


@on_loops("loop.error")
def a_message_callback_that_raises_ends_the_connection(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        queue = env.name()

        def message(*_args: Any) -> None:
            env.show("message", 1)
            raise ZeroDivisionError("message")

        channel.queue_declare(queue, exclusive=True)
        channel.basic_consume(queue, message, auto_ack=True)
        channel.basic_publish("", queue, b"x")
        channel.basic_publish("", queue, b"y")

    loop.channel(opened)


@on_loops("loop.error")
def an_answer_callback_that_raises_ends_the_connection(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        def answered(_frame: Any) -> None:
            raise ZeroDivisionError("answer")

        channel.queue_declare(env.name(), exclusive=True, callback=answered)
        channel.queue_declare(env.name("b"), exclusive=True, callback=loop.then("never"))

    loop.channel(opened)


@on_loops("loop.error")
def an_open_callback_that_raises_ends_the_connection(env: Any, loop: Loop) -> None:
    def opened(_channel: Any) -> None:
        raise ZeroDivisionError("open")

    loop.channel(opened)


@on_loops("loop.error")
def a_bad_argument_of_a_queued_request_ends_the_connection(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        channel.queue_declare(env.name(), exclusive=True, callback=loop.then("declared"))
        channel.queue_bind("q", "x" * 300)

    loop.channel(opened)


@on_loops("loop.error", kinds=("select", "poll", "epoll"))
def what_a_timer_raises_leaves_the_loop_which_can_run_again(env: Any, loop: Loop) -> None:
    def opened(_channel: Any) -> None:
        def due() -> None:
            raise ZeroDivisionError("timer")

        loop.later(0, due)

    env.call("run", loop.channel, opened)
    env.show_state("afterwards", loop.connection)
    loop.close()
    loop.run()


@on_loops("loop.error", kinds=("select", "poll", "epoll"))
def an_interrupt_in_a_message_callback_leaves_the_loop(env: Any, loop: Loop) -> None:
    seen: list[bytes] = []

    def opened(channel: Any) -> None:
        queue = env.name()

        def message(_channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
            seen.append(body)
            raise SystemExit("enough")

        channel.queue_declare(queue, exclusive=True)
        channel.basic_consume(queue, message, auto_ack=True)
        channel.basic_publish("", queue, b"1")

    try:
        loop.channel(opened)
    except SystemExit as interrupt:
        env.show("interrupt", str(interrupt))
    env.show_state("afterwards", loop.connection)
    loop.close()
    loop.run()
    env.show("seen", seen)


@on_loops("loop.error")
def a_peer_that_cuts_the_connection(env: Any, loop: Loop) -> None:
    from parity.cutting import Cut

    with Cut(env.broker) as cut:

        def opened(channel: Any) -> None:
            queue = env.name()
            channel.queue_declare(queue, exclusive=True, callback=lambda _frame: cut.now())

        loop.channel(opened, port=cut.port)


@on_loops("loop.turns")
def stopping_in_a_callback_lets_what_was_read_run(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        queue = env.name()
        seen: list[bytes] = []

        def message(_channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
            seen.append(body)
            if body == b"9":
                loop.close()

        def filled(_frame: Any) -> None:
            channel.basic_consume(queue, message, auto_ack=True)

        channel.queue_declare(queue, exclusive=True)
        for n in range(10):
            channel.basic_publish("", queue, b"%d" % n)
        channel.basic_qos(callback=filled)
        channel.add_on_close_callback(lambda _channel, _error: env.show("seen", seen))

    loop.channel(opened)


@on_loops("loop.turns")
def callbacks_from_other_threads_run_in_the_loop(env: Any, loop: Loop) -> None:
    import threading

    def opened(channel: Any) -> None:
        here = threading.get_ident()

        def called() -> None:
            env.show("in the loop's thread", threading.get_ident() == here)
            channel.queue_declare(env.name(), exclusive=True, callback=loop.then("declared", loop.close))

        threading.Thread(target=loop.soon, args=(called,)).start()

    loop.channel(opened)


@on_loops("loop.turns")
def timers_are_due_in_order_and_can_be_removed(env: Any, loop: Loop) -> None:
    def opened(connection: Any) -> None:
        wanted = [
            (0.06, loop.close),
            (0.03, lambda: env.show("timer", 2)),
            (0.0, lambda: env.show("timer", 1)),
            (0.01, lambda: env.show("timer", "removed")),
        ]
        remove = connection._adapter_remove_timeout
        remove(env.timers(connection._adapter_call_later, remove, wanted)[-1])

    loop.connect(opened)


@on_loops("loop.turns")
def two_connections_on_one_loop(env: Any, loop: Loop) -> None:
    seen: list[str] = []

    def done(label: str) -> None:
        seen.append(label)
        if len(seen) == 4:
            env.show("seen", sorted(seen))
            loop.stop()

    for label in "ab":
        loop.connection = loop.adapter(
            env.parameters(),
            lambda connection, label=label: (done(f"{label} open"), connection.close()),
            None,
            lambda _connection, _error, label=label: done(f"{label} closed"),
            loop.native,
        )
    loop.run()


@on_loops("loop.tracers")
def a_replaced_on_deliver_sees_every_message(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        queue = env.name()
        original = channel._on_deliver

        def deliver(method_frame: Any, header_frame: Any, body: bytes) -> None:
            env.show("deliver", [frame_text(method_frame), repr(header_frame.properties), body])
            original(method_frame, header_frame, body)

        channel._on_deliver = deliver
        channel.queue_declare(queue, exclusive=True)
        channel.basic_consume(queue, body_of(loop, "message", loop.close))
        channel.basic_publish("", queue, b"x")

    loop.channel(opened)


@on_loops("loop.tracers")
def consumers_may_be_replaced(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        queue = env.name()
        channel.queue_declare(queue, exclusive=True)
        tag = channel.basic_consume(queue, print)
        env.show("consumers", [list(channel._consumers) == [tag], channel._consumers[tag] is print])
        channel._consumers[tag] = body_of(loop, "message", loop.close)
        channel.basic_publish("", queue, b"x")

    loop.channel(opened)


@on_loops("loop.connection")
def an_adapter_is_what_pika_s_is(env: Any, loop: Loop) -> None:
    adapters = importlib.import_module(f"{loop.pika.__name__}.adapters")
    env.show("base", issubclass(loop.adapter, adapters.BaseConnection))
    env.show("connection", issubclass(loop.adapter, loop.pika.connection.Connection))
    env.call("parameters", loop.adapter, "amqp://", custom_ioloop=loop.native)
