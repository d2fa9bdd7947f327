"""The base classes of everything that AMQP knows: classes, methods, properties, frames."""

from __future__ import annotations

from cpika import _home
from cpika._core import AMQPObject, Class, Method, Properties

__all__ = ["AMQPObject", "Class", "Method", "Properties"]

_home.at_home(__name__, AMQPObject, Class, Method, Properties)
