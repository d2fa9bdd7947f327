"""The methods of AMQP 0-9-1 as a scripted server reads and writes them: names, numbers and fields.

Written apart from the library, like `support.amqp`, which it completes.
"""

from __future__ import annotations

import struct
from typing import Any

from support import amqp

# Fields: o octet, h short, l long, q long long, s short string, S long string, T table; x bits of one octet.
_TABLE = """
10.10 Connection.Start o:major o:minor T:properties S:mechanisms S:locales
10.11 Connection.StartOk T:client_properties s:mechanism S:response s:locale
10.30 Connection.Tune h:channel_max l:frame_max h:heartbeat
10.31 Connection.TuneOk h:channel_max l:frame_max h:heartbeat
10.40 Connection.Open s:virtual_host s:reserved1 x:insist
10.41 Connection.OpenOk s:known_hosts
10.50 Connection.Close h:reply_code s:reply_text h:class_id h:method_id
10.51 Connection.CloseOk
10.60 Connection.Blocked s:reason
10.61 Connection.Unblocked
10.70 Connection.UpdateSecret S:new_secret s:reason
10.71 Connection.UpdateSecretOk
20.10 Channel.Open s:reserved1
20.11 Channel.OpenOk S:reserved1
20.20 Channel.Flow x:active
20.21 Channel.FlowOk x:active
20.40 Channel.Close h:reply_code s:reply_text h:class_id h:method_id
20.41 Channel.CloseOk
40.10 Exchange.Declare h:ticket s:exchange s:type x:passive,durable,auto_delete,internal,nowait T:arguments
40.11 Exchange.DeclareOk
40.20 Exchange.Delete h:ticket s:exchange x:if_unused,nowait
40.21 Exchange.DeleteOk
40.30 Exchange.Bind h:ticket s:destination s:source s:routing_key x:nowait T:arguments
40.31 Exchange.BindOk
40.40 Exchange.Unbind h:ticket s:destination s:source s:routing_key x:nowait T:arguments
40.51 Exchange.UnbindOk
50.10 Queue.Declare h:ticket s:queue x:passive,durable,exclusive,auto_delete,nowait T:arguments
50.11 Queue.DeclareOk s:queue l:message_count l:consumer_count
50.20 Queue.Bind h:ticket s:queue s:exchange s:routing_key x:nowait T:arguments
50.21 Queue.BindOk
50.30 Queue.Purge h:ticket s:queue x:nowait
50.31 Queue.PurgeOk l:message_count
50.40 Queue.Delete h:ticket s:queue x:if_unused,if_empty,nowait
50.41 Queue.DeleteOk l:message_count
50.50 Queue.Unbind h:ticket s:queue s:exchange s:routing_key T:arguments
50.51 Queue.UnbindOk
60.10 Basic.Qos l:prefetch_size h:prefetch_count x:global_qos
60.11 Basic.QosOk
60.20 Basic.Consume h:ticket s:queue s:consumer_tag x:no_local,no_ack,exclusive,nowait T:arguments
60.21 Basic.ConsumeOk s:consumer_tag
60.30 Basic.Cancel s:consumer_tag x:nowait
60.31 Basic.CancelOk s:consumer_tag
60.40 Basic.Publish h:ticket s:exchange s:routing_key x:mandatory,immediate
60.50 Basic.Return h:reply_code s:reply_text s:exchange s:routing_key
60.60 Basic.Deliver s:consumer_tag q:delivery_tag x:redelivered s:exchange s:routing_key
60.70 Basic.Get h:ticket s:queue x:no_ack
60.71 Basic.GetOk q:delivery_tag x:redelivered s:exchange s:routing_key l:message_count
60.72 Basic.GetEmpty s:reserved1
60.80 Basic.Ack q:delivery_tag x:multiple
60.90 Basic.Reject q:delivery_tag x:requeue
60.110 Basic.Recover x:requeue
60.111 Basic.RecoverOk
60.120 Basic.Nack q:delivery_tag x:multiple,requeue
85.10 Confirm.Select x:nowait
85.11 Confirm.SelectOk
90.10 Tx.Select
90.11 Tx.SelectOk
90.20 Tx.Commit
90.21 Tx.CommitOk
90.30 Tx.Rollback
90.31 Tx.RollbackOk
"""

_NUMBERS = {"o": ">B", "h": ">H", "l": ">I", "q": ">Q"}


class Method:
    """A method that came: `name`, and its fields in `fields`; tables are raw bytes, bits are bool."""

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        self.name = name
        self.fields = fields

    def __getattr__(self, name: str) -> Any:
        return self.fields[name]


def _parse_table() -> tuple[dict[tuple[int, int], str], dict[str, tuple[tuple[int, int], list[list[str]]]]]:
    names, layouts = {}, {}
    for line in _TABLE.strip().splitlines():
        numbers, name, *fields = line.split()
        class_id, method_id = map(int, numbers.split("."))
        names[class_id, method_id] = name
        layouts[name] = (class_id, method_id), [field.split(":") for field in fields]
    return names, layouts


NAMES, _LAYOUTS = _parse_table()


def decode(payload: bytes) -> Method:
    """The method of a method frame.  ValueError: it is none that is known, or it is cut short."""
    ids = struct.unpack_from(">HH", payload)
    if ids not in NAMES:
        raise ValueError(f"unknown method {ids}")
    name = NAMES[ids]
    fields: dict[str, Any] = {}
    at = 4
    for kind, label in _LAYOUTS[name][1]:
        if kind in _NUMBERS:
            (fields[label],) = struct.unpack_from(_NUMBERS[kind], payload, at)
            at += struct.calcsize(_NUMBERS[kind])
        elif kind == "x":
            for bit, flag in enumerate(label.split(",")):
                fields[flag] = bool(payload[at] >> bit & 1)
            at += 1
        elif kind == "s":
            fields[label] = payload[at + 1 : at + 1 + payload[at]].decode()
            at += 1 + payload[at]
        else:
            (size,) = struct.unpack_from(">I", payload, at)
            fields[label] = payload[at + 4 : at + 4 + size]
            at += 4 + size
    if at != len(payload):
        raise ValueError(f"{name} is {len(payload)} bytes long, its fields {at}")
    return Method(name, fields)


def encode(channel: int, name: str, **fields: Any) -> bytes:
    """A method frame; fields that are not given are zero, empty or false."""
    ids, layout = _LAYOUTS[name]
    parts = [struct.pack(">HH", *ids)]
    for kind, label in layout:
        if kind in _NUMBERS:
            parts.append(struct.pack(_NUMBERS[kind], fields.pop(label, 0)))
        elif kind == "x":
            flags = [bool(fields.pop(flag, False)) << bit for bit, flag in enumerate(label.split(","))]
            parts.append(bytes([sum(flags)]))
        elif kind == "s":
            parts.append(amqp.short(fields.pop(label, "")))
        else:
            parts.append(amqp.long(fields.pop(label, b"")))
    assert not fields, f"{name} has no {list(fields)}"
    return amqp.frame(amqp.FRAME_METHOD, channel, b"".join(parts))


ANSWERS = {
    name: f"{name}Ok"
    for name in _LAYOUTS
    if f"{name}Ok" in _LAYOUTS and name not in ("Connection.Start", "Connection.Tune")
}
"""The requests of a client, and what answers them (Basic.Get may also get a GetEmpty)."""
