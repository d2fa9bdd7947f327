"""Putting a message together from its frames, in Python: pika's helper, which the core does not need."""

from __future__ import annotations

from typing import Any

from cpika import exceptions, frame, spec


class ContentFrameAssembler:
    """Takes a channel's frames - a method with content, a header, bodies - and gives whole messages."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._method_frame: frame.Method[Any] | None = None
        self._header_frame: frame.Header | None = None
        self._body_fragments: list[bytes] = []
        self._seen_so_far = 0

    def process(self, frame_value: frame.Frame) -> tuple[frame.Method[Any], frame.Header, bytes] | None:
        """Take the next frame.

        :returns: (method frame, header frame, body) of a message that is whole now, else None
        :raises pika.exceptions.UnexpectedFrameError: a frame that has no part in a message
        :raises pika.exceptions.BodyTooLongError: more came than the header says
        """
        if isinstance(frame_value, frame.Method) and spec.has_content(frame_value.method.INDEX):
            self._method_frame = frame_value
            return None
        if isinstance(frame_value, frame.Header):
            self._header_frame = frame_value
        elif isinstance(frame_value, frame.Body):
            self._seen_so_far += len(frame_value.fragment)
            self._body_fragments.append(frame_value.fragment)
        else:
            raise exceptions.UnexpectedFrameError(frame_value)
        assert self._header_frame is not None
        size = self._header_frame.body_size
        if self._seen_so_far > size:
            raise exceptions.BodyTooLongError(self._seen_so_far, size)
        if self._seen_so_far < size:
            return None
        assert self._method_frame is not None
        message = (self._method_frame, self._header_frame, b"".join(self._body_fragments))
        self._reset()
        return message
