"""The base of classes whose names pika has and whose work cpika does elsewhere, or not yet."""

from __future__ import annotations

from typing import Any, NoReturn


class NotBuilt:
    """A class that can be imported, derived from and asked about, but not constructed."""

    _INSTEAD = "use pika.BlockingConnection, whose methods may be called from any thread"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """
        :raises NotImplementedError: always; the message says what to use
        """
        self._refuse()

    @classmethod
    def _refuse(cls) -> NoReturn:
        raise NotImplementedError(f"{cls.__name__} is not part of cpika: {cls._INSTEAD}")
