"""Names that begin with an underscore, and others of pika's inside, that programs and tracers use."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import pkgutil
import re
import sys
from pathlib import Path

import pika
import pytest
from support.sides import run, same_on_both

MODULES = sorted(module.name for module in pkgutil.walk_packages(pika.__path__, "pika."))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_the_logger_that_it_has_in_pika(module: str) -> None:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    names = re.findall(
        r"^(\w+) = logging\.getLogger\(__name__\)", Path(spec.origin).read_text(), re.MULTILINE
    )
    for name in names:
        assert getattr(importlib.import_module(f"c{module}"), name) is logging.getLogger(module)


def test_most_modules_of_pika_have_a_logger() -> None:
    loggers = [name for name in MODULES if hasattr(sys.modules.get(f"c{name}"), "LOGGER")]
    assert len(loggers) > 6


def test_what_waits_to_be_dispatched_is_counted(broker_url: str) -> None:
    """Some programs handle messages in batches: whatever has come already, and no more."""
    same_on_both(
        """
        connection = connect()
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        for i in range(20):
            channel.basic_publish("", queue, b"%d" % i)
        print(len(channel._pending_events), bool(channel._pending_events))
        counts = []
        def on_message(ch, method, properties, body):
            counts.append(len(ch._pending_events))
        channel.basic_consume(queue, on_message, auto_ack=True)
        channel.queue_declare(queue, passive=True)
        waiting = len(channel._pending_events)
        while len(counts) < 20:
            connection.process_data_events(1)
        print(waiting >= 1, counts[-1], counts == sorted(counts, reverse=True) or len(set(counts)) < 20)
        print(all(a - 1 == b for a, b in zip(counts, counts[1:]) if a))
        connection.close()
        """,
        broker_url,
    )


def test_a_subclass_makes_its_own_channels_from_pikas_parts(broker_url: str) -> None:
    same_on_both(
        """
        from pika.adapters.blocking_connection import BlockingConnection, _CallbackResult
        class Ours(BlockingChannel):
            pass
        class Connection(BlockingConnection):
            def channel(self, channel_number=None):
                with _CallbackResult(self._OnChannelOpenedArgs) as opened:
                    impl = self._impl.channel(
                        channel_number=channel_number, on_open_callback=opened.set_value_once)
                    print(impl.is_opening, impl.is_open, bool(opened))
                    channel = Ours(impl, self)
                    impl._set_cookie(channel)
                    channel._flush_output(opened.is_ready)
                    print(opened.value.channel is impl, type(opened.value).__name__)
                return channel
        connection = Connection(pika.URLParameters(sys.argv[1]))
        channel = connection.channel()
        print(type(channel).__name__, channel.is_open, channel._impl._get_cookie() is channel)
        print(channel.queue_declare("", exclusive=True).method.message_count)
        channel._flush_output()
        connection._flush_output()
        done = []
        channel._impl.queue_declare(queue="", exclusive=True, callback=done.append)
        channel._flush_output(lambda: done)
        print(done[0].method.NAME)
        connection.close()
        tell("closed", connection._flush_output)
        tell("closed", channel._flush_output)
        """,
        broker_url,
    )


def test_callback_results(broker_url: str) -> None:
    same_on_both(
        """
        from collections import namedtuple
        from pika.adapters.blocking_connection import _CallbackResult
        Value = namedtuple("Value", "a b")
        result = _CallbackResult(Value)
        print(bool(result), result.ready, result.is_ready())
        tell("value", lambda: result.value)
        tell("elements", lambda: result.elements)
        tell("set", result.set_value_once, 1, b=2)
        print(bool(result), result.value)
        tell("twice", result.set_value_once, 1, 2)
        tell("signal", result.signal_once, "anything", at="all")
        tell("append", result.append_element, 1, 2)
        tell("elements", lambda: result.elements)
        result.reset()
        tell("append", result.append_element, 1, 2)
        tell("append", result.append_element, a=3, b=4)
        tell("elements", lambda: result.elements)
        tell("value", lambda: result.value)
        tell("bad", result.append_element, 1)
        with _CallbackResult() as signal:
            tell("signal", signal.signal_once, 1, 2, 3)
            print(bool(signal))
            tell("value", lambda: signal.value)
        print(bool(signal))
        tell("bad", _CallbackResult(Value).set_value_once)
        """,
        broker_url,
    )


def test_frames_of_the_broker_are_told_to_callbacks(broker_url: str) -> None:
    same_on_both(
        """
        from pika import spec
        connection = connect()
        channel = connection.channel()
        impl = channel._impl
        seen = []
        def on(label):
            return lambda frame: seen.append((label, frame.method.NAME, frame.channel_number))
        impl.add_callback(on("once"), [spec.Basic.Ack])
        impl.add_callback(on("always"), [spec.Basic.Ack, spec.Basic.Nack], one_shot=False)
        impl.add_callback(on("consume"), [spec.Basic.ConsumeOk], one_shot=False)
        impl.add_callback(on("cancel"), replies=[spec.Basic.CancelOk, spec.Basic.Cancel])
        impl.add_callback(on("empty"), [spec.Basic.GetEmpty], False)
        impl.add_callback(on("declare"), [spec.Queue.DeclareOk])
        impl.add_on_cancel_callback(on("cancelled"))
        impl.add_on_close_callback(lambda ch, reason: seen.append(("closed", ch is impl, repr(reason))))
        queue = channel.queue_declare("{name}").method.queue
        channel.queue_declare("{name}", passive=True)
        channel.confirm_delivery()
        for _ in range(3):
            channel.basic_publish("", queue, b"x")
        channel.queue_purge(queue)
        channel.basic_get(queue)
        channel.basic_cancel(channel.basic_consume(queue, print))
        channel.basic_consume(queue, print, consumer_tag="t")
        connection.channel().queue_delete(queue)
        while channel.consumer_tags:
            connection.process_data_events(1)
        channel.close()
        other = connection.channel()
        other._impl.add_on_close_callback(lambda ch, reason: seen.append(("closed", repr(reason))))
        tell("refused", other.queue_declare, "{name}", passive=True)
        third = connection.channel()
        third._impl.add_on_close_callback(lambda ch, reason: seen.append(("closed", type(reason).__name__)))
        connection.close()
        for each in seen:
            print(*each)
        """,
        broker_url,
    )


def test_the_end_of_a_connection_is_told_to_its_callbacks(broker_url: str) -> None:
    same_on_both(
        """
        import socket
        for how in ("close", "shutdown"):
            connection = connect()
            channel = connection.channel()
            impl = connection._impl
            impl.add_on_close_callback(lambda c, error: print("closed", c is impl, type(error).__name__))
            channel._impl.add_on_close_callback(lambda c, error: print("channel", type(error).__name__))
            if how == "close":
                connection.close()
            else:
                sock = impl._transport._sock
                print(sock.getpeername()[1] == impl.params.port, sock.getsockname()[1] > 0)
                sock.shutdown(socket.SHUT_RDWR)
                try:
                    channel.queue_declare("")
                except pika.exceptions.AMQPConnectionError as error:
                    print("raised", type(error).__name__)
            print(impl._transport, channel.is_open)
        """,
        broker_url,
    )


def test_timers_numbers_and_heartbeats_of_the_connection_below(broker_url: str) -> None:
    same_on_both(
        """
        connection = connect(heartbeat=20)
        impl = connection._impl
        fired = []
        impl.ioloop.call_later(0.01, lambda: fired.append("timer"))
        gone = impl.ioloop.call_later(0.01, lambda: fired.append("removed"))
        impl.ioloop.remove_timeout(gone)
        impl.ioloop.add_callback_threadsafe(lambda: fired.append("threadsafe"))
        impl._adapter_call_later(0.02, lambda: fired.append("adapter"))
        impl._adapter_remove_timeout(impl._adapter_call_later(0.01, lambda: fired.append("removed")))
        impl._adapter_add_callback_threadsafe(lambda: fired.append("threadsafe"))
        connection.sleep(0.2)
        print(sorted(fired))
        checker = impl._heartbeat_checker
        print(checker._timeout, checker._send_interval, checker._check_interval)
        print(checker.bytes_received_on_connection == impl.bytes_received > 0)
        checker._check_interval = 1
        checker.stop()
        print(impl.frames_received > 3, impl.frames_sent > 2, impl.bytes_sent > 100)
        print(impl._get_write_buffer_size(), sorted(impl._channels), connection._event_dispatch_suspend_depth)
        connection.close()
        print(connect(heartbeat=0)._impl._heartbeat_checker)
        """,
        broker_url,
    )


def test_consumers_by_pikas_names(broker_url: str) -> None:
    """As SkyWalking, autodynatrace and others read and replace them."""
    same_on_both(
        """
        deliver, receive = Channel._on_deliver, BlockingChannel._on_consumer_message_delivery
        seen, called = [], []
        def on_deliver(self, method_frame, header_frame, body):
            tag = method_frame.method.consumer_tag
            consumer = self._consumers[tag]
            seen.append(("deliver", tag not in self._cancelled, type(consumer.__self__).__name__))
            seen.append((method_frame.channel_number, method_frame.NAME, header_frame.NAME))
            seen.append((header_frame.body_size, header_frame.properties.headers, body))
            method_frame.method._note = tag
            return deliver(self, method_frame, header_frame, body)
        def on_receive(*args):
            channel, impl, method, properties, body = args
            seen.append(("receive", type(channel).__name__, impl is channel._impl))
            seen.append((impl.connection.params.port > 0, method.delivery_tag, properties.headers, body))
            return receive(*args)
        Channel._on_deliver = on_deliver
        BlockingChannel._on_consumer_message_delivery = on_receive
        connection = connect()
        channel = connection.channel()
        impl = channel._impl
        queue = channel.queue_declare("{name}", exclusive=True).method.queue
        print(dict(impl._consumers), impl._cancelled, impl._consumers_with_noack)
        properties = pika.BasicProperties(headers={"a": 1})
        def on_message(ch, method, properties, body):
            called.append((ch is channel, method._note, body))
            if body == b"3":
                ch.stop_consuming()
        channel.basic_consume(queue, on_message, auto_ack=True, consumer_tag="t")
        print(list(impl._consumers), impl._consumers["t"] == channel._on_consumer_message_delivery)
        print(impl._consumers_with_noack)
        for body in (b"1", b"2", b"3"):
            channel.basic_publish("", queue, body, properties)
        channel.start_consuming()
        print(dict(impl._consumers), *seen, *called, sep="\\n")
        channel.basic_publish("", queue, b"4", properties)
        for method, props, body in channel.consume(queue, inactivity_timeout=5):
            print("generator", method._note == method.consumer_tag, body)
            break
        channel.cancel()
        connection.close()
        """,
        broker_url,
    )


def test_a_callback_put_among_the_consumers_gets_the_messages(broker_url: str) -> None:
    same_on_both(
        """
        connection = connect()
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        got = []
        def on_message(*message):
            got.append(("user", message[3]))
        channel.basic_consume(queue, on_message, auto_ack=True, consumer_tag="t")
        consumers = channel._impl._consumers
        original = consumers["t"]
        def traced(impl, method, properties, body):
            got.append(("traced", impl is channel._impl))
            original(impl, method, properties, body)
        consumers["t"] = traced
        channel.basic_publish("", queue, b"x")
        while len(got) < 2:
            connection.process_data_events(1)
        print(got)
        connection.close()
        """,
        broker_url,
    )


def test_what_get_is_answered_can_be_wrapped(broker_url: str) -> None:
    same_on_both(
        """
        getok = Channel._on_getok
        def on_getok(self, method_frame, header_frame, body):
            print("get-ok", method_frame.method.NAME, header_frame.body_size, body)
            header_frame.properties.headers["seen"] = True
            getok(self, method_frame, header_frame, body)
        Channel._on_getok = on_getok
        connection = connect()
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        print(channel.basic_get(queue))
        channel.basic_publish("", queue, b"x", pika.BasicProperties(headers={}))
        print(channel.basic_get(queue, auto_ack=True)[1:])
        connection.close()
        """,
        broker_url,
    )


def test_methods_are_sent_by_the_channel_below(broker_url: str) -> None:
    same_on_both(
        """
        from pika import spec
        connection = connect()
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        impl = channel._impl
        impl._send_method(spec.Basic.Publish(routing_key=queue), (pika.BasicProperties(priority=3), b"x"))
        impl._send_method(spec.Basic.Qos(prefetch_count=7))
        print(channel.basic_get(queue))
        impl._send_method(spec.Basic.Ack(1))
        sent = []
        original = Channel._send_method
        def send_method(self, method, content=None):
            sent.append(method.NAME + (" +" if content else ""))
            return original(self, method, content)
        Channel._send_method = send_method
        channel.basic_publish("", queue, b"y")
        channel.basic_get(queue)
        channel.basic_nack(2, requeue=False)
        channel.basic_cancel(channel.basic_consume(queue, print))
        channel.queue_purge(queue)
        channel.confirm_delivery()
        channel.basic_publish("", queue, b"z")
        channel.tx_select if False else channel.basic_qos(prefetch_count=1)
        channel.close()
        print(sent)
        connection.close()
        """,
        broker_url,
    )


def test_events_have_pikas_constructors(broker_url: str) -> None:
    same_on_both(
        """
        import inspect
        from pika import frame, spec
        from pika.adapters import blocking_connection as bc
        cancel = frame.Method(1, spec.Basic.Cancel("t"))
        evt = bc._ConsumerCancellationEvt(cancel)
        print(evt, evt.method, evt.method_frame is cancel)
        print(bc._ConsumerCancellationEvt(method_frame=cancel))
        timer = bc._TimerEvt(lambda: print("fired"))
        print(timer.timer_id)
        timer.dispatch()
        blocked = bc._ConnectionBlockedEvt(print, cancel)
        blocked.dispatch()
        bc._ConnectionUnblockedEvt(print, cancel).dispatch()
        names = ("_ConsumerDeliveryEvt", "_ConsumerCancellationEvt", "_ReturnedMessageEvt")
        print([issubclass(getattr(bc, name), bc._ChannelPendingEvt) for name in names])
        import sys
        # CPython 3.9 loses the signature of a class that is written in C.
        told = names if sys.version_info >= (3, 10) else names[1:]
        for name in (*told, "_QueueConsumerGeneratorInfo", "_CallbackResult", "_TimerEvt"):
            print(name, list(inspect.signature(getattr(bc, name)).parameters))
        """,
        broker_url,
    )


def test_nothing_of_this_is_on_the_way_of_a_message_unless_it_is_used(broker_url: str) -> None:
    lines = run(
        """
        connection = connect()
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        seen = set()
        def profile(frame, event, argument):
            if event == "call":
                seen.add(frame.f_code.co_name)
        def on_message(ch, method, properties, body):
            ch.basic_ack(method.delivery_tag)
            if body == b"9":
                ch.stop_consuming()
        channel.basic_consume(queue, on_message)
        sys.setprofile(profile)
        for i in range(10):
            channel.basic_publish("", queue, b"%d" % i)
        sys.setprofile(None)
        print(sorted(seen))
        channel.start_consuming()
        connection.close()
        """,
        "cpika",
        broker_url,
    )
    assert lines == ["[]"]
