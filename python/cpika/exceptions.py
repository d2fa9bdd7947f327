"""The exceptions, a tree with the names, constructors and reprs of pika's."""

# Nothing of the package is imported here: the C core imports this module while it starts.

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cpika.adapters.blocking_connection import ReturnedMessage


class AMQPError(Exception):
    """Root of what goes wrong in AMQP.

    With confirms, one that ends `publish_many` or `buffered()` tells how far it got: `confirmed`, how many
    messages from the first on, and `unconfirmed`, the indexes of those that are not.
    """

    confirmed: int
    unconfirmed: list[int]

    def __repr__(self) -> str:
        return f"{type(self).__name__}: An unspecified AMQP error has occurred; {self.args}"


# --- connections --------------------------------------------------------------------------------------------


class AMQPConnectionError(AMQPError):
    """Root of the errors that concern a whole connection; also a TCP connect that failed.

    `host` and `port` are the broker's, as the parameters name it; None where the exception concerns none.
    """

    # The core makes instances without __init__: what that would set has to have its default here.
    host: str | None = None
    port: int | None = None

    def __init__(self, *args: Any, host: str | None = None, port: int | None = None) -> None:
        """
        :param args: what is shown
        :param host: name or address of the broker that it is about
        :param port: the broker's TCP port
        """
        super().__init__(*args)
        if host is not None:
            self._name_peer(host, port)

    def _name_peer(self, host: str | None, port: int | None) -> None:
        """Say which broker it is about, unless it says so."""
        if self.host is None:
            self.host, self.port = host, port

    def __repr__(self) -> str:
        if len(self.args) == 2:
            return f"{type(self).__name__}: ({self.args[0]}) {self.args[1]}"
        return f"{type(self).__name__}: {self.args}"


class ConnectionOpenAborted(AMQPConnectionError):
    """The client gave up a connection that was still being opened."""


class WorkQueueFullError(AMQPConnectionError):
    """Callbacks of a thread-safe connection did not keep up with what came; of pika's next release."""


class StreamLostError(AMQPConnectionError):
    """The TCP or TLS stream broke."""


class IncompatibleProtocolError(AMQPConnectionError):
    """The peer ended the connection before Connection.Start: it may not speak AMQP 0-9-1."""

    def __repr__(self) -> str:
        text = f"The protocol returned by the server is not supported: {self.args}"
        return f"{type(self).__name__}: {text}"


class AuthenticationError(AMQPConnectionError):
    """The broker does not offer the mechanism of the credentials; `args[0]` names it."""

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}: Server and client could not negotiate use of the {self.args[0]} "
            "authentication mechanism"
        )


class ProbableAuthenticationError(AMQPConnectionError):
    """The broker ended the connection after Connection.StartOk: the password may be wrong."""

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}: Client was disconnected at a connection stage indicating a "
            f"probable authentication error: {self.args}"
        )


class ProbableAccessDeniedError(AMQPConnectionError):
    """The broker ended the connection after Connection.Tune: the virtual host may be closed to the user."""

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}: Client was disconnected at a connection stage indicating a "
            f"probable denial of access to the specified virtual host: {self.args}"
        )


class NoFreeChannels(AMQPConnectionError):
    """All channel numbers up to the negotiated maximum are in use."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}: The connection has run out of free channels"


class ConnectionWrongStateError(AMQPConnectionError):
    """The connection is closed, closing or otherwise not in a state for the call."""

    def __repr__(self) -> str:
        if self.args:
            return super().__repr__()
        return f"{type(self).__name__}: The connection is in wrong state for the requested operation."


class _ClosedWithCode:
    """What the closed-exceptions of connections and channels share: the reply code and text of the Close."""

    args: tuple[Any, ...]

    def __init__(self, reply_code: int, reply_text: str) -> None:
        """
        :param reply_code: reply code of the Close method, converted by `int()`
        :param reply_text: reply text of the Close method, converted by `str()`
        """
        super().__init__(int(reply_code), str(reply_text))  # type: ignore[call-arg]

    def __repr__(self) -> str:
        return f"{type(self).__name__}: ({self.reply_code}) {self.reply_text!r}"

    @property
    def reply_code(self) -> int:
        """The reply code of the Close method."""
        code: int = self.args[0]
        return code

    @property
    def reply_text(self) -> str:
        """The reply text of the Close method."""
        text: str = self.args[1]
        return text


class ConnectionClosed(_ClosedWithCode, AMQPConnectionError):
    """The connection was closed by a Connection.Close, from either side."""

    def __init__(
        self, reply_code: int, reply_text: str, *, host: str | None = None, port: int | None = None
    ) -> None:
        """
        :param reply_code: reply code of the Close method, converted by `int()`
        :param reply_text: reply text of the Close method, converted by `str()`
        :param host: name or address of the broker
        :param port: the broker's TCP port
        """
        super().__init__(reply_code, reply_text)
        if host is not None:
            self._name_peer(host, port)


class ConnectionClosedByBroker(ConnectionClosed):
    """The broker sent Connection.Close."""


class ConnectionClosedByClient(ConnectionClosed):
    """The program closed the connection."""


class ConnectionBlockedTimeout(AMQPConnectionError):
    """The broker kept the connection blocked for longer than `blocked_connection_timeout`."""


class AMQPHeartbeatTimeout(AMQPConnectionError):
    """Nothing came from the peer for two heartbeat intervals."""


# --- channels -----------------------------------------------------------------------------------------------


class AMQPChannelError(AMQPError):
    """Root of the errors that concern one channel."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.args!r}"


class ChannelWrongStateError(AMQPChannelError):
    """The channel is closed, closing or otherwise not in a state for the call."""


class ChannelClosed(_ClosedWithCode, AMQPChannelError):
    """The channel was closed by a Channel.Close, from either side."""


class ChannelClosedByBroker(ChannelClosed):
    """The broker sent Channel.Close."""


class ChannelClosedByClient(ChannelClosed):
    """The program closed the channel."""


class DuplicateConsumerTag(AMQPChannelError):
    """The channel has a consumer of this tag already; `args[0]` is the tag."""

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}: The consumer tag specified already exists for this channel: "
            f"{self.args[0]}"
        )


class ConsumerCancelled(AMQPChannelError):
    """The broker cancelled the consumer."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}: Server cancelled consumer"


class _MessagesError(AMQPChannelError):
    """What `UnroutableError` and `NackError` share: the messages that came back."""

    _TEXT: str

    def __init__(self, messages: Sequence[ReturnedMessage]) -> None:
        """
        :param messages: the returned messages, possibly none
        """
        super().__init__(f"{len(messages)} {self._TEXT}")
        self.messages = messages

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {len(self.messages)} unroutable messages returned by broker"

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would hand the text in `args` to the constructor, which wants the messages.
        return type(self), (self.messages,), self.__dict__


class UnroutableError(_MessagesError):
    """In confirm mode, a mandatory message was returned by Basic.Return; `messages` holds it.

    Of `publish_many` and `buffered()`: all that came back, in the order of `indexes`.
    """

    indexes: list[int]

    _TEXT = "unroutable message(s) returned"


class NackError(_MessagesError):
    """In confirm mode, the broker refused a message by Basic.Nack; `messages` holds what it returned too.

    Of `publish_many` and `buffered()`: `indexes` of all that were refused, those that were returned last.
    """

    indexes: list[int]

    _TEXT = "message(s) NACKed"


# --- protocol and use ---------------------------------------------------------------------------------------


class InvalidChannelNumber(AMQPError):
    """`args[0]` cannot number a channel."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}: An invalid channel number has been specified: {self.args[0]}"


class ProtocolSyntaxError(AMQPError):
    """Root of the errors in what was received or is to be encoded."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}: An unspecified protocol syntax error occurred"


class UnexpectedFrameError(ProtocolSyntaxError):
    """A frame came out of order; `args[0]` is the frame."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}: Received a frame out of sequence: {self.args[0]!r}"


class ProtocolVersionMismatch(ProtocolSyntaxError):
    """The peer speaks another version; `args` are ours and theirs."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}: Protocol versions did not match: {self.args[0]!r} vs {self.args[1]!r}"


class BodyTooLongError(ProtocolSyntaxError):
    """More body bytes came than the header announced; `args` are received and expected."""

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}: Received too many bytes for a message delivery: "
            f"Received {self.args[0]}, expected {self.args[1]}"
        )


class InvalidFrameError(ProtocolSyntaxError):
    """A frame is malformed; `args[0]` says how."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}: Invalid frame received: {self.args[0]!r}"


class InvalidFieldTypeException(ProtocolSyntaxError):
    """A table holds a field of unknown kind; `args[0]` is the kind."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}: Unsupported field kind {self.args[0]}"


class UnsupportedAMQPFieldException(ProtocolSyntaxError):
    """A value cannot be encoded in a table; `args` are what was encoded so far and the value."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}: Unsupported field kind {type(self.args[1])}"


class MethodNotImplemented(AMQPError):
    """The broker does not implement the method."""


class ChannelError(Exception):
    """An error in the use of a channel."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}: An unspecified error occurred with the Channel"


class ReentrancyError(Exception):
    """The call would recurse into a loop that is already running."""


class _AnswerTimeout(TimeoutError):
    """The broker did not answer in the time that a call had; a class of its own, since programs' signal
    handlers raise TimeoutError, too."""


class ShortStringTooLong(AMQPError):
    """A short string is longer than 255 bytes; `args[0]` is the string."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}: AMQP Short String can contain up to 255 bytes: {self.args[0]!s:.300}"


class DuplicateGetOkCallback(ChannelError):
    """A Basic.Get was sent while the answer to an earlier one is awaited."""

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}: basic_get can only be called again after the callback for the "
            "previous basic_get is executed"
        )
