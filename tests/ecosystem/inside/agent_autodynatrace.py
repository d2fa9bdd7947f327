"""autodynatrace; the calls that it makes to the OneAgent's SDK are noted, since there is no OneAgent here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

CALLS: list[dict[str, Any]] = []
OPEN: list[int] = []


def start() -> None:
    """Put it in, with an SDK that notes what it is asked for."""
    import autodynatrace
    from oneagent.sdk import SDK

    number = iter(range(1, 10**9))

    def noting(name: str) -> None:
        make = getattr(SDK, name)

        def made(sdk: Any, *args: Any, **kwargs: Any) -> Any:
            tracer = make(sdk, *args, **kwargs)
            own = next(number)
            shown = [arg for arg in args if isinstance(arg, (str, int))]
            call = {"name": name, "id": own, "parent": None, "attributes": shown, "tag": "str_tag" in kwargs}
            enter, leave = type(tracer).__enter__, type(tracer).__exit__

            class Noted(type(tracer)):  # type: ignore[misc]
                def __enter__(self) -> Any:
                    call["parent"] = OPEN[-1] if OPEN else None
                    OPEN.append(own)
                    CALLS.append(call)
                    return enter(self)

                def __exit__(self, kind: Any, value: Any, traceback: Any) -> Any:
                    OPEN.remove(own)
                    call["error"] = None if kind is None else [kind.__name__, str(value)]
                    return leave(self, kind, value, traceback)

            tracer.__class__ = Noted
            return tracer

        setattr(SDK, name, made)

    for name in (
        "trace_outgoing_message",
        "trace_incoming_message_receive",
        "trace_incoming_message_process",
    ):
        noting(name)
    informed = SDK.create_messaging_system_info

    def inform(sdk: Any, vendor: str, destination: Any, kind: Any, channel: Any) -> Any:
        CALLS.append(
            {"name": "messaging system", "attributes": [vendor, destination, kind, channel.endpoint]}
        )
        return informed(sdk, vendor, destination, kind, channel)

    SDK.create_messaging_system_info = inform
    del autodynatrace


@contextlib.contextmanager
def work(name: str) -> Iterator[None]:
    """The SDK has nothing that a program would put around its work here."""
    yield


def spans() -> list[dict[str, Any]]:
    """The calls since the last time."""
    kept = CALLS[:]
    CALLS.clear()
    return kept
