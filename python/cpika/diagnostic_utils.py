"""Help for finding out what happened."""

from __future__ import annotations

import functools
import logging
import traceback
from typing import Any, Callable, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def create_log_exception_decorator(logger: logging.Logger) -> Callable[[F], F]:
    """Return a decorator that logs what leaves a function as an exception, and lets it go on.

    :param logger: where to log it, at level ERROR, with its traceback
    """

    def log_exception(func: F) -> F:
        @functools.wraps(func)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                return func(*args, **kwargs)
            except Exception:
                logger.exception(
                    "Wrapped func exited with exception. Caller's stack:\n%s", traceback.format_exc()
                )
                raise

        return cast(F, wrapper)

    return log_exception
