"""Who has wrapped which methods of `pika.channel.Channel`: tracers do, on the class or on one channel.

In pika a `BlockingChannel` does everything by calling its `Channel`.  Here it does its work itself, without a
call more, as long as nobody wants to see one.  So an assignment to a method is noticed when it is made, and
from then on the calls go pika's way: what looks at each call costs each call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FunctionType
from typing import Any, ClassVar

from cpika._core import LoopChannel, hot_method
from cpika._references import References

_EVERYTHING = frozenset({"_send_method", "_rpc"})  # every other method calls one of these

_known: References[Traceable] = References()
_shortcuts: dict[str, tuple[Any, frozenset[str]]] = {}
_reasons: References[Traceable] = References()  # objects that have a `_wrapped` of their own
_counted = [0]  # of them, when the shortcuts were set


class _Watched(type):
    """The type of `Channel`: it notices what is assigned to the class."""

    _originals: dict[str, FunctionType]
    _found: frozenset[str]
    _wrapped: frozenset[str]

    def __init__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **for_subclass: Any
    ) -> None:
        super().__init__(name, bases, namespace)
        if cls._originals:
            cls._look_over()

    def __instancecheck__(cls, instance: Any) -> bool:
        # A channel on an event loop is one too, in C: `LoopChannel` is its base.
        return super().__instancecheck__(instance) or (
            bool(vars(cls).get("_originals")) and isinstance(instance, LoopChannel)
        )

    @property
    def __signature__(cls) -> Any:
        """What `inspect.signature` says: not that of `__call__`."""
        import inspect

        whole = inspect.signature(cls.__init__)  # type: ignore[misc]  # that of this very class
        return whole.replace(parameters=list(whole.parameters.values())[1:])

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        kind = _kind_for(cls, args, kwargs)
        if kind is None:
            return super().__call__(*args, **kwargs)
        made = kind(*args, **kwargs)
        wrap_loop_channel(made, _loops[-1][2])
        return made

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in cls._originals:
            cls._look_over()

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        if name in cls._originals:
            cls._look_over()

    def _look_over(cls) -> None:
        """Find out which methods of the class are not the ones that it was written with."""
        found = frozenset(
            name
            for name, original in cls._originals.items()
            if next((vars(kind)[name] for kind in cls.__mro__ if name in vars(kind)), None) is not original
        )
        type.__setattr__(cls, "_found", found)
        type.__setattr__(cls, "_wrapped", _with_callers(cls._originals, found))
        subclasses: list[Any] = cls.__subclasses__()
        for subclass in subclasses:
            subclass._look_over()
        for channel in _known.living():
            if type(channel) is cls:
                channel._look_again()
        _set_shortcuts()


class Traceable(metaclass=_Watched):
    """The base of `Channel`: knows which of its methods somebody has wrapped.

    `_wrapped` has their names; where what all go through is wrapped, all names.
    """

    _originals: ClassVar[dict[str, FunctionType]] = {}
    _found: ClassVar[frozenset[str]] = frozenset()
    _wrapped: frozenset[str] = frozenset()

    def __init__(self) -> None:
        _known.add(self)
        if len(_reasons) != _counted[0]:
            _set_shortcuts()  # one is gone

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name in self._originals:
            self._look_again()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        if name in self._originals:
            self._look_again()

    def _look_again(self) -> None:
        """Find out which methods of this object are not those of the class as it was written."""
        own = {name: value for name, value in vars(self).items() if name in self._originals}
        if own or "_wrapped" in vars(self):
            found = (
                type(self)
                ._found.difference(own)
                .union(name for name, value in own.items() if not self._is_original(name, value))
            )
            self._set_wrapped(self._with_more(_with_callers(self._originals, found)))
        self._wrapping_changed()

    def _set_wrapped(self, names: frozenset[str]) -> None:
        object.__setattr__(self, "_wrapped", names)
        _reasons.add(self)
        _set_shortcuts()

    def _is_original(self, name: str, value: Any) -> bool:
        """Return whether it is the method as it was written: some agents put it back for one object."""
        return (
            getattr(value, "__func__", None) is self._originals[name]
            and getattr(value, "__self__", None) is self
        )

    def _with_more(self, names: frozenset[str]) -> frozenset[str]:
        """Return the names with those for which there are other reasons."""
        return names

    def _wrapping_changed(self) -> None:
        """Do what is to be done when other methods are wrapped than before."""


def watch(cls: type[Traceable]) -> type[Traceable]:
    """Watch a class's methods, as they are now, from now on."""
    kinds = [kind for kind in reversed(cls.__mro__) if issubclass(kind, Traceable) and kind is not Traceable]
    for kind in kinds:
        for name, value in list(vars(kind).items()):
            if isinstance(value, FunctionType) and not name.startswith("__"):
                type.__setattr__(kind, name, _for_loops_too(name, value))
    originals = {
        name: value
        for kind in kinds
        for name, value in vars(kind).items()
        if isinstance(value, FunctionType) and not name.startswith("__")
    }
    type.__setattr__(cls, "_originals", originals)
    return cls


def _for_loops_too(name: str, method: FunctionType) -> Callable[..., Any]:
    """Return a method that, called for a channel on an event loop, is that channel's own.

    Wrappers of the class are called for such channels as well, and call in the end what they have wrapped.
    """

    @functools.wraps(method)
    def either(self: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self, LoopChannel):
            return getattr(_loops[-1][1], name)(self, *args, **kwargs)
        return method(self, *args, **kwargs)

    return either


# ---- on event loops ----

_loops: list[tuple[type, type, type[Traceable]]] = []  # connections, their channels, and `Channel`


def serve_loops(connections: type, channels: type, cls: type[Traceable]) -> None:
    """Have `Channel`, called for a connection of this class, make one of these channels."""
    _loops[:] = [(connections, channels, cls)]


def begin_loop_channel(channel: Any, *arguments: Any) -> None:
    """Call the constructor of the loop's channels."""
    vars(_loops[-1][1])["__init__"](channel, *arguments)


def _kind_for(cls: _Watched, args: tuple[Any, ...], kwargs: dict[str, Any]) -> type | None:
    """Return what is to be made in the place of a `Channel`, or of an object of a program's subclass of it.

    None: just that, no argument is a connection on an event loop.
    """
    if not _loops or isinstance(cls, _OnLoops):
        return None
    if not any(isinstance(value, _loops[-1][0]) for value in (*args, *kwargs.values())):
        return None
    _, channels, channel = _loops[-1]
    if cls is channel:
        return channels
    kind: type | None = vars(cls).get("_on_loops")
    if kind is None:
        names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
        kind = _OnLoops(cls.__name__, (cls, channels), names)
        type.__setattr__(cls, "_on_loops", kind)
    return kind


class _OnLoops(_Watched):
    """The type of subclasses of `Channel` on event loops: where that stands, the loop's classes stand."""

    def mro(cls) -> list[type]:
        _, channels, channel = _loops[-1]
        library = {*channels.__mro__, *channel.__mro__} - {channel}
        own = [kind for kind in super().mro() if kind not in library]
        here = own.index(channel)  # what stands behind it may be called by it
        return [*own[:here], *channels.__mro__[:-1], *own[here:], object]

    def _look_over(cls) -> None:
        """Nothing of the blocking interface goes through it."""


def wrap_loop_channel(channel: Any, cls: type[Traceable]) -> None:
    """Put the methods of `Channel` that somebody has wrapped on the class onto a channel on an event loop.

    Those that the program's own subclass defines stay: they stand above the wrappers.
    """
    for name in cls._found:
        inherited = getattr(type(channel), name, None)
        if inherited is not None and inherited is getattr(_loops[-1][1], name, None):
            setattr(channel, name, getattr(cls, name).__get__(channel, cls))


def add_shortcut(method: Any, *names: str) -> None:
    """Have a `hot_method` go to C at once only while nobody has wrapped one of these methods of `Channel`."""
    _shortcuts[method.__name__] = (method, frozenset(names))
    _set_shortcuts()  # they may be wrapped before anybody has imported the blocking adapter


def _with_callers(originals: dict[str, FunctionType], found: frozenset[str]) -> frozenset[str]:
    return found if _EVERYTHING.isdisjoint(found) else frozenset(originals)


def _set_shortcuts() -> None:
    _counted[0] = len(_reasons)
    wrapped = _wrapped_by_class(Traceable).union(*(channel._wrapped for channel in _reasons.living()))
    for method, names in _shortcuts.values():
        hot_method.set_direct(method, names.isdisjoint(wrapped))


def _wrapped_by_class(cls: type[Traceable]) -> frozenset[str]:
    return cls._wrapped.union(*(_wrapped_by_class(subclass) for subclass in cls.__subclasses__()))


# ---- what a wrapped method leaves to be done when its wrappers have returned ----

_steps: ContextVar[list[Callable[[], Any]] | None] = ContextVar("_steps", default=None)


@contextmanager
def outside() -> Iterator[None]:
    """Inside, `later` keeps what it gets; it is done at the end of the block, unless that is an exception.

    As in pika, a method of `Channel` begins and its `BlockingChannel` awaits the end: what goes wrong then is
    raised where no wrapper of the method sees it.
    """
    steps: list[Callable[[], Any]] = []
    token = _steps.set(steps)
    try:
        yield
    finally:
        _steps.reset(token)
    for step in steps:
        step()


def later(step: Callable[[], Any]) -> None:
    """Do something at the end of the block `outside`; at once, where there is none."""
    steps = _steps.get()
    if steps is None:
        step()
    else:
        steps.append(step)
