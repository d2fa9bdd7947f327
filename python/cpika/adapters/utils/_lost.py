"""What the stream's logger says of its loss, in the words by which programs' filters know it."""

from __future__ import annotations

import logging

_LOGGER = logging.getLogger("pika.adapters.utils.io_services_utils")

END_OF_FILE = "Transport indicated EOF"
FAILED = {
    step: f"_AsyncBaseTransport.{step}() failed, aborting connection: error=%s; sock=%s"
    for step in ("_consume", "_produce")
}
"""By the step; with the repr of the error, and the stream."""
_CAUSE = "Stream connection lost: "  # what stands before the repr of the cause
_OF_SENDING = ("BrokenPipeError",)


def log_lost(error: BaseException, stream: object) -> None:
    """Log the loss of a stream.

    :param error: what the connection ends with, as a rule a StreamLostError
    :param stream: what the record shows of it
    """
    text = str(error.args[0]) if error.args else ""
    if text == END_OF_FILE:
        _LOGGER.error("Socket EOF; %s", stream)
        return
    cause = text[len(_CAUSE) :] if text.startswith(_CAUSE) else repr(error)
    step = "_produce" if cause.startswith(_OF_SENDING) else "_consume"
    _LOGGER.error(FAILED[step], cause, stream)
