"""Makes `import pika` find cpika: its modules are loaded under pika's names, and go by cpika's names as well.

The import system does it, by one finder: so whatever else watches imports (the hooks of wrapt and of tracers)
sees `pika.channel` come as it would see pika's own.  This module imports nothing of the package.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec


class _Finder:
    """Finds `pika` and `pika.x` in cpika's folder, and has `cpika.x` be the same module as `pika.x`."""

    def __init__(self) -> None:
        self._local = threading.local()
        self.was_asked = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        """Return how to get a module of pika's or cpika's; None for any other."""
        package, _, rest = name.partition(".")
        if package not in ("pika", "cpika") or getattr(self._local, "asks_others", False):
            return None
        self.was_asked = True
        if package == "cpika":
            return self._find_other_name(name, path)
        module = sys.modules.get(f"c{name}")
        if module is not None and sys.modules.get(name) is not module:
            return _spec_like(module.__spec__, name, _Adopter(module))
        if rest:
            # Before those that know another pika.
            return importlib.machinery.PathFinder.find_spec(name, path)
        spec = self.find_elsewhere("cpika")
        return None if spec is None else _renamed(spec, name)

    def _find_other_name(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """Return how `cpika.x` is got: by importing `pika.x`."""
        real = (
            self.find_elsewhere(name)
            if path is None
            else importlib.machinery.PathFinder.find_spec(name, path)
        )
        return None if real is None else _spec_like(real, name, _OtherName(real.loader))

    def find_elsewhere(self, name: str) -> ModuleSpec | None:
        """Return what the other finders say of a top-level module."""
        self._local.asks_others = True
        try:
            for finder in list(sys.meta_path):
                find: Any = getattr(finder, "find_spec", None)
                spec: ModuleSpec | None = None if finder is self or find is None else find(name, None)
                if spec is not None:
                    return spec
            return None
        finally:
            self._local.asks_others = False

    def take_place(self) -> None:
        """Go before the first finder that would find pika, or cpika's modules, by itself.

        Not further to the front: a finder that asks all others, as import hooks do, has to be asked first.
        """
        sys.meta_path.insert(0, cast("Any", self))  # for those that ask all others
        place = next(
            (number for number, finder in enumerate(sys.meta_path) if self._is_source(finder)),
            len(sys.meta_path),
        )
        sys.meta_path.insert(place, cast("Any", self))
        del sys.meta_path[0]

    def _is_source(self, finder: Any) -> bool:
        """Return whether a finder finds pika or cpika, and not by asking this one."""
        find: Any = getattr(finder, "find_spec", None)
        if finder is self or find is None:
            return False
        # What is in sys.modules nobody is asked about: of a package that is there, something that is not.
        package = sys.modules.get("cpika")
        inside = ("cpika", None) if package is None else ("cpika.__main__", package.__path__)
        for name, path in (("pika", None), inside):
            self.was_asked = False
            if find(name, path) is not None and not self.was_asked:
                return True
        return False


class _Distributions:
    """Tells `importlib.metadata` of a distribution `pika`, where none is installed.

    It stands behind the finders of what is installed: the first answer counts.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        """Find no module."""

    def find_distributions(self, context: Any = None) -> Iterator[Any]:
        """Yield the distribution, if it is asked for by name, or all are and none has that name."""
        from importlib import metadata

        name = getattr(context, "name", None)
        if name is None:
            if metadata.distribution("pika").read_text(_OURS) is None:
                return
        elif name.lower() != "pika":
            return

        class PikaDistribution(metadata.Distribution):
            """What `importlib.metadata` says of pika."""

            def read_text(self, filename: Any) -> str | None:
                """Return the contents of a file of the distribution, None for one that there is not."""
                return _DISTRIBUTION.get(str(filename))

            def locate_file(self, path: Any) -> Any:
                """Return where a file is: nothing is installed."""
                return path

        yield PikaDistribution()


_OURS = "cpika-alias"  # a file that only this distribution has
_PIKA_VERSION = "1.4.4"  # `cpika.__version__`, without loading the package
_DISTRIBUTION = {
    "METADATA": f"Metadata-Version: 2.1\nName: pika\nVersion: {_PIKA_VERSION}\n"
    "Summary: cpika in the place of pika\n",
    "top_level.txt": "pika\n",
    _OURS: "",
}


class _Adopter:
    """Gives a module that was loaded as `cpika.x` the name `pika.x`."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._old_spec = cast("ModuleSpec", module.__spec__)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module that exists already."""
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Change what says where the module and its contents come from."""
        old = self._old_spec.name
        new = old[1:]
        spec = _renamed(self._old_spec, new)
        module.__name__ = new
        module.__spec__ = spec
        module.__package__ = spec.parent
        module.__loader__ = spec.loader  # type: ignore[assignment, unused-ignore]  # LoaderProtocol, for 3.15
        home = importlib.import_module("pika._home")  # the package is loaded by now
        for value in list(vars(module).values()):
            if home.is_from(value, "cpika"):
                home.at_home(value.__module__[1:], value)
        if old == "cpika":
            for name in [name for name in sys.modules if name.startswith("cpika.")]:
                importlib.import_module(name[1:])


class _OtherName:
    """Loads `cpika.x` by importing `pika.x`, the same module."""

    def __init__(self, real: Loader | None) -> None:
        self._real = real
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module under its other name."""
        module = importlib.import_module(spec.name[1:])
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing but give the module its own spec back: the import system has just put in the alias's."""
        module.__spec__ = self._spec

    def __getattr__(self, name: str) -> Any:
        """Give what `python -m cpika.x` asks for: the code, for example."""
        return getattr(self._real, name)


def _spec_like(spec: ModuleSpec | None, name: str, loader: object) -> ModuleSpec:
    """Return the spec of the same module with another name and loader."""
    assert spec is not None
    new = importlib.machinery.ModuleSpec(name, cast("Loader", loader), origin=spec.origin)
    new.submodule_search_locations = spec.submodule_search_locations
    new.has_location = spec.has_location
    return new


def _renamed(spec: ModuleSpec, name: str) -> ModuleSpec:
    """Return the spec of the same file with another name; its loader knows the name, too."""
    loader: Any = spec.loader
    if isinstance(loader, (importlib.machinery.SourceFileLoader, importlib.machinery.SourcelessFileLoader)):
        loader = type(loader)(name, loader.path)
    elif isinstance(loader, importlib.machinery.ExtensionFileLoader):
        loader = importlib.machinery.ExtensionFileLoader(name, loader.path)
    return _spec_like(spec, name, loader)


def install_as_pika() -> None:
    """Make `import pika`, and every module path below it, resolve to cpika from now on.

    The modules are then called `pika.x`, and so are their classes: reprs, pickles and `__module__` say what
    pika's would; `cpika.x` is another way to import the same module.  Calling it again does nothing.

    :raises RuntimeError: pika itself is imported already, so that a program could end up with both
    """
    present = sys.modules.get("pika")
    if present is not None and not hasattr(present, "__cpika_version__"):
        raise RuntimeError(
            "cpika.install_as_pika() came too late: pika itself is imported already, from "
            f"{getattr(present, '__file__', 'an unknown place')}; call it before the first 'import pika'"
        )
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        _Finder().take_place()
        sys.meta_path.append(cast("Any", _Distributions()))
