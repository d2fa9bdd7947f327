"""Makes `import pika` find cpika."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class _AliasLoader:
    """Loads `pika.x` by handing out the module `cpika.x`."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module that exists already."""
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing but give the module its own spec back: the import system has just put in the alias's."""
        module.__spec__ = self._spec


class _AliasFinder:
    """Finds `pika` and `pika.x`, also those that nobody has imported as `cpika.x` yet."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        """Return the spec of an alias, None for a name that is not pika's."""
        package, _, rest = name.partition(".")
        if package != "pika":
            return None
        ours = f"cpika.{rest}" if rest else "cpika"
        if ours not in sys.modules and importlib.util.find_spec(ours) is None:
            return None
        module = importlib.import_module(ours)
        loader = cast("Loader", _AliasLoader(module))
        return importlib.util.spec_from_loader(name, loader, is_package=hasattr(module, "__path__"))


def install_as_pika() -> None:
    """Make `import pika`, and every module path below it, resolve to cpika from now on.

    Calling it again does nothing.

    :raises RuntimeError: pika itself is imported already, so that a program could end up with both
    """
    cpika = sys.modules["cpika"]
    present = sys.modules.get("pika")
    if present is not None and present is not cpika:
        raise RuntimeError(
            "cpika.install_as_pika() came too late: pika itself is imported already, from "
            f"{getattr(present, '__file__', 'an unknown place')}; call it before the first 'import pika'"
        )
    if not any(isinstance(finder, _AliasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AliasFinder())
    for name, module in list(sys.modules.items()):
        if name == "cpika" or name.startswith("cpika."):
            sys.modules[name[1:]] = module
