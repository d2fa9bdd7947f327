"""From annotations of pika, a program that makes every call that they allow.

For each method of a class it has functions with the arguments that the annotations give it, which pass them
on, by position and by name, and return what the annotations say comes back; for each attribute, some that
read and set it. A type checker that accepts the program on pika has to accept it on cpika.
"""

from __future__ import annotations

import ast
import copy
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

Function = ast.FunctionDef


def program(source: Path, module: str, wanted: list[str]) -> str:
    """The program about some classes (`"Outer.Inner"` for one inside another) of one of pika's modules.

    :param source: the module, or its stub
    :param module: its name, e.g. `pika.frame`
    :param wanted: paths of the classes
    """
    tree = ast.parse(source.read_text(encoding="utf-8"))
    package = module if source.name.startswith("__init__") else module.rpartition(".")[0]
    lines = ["from __future__ import annotations", "from typing import Any", *_imports(tree, package)]
    there = importlib.import_module(module)  # a class that only type checkers see is nobody's
    own = sorted(path for path in classes(source) if hasattr(there, path))
    lines += [f"from {module} import {name}" for name in own]
    lines += _aliases(tree)
    for path in wanted:
        lines += _uses(tree, path)
    return "\n".join(lines) + "\n"


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """The module's imports, those for type checkers included, as another module has to write them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            # Another module's private names are nobody's.
            private = [name for name in node.names if name.name.startswith("_")]
            yield from (f"{name.name} = Any" for name in private)
            node = copy.copy(node)
            node.names = [name for name in node.names if name not in private]
            if not node.names:
                continue
            if node.level:
                base = package.split(".")[: len(package.split(".")) - node.level + 1]
                node.module, node.level = ".".join([*base, *([node.module] if node.module else [])]), 0
            yield ast.unparse(node)


def _aliases(tree: ast.Module) -> Iterator[str]:
    """The module's own names of types, which its annotations use."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Subscript, ast.Call, ast.Name)):
            text = ast.unparse(node)
            if re.match(
                r"_?[A-Z]\w*[a-z]\w* = (Union|Optional|Callable|TypeVar|Literal|object)\b", text
            ) or re.match(r"_T\w* = TypeVar", text):
                yield text
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
            yield ast.unparse(node)


def classes(source: Path) -> list[str]:
    """The public classes of a module, and those inside them."""

    def inside(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield prefix + node.name
                yield from inside(node.body, f"{prefix}{node.name}.")

    return [*inside(ast.parse(source.read_text(encoding="utf-8")).body, "")]


def _class(tree: ast.Module, path: str) -> ast.ClassDef:
    body: list[ast.stmt] = tree.body
    for name in path.split("."):
        (found,) = (node for node in body if isinstance(node, ast.ClassDef) and node.name == name)
        body = found.body
    return found


def _uses(tree: ast.Module, path: str) -> Iterator[str]:
    node = _class(tree, path)
    number = 0
    for member in node.body:
        if isinstance(member, Function):
            if member.name.startswith("_") and member.name != "__init__":
                continue
            for lines in _calls(path, member):
                number += 1
                yield f"def use_{path.replace('.', '_')}_{number}{lines}"
        elif isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            name, kind = member.target.id, ast.unparse(member.annotation)
            if name.startswith("_") or name.isupper():
                continue
            uses = [f"(self: {path}) -> {kind}:\n    return self.{name}"]
            if "." not in path:  # nobody sets fields of a method that has come
                uses.append(f"(self: {path}, value: {kind}) -> None:\n    self.{name} = value")
            for lines in uses:
                number += 1
                yield f"def use_{path.replace('.', '_')}_{number}{lines}"


def _calls(path: str, method: Function) -> Iterator[str]:
    """Signature and body of the functions that use a method or a property."""
    marks = {ast.unparse(mark) for mark in method.decorator_list}
    arguments = [*method.args.args[1:], *method.args.kwonlyargs]
    returns = ast.unparse(method.returns) if method.returns else "Any"
    returns = _outside(returns, path)
    own = f"self: {path}"
    if "property" in marks:
        yield f"({own}) -> {returns}:\n    return self.{method.name}"
        return
    taken = ", ".join([own, *(f"{a.arg}: {_outside(_kind(a), path)}" for a in arguments)])
    if any(mark.endswith(".setter") for mark in marks):
        yield f"({taken}) -> None:\n    self.{method.name} = {arguments[0].arg}"
        return
    callee = f"self.{method.name}"
    if method.name == "__init__":
        taken, callee, returns = taken.replace(own, "", 1).lstrip(", "), path, path
    by_position = ", ".join(a.arg for a in method.args.args[1:])
    by_name = ", ".join(f"{a.arg}={a.arg}" for a in arguments)
    for passed in {by_position: None, by_name: None} if not method.args.kwonlyargs else {by_name: None}:
        call = f"{callee}({passed})"
        yield f"({taken}) -> {returns}:\n    {call if returns == 'None' else 'return ' + call}"


def _outside(kind: str, path: str) -> str:
    """An annotation as a function writes it that is no method of the class."""
    return re.sub(r"\bSelf\b", path, kind)


def _kind(argument: ast.arg) -> str:
    return ast.unparse(argument.annotation) if argument.annotation else "Any"
