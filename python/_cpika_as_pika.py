"""Imported by cpika_as_pika.pth at the start of an interpreter whose environment says CPIKA_AS_PIKA=1.

It puts the alias finder in place and loads nothing else: the package itself is loaded by a program's
`import pika`.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location


def _install() -> None:
    if "cpika" in sys.modules:
        import cpika

        cpika.install_as_pika()
        return
    package: ModuleSpec | None = importlib.util.find_spec("cpika")  # of a package: it is not loaded
    if package is None or not package.submodule_search_locations:
        text = "cpika_as_pika.pth is installed, but the package cpika cannot be found"
        raise ImportError(text, name="cpika")
    name = "cpika._as_pika"
    spec = spec_from_file_location(name, f"{package.submodule_search_locations[0]}/_as_pika.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    module.install_as_pika()


_install()
