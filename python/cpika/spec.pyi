# spec.pyi - the types of `cpika.spec`, whose classes the C core makes at run time from src/wire/spec_table.h.
# It is long because the specification is: `spec` is one module, as it is pika's, and a module has one stub.
# tests/test_typing.py compares it with the classes, field by field.
#
# A field's type is what a received method has in it; the constructors' arguments, like pika's, may be None.
# Long strings are bytes where they are not UTF-8, which pika's own annotations leave out, and so does this.

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

from typing_extensions import Buffer, Self, disjoint_base

from cpika._core import Class, Method, Properties
from cpika.delivery_mode import DeliveryMode
from cpika.exchange_type import ExchangeType

__all__ = [
    "ACCESS_REFUSED",
    "CHANNEL_ERROR",
    "COMMAND_INVALID",
    "CONNECTION_FORCED",
    "CONTENT_TOO_LARGE",
    "FRAME_BODY",
    "FRAME_END",
    "FRAME_END_SIZE",
    "FRAME_ERROR",
    "FRAME_HEADER",
    "FRAME_HEADER_SIZE",
    "FRAME_HEARTBEAT",
    "FRAME_MAX_SIZE",
    "FRAME_METHOD",
    "FRAME_MIN_SIZE",
    "INTERNAL_ERROR",
    "INVALID_PATH",
    "NOT_ALLOWED",
    "NOT_FOUND",
    "NOT_IMPLEMENTED",
    "NO_CONSUMERS",
    "NO_ROUTE",
    "PERSISTENT_DELIVERY_MODE",
    "PORT",
    "PRECONDITION_FAILED",
    "PROTOCOL_VERSION",
    "REPLY_SUCCESS",
    "RESOURCE_ERROR",
    "RESOURCE_LOCKED",
    "SYNTAX_ERROR",
    "TRANSIENT_DELIVERY_MODE",
    "UNEXPECTED_FRAME",
    "Access",
    "Basic",
    "BasicProperties",
    "Channel",
    "Confirm",
    "Connection",
    "DeliveryMode",
    "Exchange",
    "ExchangeType",
    "Method",
    "Properties",
    "Queue",
    "Tx",
    "has_content",
    "methods",
    "props",
]

PROTOCOL_VERSION: Final[tuple[int, int, int]]
PORT: Final = 5672
ACCESS_REFUSED: Final = 403
CHANNEL_ERROR: Final = 504
COMMAND_INVALID: Final = 503
CONNECTION_FORCED: Final = 320
CONTENT_TOO_LARGE: Final = 311
FRAME_BODY: Final = 3
FRAME_END: Final = 206
FRAME_END_SIZE: Final = 1
FRAME_ERROR: Final = 501
FRAME_HEADER: Final = 2
FRAME_HEADER_SIZE: Final = 7
FRAME_HEARTBEAT: Final = 8
FRAME_MAX_SIZE: Final = 131072
FRAME_METHOD: Final = 1
FRAME_MIN_SIZE: Final = 4096
INTERNAL_ERROR: Final = 541
INVALID_PATH: Final = 402
NOT_ALLOWED: Final = 530
NOT_FOUND: Final = 404
NOT_IMPLEMENTED: Final = 540
NO_CONSUMERS: Final = 313
NO_ROUTE: Final = 312
PERSISTENT_DELIVERY_MODE: Final = 2
PRECONDITION_FAILED: Final = 406
REPLY_SUCCESS: Final = 200
RESOURCE_ERROR: Final = 506
RESOURCE_LOCKED: Final = 405
SYNTAX_ERROR: Final = 502
TRANSIENT_DELIVERY_MODE: Final = 1
UNEXPECTED_FRAME: Final = 505

# A client waits for the answer to the first kind; the second are answers, and what nobody answers.
class _Request(Method):
    INDEX: ClassVar[int]
    @property
    def synchronous(self) -> Literal[True]: ...

class _Message(Method):
    INDEX: ClassVar[int]
    @property
    def synchronous(self) -> Literal[False]: ...

class Connection(Class):
    INDEX: ClassVar[int]

    @disjoint_base
    class Start(_Request):
        version_major: int
        version_minor: int
        server_properties: dict[str, Any]
        mechanisms: str
        locales: str
        def __init__(
            self,
            version_major: int = 0,
            version_minor: int = 9,
            server_properties: Mapping[str, Any] | None = None,
            mechanisms: str | bytes = "PLAIN",
            locales: str | bytes = "en_US",
        ) -> None: ...

    @disjoint_base
    class StartOk(_Message):
        client_properties: dict[str, Any]
        mechanism: str
        response: str
        locale: str
        def __init__(
            self,
            client_properties: Mapping[str, Any] | None = None,
            mechanism: str = "PLAIN",
            response: str | bytes | None = None,
            locale: str = "en_US",
        ) -> None: ...

    @disjoint_base
    class Secure(_Request):
        challenge: str
        def __init__(self, challenge: str | bytes | None = None) -> None: ...

    @disjoint_base
    class SecureOk(_Message):
        response: str
        def __init__(self, response: str | bytes | None = None) -> None: ...

    @disjoint_base
    class Tune(_Request):
        channel_max: int
        frame_max: int
        heartbeat: int
        def __init__(self, channel_max: int = 0, frame_max: int = 0, heartbeat: int = 0) -> None: ...

    @disjoint_base
    class TuneOk(_Message):
        channel_max: int
        frame_max: int
        heartbeat: int
        def __init__(self, channel_max: int = 0, frame_max: int = 0, heartbeat: int = 0) -> None: ...

    @disjoint_base
    class Open(_Request):
        virtual_host: str
        capabilities: str
        insist: bool
        def __init__(self, virtual_host: str = "/", capabilities: str = "", insist: bool = False) -> None: ...

    @disjoint_base
    class OpenOk(_Message):
        known_hosts: str
        def __init__(self, known_hosts: str = "") -> None: ...

    @disjoint_base
    class Close(_Request):
        reply_code: int
        reply_text: str
        class_id: int
        method_id: int
        def __init__(
            self,
            reply_code: int | None = None,
            reply_text: str = "",
            class_id: int | None = None,
            method_id: int | None = None,
        ) -> None: ...

    class CloseOk(_Message):
        def __init__(self) -> None: ...

    @disjoint_base
    class Blocked(_Message):
        reason: str
        def __init__(self, reason: str = "") -> None: ...

    class Unblocked(_Message):
        def __init__(self) -> None: ...

    @disjoint_base
    class UpdateSecret(_Request):
        new_secret: str
        reason: str
        def __init__(self, new_secret: str | bytes, reason: str | bytes) -> None: ...

    class UpdateSecretOk(_Message):
        def __init__(self) -> None: ...

class Channel(Class):
    INDEX: ClassVar[int]

    @disjoint_base
    class Open(_Request):
        out_of_band: str
        def __init__(self, out_of_band: str = "") -> None: ...

    @disjoint_base
    class OpenOk(_Message):
        channel_id: str
        def __init__(self, channel_id: str | bytes = "") -> None: ...

    @disjoint_base
    class Flow(_Request):
        active: bool
        def __init__(self, active: bool | None = None) -> None: ...

    @disjoint_base
    class FlowOk(_Message):
        active: bool
        def __init__(self, active: bool | None = None) -> None: ...

    @disjoint_base
    class Close(_Request):
        reply_code: int
        reply_text: str
        class_id: int
        method_id: int
        def __init__(
            self,
            reply_code: int | None = None,
            reply_text: str = "",
            class_id: int | None = None,
            method_id: int | None = None,
        ) -> None: ...

    class CloseOk(_Message):
        def __init__(self) -> None: ...

class Access(Class):
    INDEX: ClassVar[int]

    @disjoint_base
    class Request(_Request):
        realm: str
        exclusive: bool
        passive: bool
        active: bool
        write: bool
        read: bool
        def __init__(
            self,
            realm: str = "/data",
            exclusive: bool = False,
            passive: bool = True,
            active: bool = True,
            write: bool = True,
            read: bool = True,
        ) -> None: ...

    @disjoint_base
    class RequestOk(_Message):
        ticket: int
        def __init__(self, ticket: int = 1) -> None: ...

class Exchange(Class):
    INDEX: ClassVar[int]

    @disjoint_base
    class Declare(_Request):
        ticket: int
        exchange: str
        type: str
        passive: bool
        durable: bool
        auto_delete: bool
        internal: bool
        nowait: bool
        arguments: dict[str, Any] | None
        def __init__(
            self,
            ticket: int = 0,
            exchange: str | None = None,
            type: str = ExchangeType.direct,
            passive: bool = False,
            durable: bool = False,
            auto_delete: bool = False,
            internal: bool = False,
            nowait: bool = False,
            arguments: Mapping[str, Any] | None = None,
        ) -> None: ...

    class DeclareOk(_Message):
        def __init__(self) -> None: ...

    @disjoint_base
    class Delete(_Request):
        ticket: int
        exchange: str
        if_unused: bool
        nowait: bool
        def __init__(
            self, ticket: int = 0, exchange: str | None = None, if_unused: bool = False, nowait: bool = False
        ) -> None: ...

    class DeleteOk(_Message):
        def __init__(self) -> None: ...

    @disjoint_base
    class Bind(_Request):
        ticket: int
        destination: str
        source: str
        routing_key: str
        nowait: bool
        arguments: dict[str, Any] | None
        def __init__(
            self,
            ticket: int = 0,
            destination: str | None = None,
            source: str | None = None,
            routing_key: str = "",
            nowait: bool = False,
            arguments: Mapping[str, Any] | None = None,
        ) -> None: ...

    class BindOk(_Message):
        def __init__(self) -> None: ...

    @disjoint_base
    class Unbind(_Request):
        ticket: int
        destination: str
        source: str
        routing_key: str
        nowait: bool
        arguments: dict[str, Any] | None
        def __init__(
            self,
            ticket: int = 0,
            destination: str | None = None,
            source: str | None = None,
            routing_key: str = "",
            nowait: bool = False,
            arguments: Mapping[str, Any] | None = None,
        ) -> None: ...

    class UnbindOk(_Message):
        def __init__(self) -> None: ...

class Queue(Class):
    INDEX: ClassVar[int]

    @disjoint_base
    class Declare(_Request):
        ticket: int
        queue: str
        passive: bool
        durable: bool
        exclusive: bool
        auto_delete: bool
        nowait: bool
        arguments: dict[str, Any] | None
        def __init__(
            self,
            ticket: int = 0,
            queue: str = "",
            passive: bool = False,
            durable: bool = False,
            exclusive: bool = False,
            auto_delete: bool = False,
            nowait: bool = False,
            arguments: Mapping[str, Any] | None = None,
        ) -> None: ...

    @disjoint_base
    class DeclareOk(_Message):
        queue: str
        message_count: int
        consumer_count: int
        def __init__(
            self,
            queue: str | None = None,
            message_count: int | None = None,
            consumer_count: int | None = None,
        ) -> None: ...

    @disjoint_base
    class Bind(_Request):
        ticket: int
        queue: str
        exchange: str
        routing_key: str
        nowait: bool
        arguments: dict[str, Any] | None
        def __init__(
            self,
            ticket: int = 0,
            queue: str = "",
            exchange: str | None = None,
            routing_key: str = "",
            nowait: bool = False,
            arguments: Mapping[str, Any] | None = None,
        ) -> None: ...

    class BindOk(_Message):
        def __init__(self) -> None: ...

    @disjoint_base
    class Purge(_Request):
        ticket: int
        queue: str
        nowait: bool
        def __init__(self, ticket: int = 0, queue: str = "", nowait: bool = False) -> None: ...

    @disjoint_base
    class PurgeOk(_Message):
        message_count: int
        def __init__(self, message_count: int | None = None) -> None: ...

    @disjoint_base
    class Delete(_Request):
        ticket: int
        queue: str
        if_unused: bool
        if_empty: bool
        nowait: bool
        def __init__(
            self,
            ticket: int = 0,
            queue: str = "",
            if_unused: bool = False,
            if_empty: bool = False,
            nowait: bool = False,
        ) -> None: ...

    @disjoint_base
    class DeleteOk(_Message):
        message_count: int
        def __init__(self, message_count: int | None = None) -> None: ...

    @disjoint_base
    class Unbind(_Request):
        ticket: int
        queue: str
        exchange: str
        routing_key: str
        arguments: dict[str, Any] | None
        def __init__(
            self,
            ticket: int = 0,
            queue: str = "",
            exchange: str | None = None,
            routing_key: str = "",
            arguments: Mapping[str, Any] | None = None,
        ) -> None: ...

    class UnbindOk(_Message):
        def __init__(self) -> None: ...

class Basic(Class):
    INDEX: ClassVar[int]

    @disjoint_base
    class Qos(_Request):
        prefetch_size: int
        prefetch_count: int
        global_qos: bool
        def __init__(
            self, prefetch_size: int = 0, prefetch_count: int = 0, global_qos: bool = False
        ) -> None: ...

    class QosOk(_Message):
        def __init__(self) -> None: ...

    @disjoint_base
    class Consume(_Request):
        ticket: int
        queue: str
        consumer_tag: str
        no_local: bool
        no_ack: bool
        exclusive: bool
        nowait: bool
        arguments: dict[str, Any] | None
        def __init__(
            self,
            ticket: int = 0,
            queue: str = "",
            consumer_tag: str = "",
            no_local: bool = False,
            no_ack: bool = False,
            exclusive: bool = False,
            nowait: bool = False,
            arguments: Mapping[str, Any] | None = None,
        ) -> None: ...

    @disjoint_base
    class ConsumeOk(_Message):
        consumer_tag: str
        def __init__(self, consumer_tag: str | None = None) -> None: ...

    @disjoint_base
    class Cancel(_Request):
        consumer_tag: str
        nowait: bool
        def __init__(self, consumer_tag: str | None = None, nowait: bool = False) -> None: ...

    @disjoint_base
    class CancelOk(_Message):
        consumer_tag: str
        def __init__(self, consumer_tag: str | None = None) -> None: ...

    @disjoint_base
    class Publish(_Message):
        ticket: int
        exchange: str
        routing_key: str
        mandatory: bool
        immediate: bool
        def __init__(
            self,
            ticket: int = 0,
            exchange: str = "",
            routing_key: str = "",
            mandatory: bool = False,
            immediate: bool = False,
        ) -> None: ...

    @disjoint_base
    class Return(_Message):
        reply_code: int
        reply_text: str
        exchange: str
        routing_key: str
        def __init__(
            self,
            reply_code: int | None = None,
            reply_text: str = "",
            exchange: str | None = None,
            routing_key: str | None = None,
        ) -> None: ...

    @disjoint_base
    class Deliver(_Message):
        consumer_tag: str
        delivery_tag: int
        redelivered: bool
        exchange: str
        routing_key: str
        def __init__(
            self,
            consumer_tag: str | None = None,
            delivery_tag: int | None = None,
            redelivered: bool = False,
            exchange: str | None = None,
            routing_key: str | None = None,
        ) -> None: ...

    @disjoint_base
    class Get(_Request):
        ticket: int
        queue: str
        no_ack: bool
        def __init__(self, ticket: int = 0, queue: str = "", no_ack: bool = False) -> None: ...

    @disjoint_base
    class GetOk(_Message):
        delivery_tag: int
        redelivered: bool
        exchange: str
        routing_key: str
        message_count: int
        def __init__(
            self,
            delivery_tag: int | None = None,
            redelivered: bool = False,
            exchange: str | None = None,
            routing_key: str | None = None,
            message_count: int | None = None,
        ) -> None: ...

    @disjoint_base
    class GetEmpty(_Message):
        cluster_id: str
        def __init__(self, cluster_id: str = "") -> None: ...

    @disjoint_base
    class Ack(_Message):
        delivery_tag: int
        multiple: bool
        def __init__(self, delivery_tag: int = 0, multiple: bool = False) -> None: ...

    @disjoint_base
    class Reject(_Message):
        delivery_tag: int
        requeue: bool
        def __init__(self, delivery_tag: int | None = None, requeue: bool = True) -> None: ...

    @disjoint_base
    class RecoverAsync(_Message):
        requeue: bool
        def __init__(self, requeue: bool = False) -> None: ...

    @disjoint_base
    class Recover(_Request):
        requeue: bool
        def __init__(self, requeue: bool = False) -> None: ...

    class RecoverOk(_Message):
        def __init__(self) -> None: ...

    @disjoint_base
    class Nack(_Message):
        delivery_tag: int
        multiple: bool
        requeue: bool
        def __init__(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None: ...

class Tx(Class):
    INDEX: ClassVar[int]

    class Select(_Request):
        def __init__(self) -> None: ...

    class SelectOk(_Message):
        def __init__(self) -> None: ...

    class Commit(_Request):
        def __init__(self) -> None: ...

    class CommitOk(_Message):
        def __init__(self) -> None: ...

    class Rollback(_Request):
        def __init__(self) -> None: ...

    class RollbackOk(_Message):
        def __init__(self) -> None: ...

class Confirm(Class):
    INDEX: ClassVar[int]

    @disjoint_base
    class Select(_Request):
        nowait: bool
        def __init__(self, nowait: bool = False) -> None: ...

    class SelectOk(_Message):
        def __init__(self) -> None: ...

@disjoint_base
class BasicProperties(Properties):
    CLASS: ClassVar[type[Basic]]
    INDEX: ClassVar[int]
    FLAG_CONTENT_TYPE: ClassVar[int]
    FLAG_CONTENT_ENCODING: ClassVar[int]
    FLAG_HEADERS: ClassVar[int]
    FLAG_DELIVERY_MODE: ClassVar[int]
    FLAG_PRIORITY: ClassVar[int]
    FLAG_CORRELATION_ID: ClassVar[int]
    FLAG_REPLY_TO: ClassVar[int]
    FLAG_EXPIRATION: ClassVar[int]
    FLAG_MESSAGE_ID: ClassVar[int]
    FLAG_TIMESTAMP: ClassVar[int]
    FLAG_TYPE: ClassVar[int]
    FLAG_USER_ID: ClassVar[int]
    FLAG_APP_ID: ClassVar[int]
    FLAG_CLUSTER_ID: ClassVar[int]
    content_type: str | None
    content_encoding: str | None
    @property
    def headers(self) -> dict[str, Any] | None: ...
    @headers.setter
    def headers(self, value: Mapping[str, Any] | None) -> None: ...
    @property
    def delivery_mode(self) -> Literal[1, 2] | None: ...
    @delivery_mode.setter
    def delivery_mode(self, value: DeliveryMode | int | None) -> None: ...
    priority: int | None
    correlation_id: str | None
    reply_to: str | None
    expiration: str | None
    message_id: str | None
    timestamp: int | None
    type: str | None
    user_id: str | None
    app_id: str | None
    cluster_id: str | None
    def __init__(
        self,
        content_type: str | None = None,
        content_encoding: str | None = None,
        headers: Mapping[str, Any] | None = None,
        delivery_mode: DeliveryMode | int | None = None,
        priority: int | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        expiration: str | None = None,
        message_id: str | None = None,
        timestamp: int | None = None,
        type: str | None = None,
        user_id: str | None = None,
        app_id: str | None = None,
        cluster_id: str | None = None,
    ) -> None: ...
    def encode(self) -> list[bytes]: ...
    def decode(self, encoded: Buffer, offset: int = 0) -> Self: ...

methods: dict[int, type[Method]]
props: dict[int, type[BasicProperties]]

def has_content(methodNumber: int) -> bool: ...
