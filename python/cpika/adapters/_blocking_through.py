"""A `BlockingChannel`'s calls on their way through `pika.channel.Channel`, as in pika: where it is wrapped.

Each function here calls one method of `channel._impl`, with the arguments by keyword where pika has them so,
and awaits the answer when that, and all that is wrapped around it, has returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cpika import exceptions, frame, spec, validators
from cpika._core import BufferedPublishing
from cpika._core import Channel as _CoreChannel
from cpika._wrappers import outside
from cpika.adapters._blocking_results import _CallbackResult

if TYPE_CHECKING:
    from cpika._core import _ConsumerDeliveryEvt, _ConsumerInfo

    Message = tuple[spec.Basic.Deliver, spec.BasicProperties, bytes]

_UNLIMITED = 1 << 40  # bytes
_LONGEST_S = 1.0  # that a message waits for a wrapper to return


def _is_real(channel: Any) -> bool:
    """Return whether it is a channel of the core, not a test's stand-in."""
    return isinstance(channel, _CoreChannel)


def is_asked_for(channel: Any, *names: str) -> bool:
    """Return whether a call is to go through one of these methods of `channel._impl`.

    A test's stand-in has no other way.
    """
    return not _is_real(channel) or not channel._impl._wrapped.isdisjoint(names)


def method_frame(channel: Any, name: str, *args: Any, **kwargs: Any) -> frame.Method[Any]:
    """Call a method and return the frame of its answer."""
    with _CallbackResult(channel._MethodFrameCallbackResultArgs) as result:
        with outside():
            getattr(channel._impl, name)(*args, callback=result.set_value_once, **kwargs)
        answer: frame.Method[Any] = result.value.method_frame
        return answer


def transaction(channel: Any, name: str) -> frame.Method[Any]:
    """The same, without arguments: pika gives its callback by position then."""
    with _CallbackResult(channel._MethodFrameCallbackResultArgs) as result:
        with outside():
            getattr(channel._impl, name)(result.set_value_once)
        answer: frame.Method[Any] = result.value.method_frame
        return answer


def signal(channel: Any, name: str, **kwargs: Any) -> None:
    """Call a method and await its answer."""
    with _CallbackResult() as result, outside():
        getattr(channel._impl, name)(callback=result.signal_once, **kwargs)


def flow(channel: Any, active: bool) -> bool:
    """`BlockingChannel.flow`."""
    with _CallbackResult(channel._FlowOkCallbackResultArgs) as result:
        with outside():
            channel._impl.flow(active=active, callback=result.set_value_once)
        return bool(result.value.active)


def publish(
    channel: Any, exchange: Any, routing_key: Any, body: Any, properties: Any, mandatory: Any
) -> None:
    """`BlockingChannel.basic_publish`: sent, and confirmed, when the wrappers have returned."""

    def call() -> None:
        channel._impl.basic_publish(
            exchange=exchange,
            routing_key=routing_key,
            body=body,
            properties=properties,
            mandatory=mandatory,
        )

    if not _is_real(channel) or channel._is_buffered() or not channel.is_open:
        with outside():
            call()
        if _is_real(channel):
            channel._check_open()  # as pika's flush: where a wrapper has swallowed it
        return
    try:
        with BufferedPublishing(channel, _UNLIMITED, _LONGEST_S), outside():
            call()
    except exceptions.NackError:
        channel._on_nack(spec.Basic.Nack(channel._published), exchange, routing_key, mandatory)
        raise


def get(channel: Any, queue: str, auto_ack: bool) -> tuple[Any, Any, Any]:
    """`BlockingChannel.basic_get`."""
    validators.require_string(queue, "queue")
    with _CallbackResult(channel._RxMessageArgs) as result:
        with outside():
            channel._impl.basic_get(queue=queue, auto_ack=auto_ack, callback=result.set_value_once)
        if result:
            return (result.value.method, result.value.properties, result.value.body)
        return (None, None, None)


# ---- consumers ----


class ThroughConsumer:
    """An event sink: what is delivered to a consumer goes through `Channel._on_deliver`, and what that calls.

    :param sink: what the events would go to, None for the consumer's callback
    """

    def __init__(self, channel: Any, sink: Callable[[Any], Any] | None) -> None:
        self.channel = channel
        self.sink = sink

    def __call__(self, evt: Any) -> None:
        if not isinstance(evt.method, spec.Basic.Deliver):  # the broker has cancelled the consumer
            if self.sink is not None:
                self.sink(evt)
            else:
                self.channel._dispatch_one(evt)
            return
        channel = self.channel
        self._receive(evt.method, evt.properties, evt.body)
        # pika's channel is told of everything that was received before the first callback is called.
        channel._waiting_events()
        for message in channel._take_pending(evt.method.consumer_tag):
            self._receive(*message)
        channel._dispatch_events()

    def _receive(self, method: spec.Basic.Deliver, properties: spec.BasicProperties, body: bytes) -> None:
        number = self.channel.channel_number
        self.channel._impl._on_deliver(
            frame.Method(number, method), frame.Header(number, len(body), properties), body
        )


def sink_of(info: _ConsumerInfo) -> Callable[[Any], Any] | None:
    """Return the event sink that a consumer was begun with."""
    sink = info.alternate_event_sink
    return sink.sink if isinstance(sink, ThroughConsumer) else sink


def consume(
    channel: Any,
    info: _ConsumerInfo,
    queue: str,
    exclusive: bool,
    arguments: Mapping[str, Any] | None,
) -> None:
    """`BlockingChannel.basic_consume` of a consumer that is made already."""
    tag = info.consumer_tag
    channel._expected_consumers[tag] = info
    try:
        with outside():
            got = channel._impl.basic_consume(
                on_message_callback=channel._on_consumer_message_delivery,
                queue=queue,
                auto_ack=info.auto_ack,
                exclusive=exclusive,
                consumer_tag=tag,
                arguments=arguments,
            )
            assert got == tag, (got, tag)
    finally:
        channel._expected_consumers.pop(tag, None)


def cancel(channel: Any, info: _ConsumerInfo) -> list[Message]:
    """`BlockingChannel.basic_cancel` of a consumer that is known."""
    tag = info.consumer_tag
    if not info.auto_ack and is_asked_for(channel, "basic_reject"):
        for method, _, _ in channel._take_pending(tag):
            channel._impl.basic_reject(method.delivery_tag, requeue=True)
    signal(channel, "basic_cancel", consumer_tag=tag)
    messages: list[Message] = channel._cancelled_messages.pop(tag, [])
    return messages


def reject_all(channel: Any, events: Any) -> None:
    """Give back the messages that `consume()` has in store."""
    while events:
        evt: _ConsumerDeliveryEvt = events.popleft()
        if isinstance(evt.method, spec.Basic.Deliver):
            channel._impl.basic_reject(evt.method.delivery_tag, requeue=True)
