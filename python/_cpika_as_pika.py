"""Imported by cpika_as_pika.pth at the start of an interpreter in whose environment CPIKA_AS_PIKA is.

That line asks no more, in the cheapest way: every interpreter runs it. The alias is put in place when
somebody first asks for pika: most programs that inherit the variable never do, and they load nothing but this
file, which imports nothing that is not there already.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from typing import Any


class _AtFirstUse:
    """A finder that finds nothing: it puts `cpika._as_pika`'s in place when pika or cpika is asked for."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._begun = False
        self._finder: Any = None

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        """Return what the alias finder says, the first time; from then on that one is asked itself."""
        if self._finder is not None or name.partition(".")[0] not in ("pika", "cpika"):
            return None
        finder = self._install()
        spec: ModuleSpec | None = None if finder is None else finder.find_spec(name, path, target)
        return spec

    def find_distributions(self, context: Any = None) -> Iterator[Any]:
        """Find none, but see to it that those who do are in place."""
        if self._finder is None and getattr(context, "name", None) in (None, "pika"):
            self._install()
        return iter(())

    def _install(self) -> Any:
        """Install the alias; return its finder, None to what is asked on the way there."""
        with self._lock:
            if not self._begun:
                self._begun = True
                module = _load_alias()
                module.install_as_pika()
                self._finder = next(one for one in sys.meta_path if isinstance(one, module._Finder))
            return self._finder


def _load_alias() -> Any:
    """Return the module `cpika._as_pika`, loaded without its package, which is to be loaded as `pika`."""
    from importlib.util import find_spec, module_from_spec, spec_from_file_location

    name = "cpika._as_pika"
    if name in sys.modules:
        return sys.modules[name]
    package = find_spec("cpika")
    if package is None or not package.submodule_search_locations:
        raise ImportError("CPIKA_AS_PIKA is set, but the package cpika cannot be found", name="cpika")
    spec = spec_from_file_location(name, f"{package.submodule_search_locations[0]}/_as_pika.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


# Not there: the distribution of packaging/pika-from-cpika asks.
if os.environ.get("CPIKA_AS_PIKA", "1") not in ("", "0"):
    sys.meta_path.insert(0, _AtFirstUse())
