"""Sphinx builds the site of the documentation from this: `make docs`.

It imports the package: what it shows of methods in C is what `help()` shows, signatures and docstrings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import cpika.adapters._blocking_hot
from docutils import nodes

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "cpika"
release = cpika.__cpika_version__
copyright = "the authors of cpika"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = f"cpika {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["ref.python"]  # `type` is a builtin as well as a field

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autoclass_content = "both"
autodoc_default_options = {"members": True}
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"
copybutton_prompt_text = "$ "

# A name in backticks is a link where it can be one; docstrings say `pika.exceptions...`, as programs do.
default_role = "py:obj"
NOT_HERE = (  # of the standard library, whose documentation is elsewhere, and private names in annotations
    r"(asyncio|collections\.abc|socket|ssl|types|logging)\..*",
    r"(cpika\.adapters\.utils\.)?connection_workflow\..*",
    r"(\w+\.)*_\w+",
    r"(\w+\.)?(Callable|Generator|Iterable|Iterator|Mapping|Sequence|Buffer)(\[.*)?",
    r"cpika\.(_core|_aio)\..*",
    r"AMQPValue|HeartbeatOption|Credentials|On\w+|Message|Engine|Any|\w+T|NoReturn|TracebackType",
)
nitpick_ignore_regex = [("py:obj", ".*"), *(("py:(class|exc)", pattern) for pattern in NOT_HERE)]


# A type hint that is new in Python 3.12; when the package runs, Any stands in for it.
cpika.adapters._blocking_hot.Buffer = type("Buffer", (), {"__module__": "collections.abc"})


def simplify_signature(
    app: Sphinx, what: str, name: str, obj: object, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Show an argument that may be left out as `...`, not as the private class that stands for that."""
    if signature is not None:
        signature = re.sub(r" \| type\[_DEFAULT\]", "", signature)
        signature = re.sub(r"= ?_DEFAULT", "= ...", signature).replace("_credentials._Cred", "Cred")
        signature = signature.replace("PublicChannel", "Channel")
    return signature, returns and returns.replace("PublicChannel", "Channel")


def find_by_last_names(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Node | None:
    """Resolve `pika.x` to `cpika.x`, and a name that is shortened to the only one that ends like it."""
    if node.get("refdomain") != "py":
        return None
    domain = env.get_domain("py")
    target = str(node["reftarget"]).removeprefix("pika.").removeprefix("cpika.")
    # A module is meant where its whole name stands: `callback` is somebody's argument.
    names = [
        name for name, _, kind, *_ in domain.get_objects() if name.startswith("cpika.") and kind != "module"
    ]
    found = [name for name in names if name == f"cpika.{target}"] or [
        name for name in names if name.endswith(f".{target}")
    ]
    if len(found) != 1:
        return None
    builder: Any = app.builder
    return domain.resolve_xref(env, node["refdoc"], builder, "obj", found[0], node, content)


def skip_foreign(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: Any) -> bool | None:
    """Leave out what a module has only imported, `Any` for example."""
    home = str(getattr(obj, "__module__", "cpika"))
    return True if what == "module" and home.split(".")[0] not in ("cpika", "pika") else None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", simplify_signature)
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("missing-reference", find_by_last_names)
