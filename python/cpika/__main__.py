"""`python -m cpika SCRIPT`: runs a program written for pika on cpika; `... bench` compares the two.

Python processes that the program starts have cpika as pika, too.

The program sees what python would show it: `sys.argv`, `sys.path[0]`, a `__main__` module of its own, the
exit status, and tracebacks that begin with its own frames.
"""

from __future__ import annotations

import os
import sys
from types import CodeType, ModuleType, TracebackType
from typing import Any, Callable, NoReturn

from cpika import _as_pika

_PROGRAM = (getattr(sys, "orig_argv", None) or [sys.executable])[0]


def main(argv: list[str]) -> None:
    """Run the program that the command line names.

    :param argv: the command line after `python -m cpika`
    :raises SystemExit: with the status that python would give
    """
    if argv and argv[0] == "bench":  # a script of that name is ./bench
        from cpika import bench

        sys.exit(bench.main(argv[1:]))
    kind, target, arguments = _parse(argv)
    os.environ["CPIKA_AS_PIKA"] = "1"  # for what it starts, or becomes by exec
    try:
        _as_pika.install_as_pika()
    except RuntimeError as error:
        sys.exit(f"{_PROGRAM}: {error}")
    if kind == "-c":
        _run_command(target, arguments)
    elif kind == "-m":
        _run_module(target, arguments)
    else:
        _run_script(target, arguments)


def _parse(argv: list[str]) -> tuple[str, str, list[str]]:
    """Return ('-c', code, arguments), ('-m', module, arguments) or ('', script, arguments)."""
    if argv and argv[0][:2] in ("-c", "-m"):
        # As python does: `-mmodule` in one word or in two, and all that follows belongs to the program.
        kind, glued = argv[0][:2], argv[0][2:]
        rest = [glued, *argv[1:]] if glued else argv[1:]
        if rest:
            return kind, rest[0], rest[1:]
    elif argv and not argv[0].startswith("-"):
        return "", argv[0], argv[1:]
    _explain(argv)


def _explain(argv: list[str]) -> NoReturn:
    """Answer `--help` and `--version`; anything else that names no program is an error of use."""
    import argparse

    import cpika

    parser = argparse.ArgumentParser(
        prog="python -m cpika",
        description="Run a Python program with cpika in the place of pika.",
        usage="%(prog)s [-h] [--version] (SCRIPT | -m MODULE | -c CODE) [ARGS ...]\n"
        "       %(prog)s bench [-h] [--url URL]",
        allow_abbrev=False,
    )
    parser.add_argument(
        "script", metavar="SCRIPT", nargs="?", help="file, or directory or zip with a __main__.py"
    )
    parser.add_argument("-m", metavar="MODULE", help="run a module, as python -m does")
    parser.add_argument("-c", metavar="CODE", help="run a program given as a string")
    parser.add_argument(
        "--version",
        action="version",
        version=f"cpika {cpika.__cpika_version__} (in the place of pika {cpika.__version__})",
    )
    parser.parse_args(argv)
    parser.error("what to run? Give a SCRIPT, -m MODULE or -c CODE")


def _run_script(path: str, arguments: list[str]) -> None:
    """Run a file, or the `__main__.py` in a directory or zip file."""
    sys.argv[:] = [path, *arguments]
    absolute = os.path.join(os.getcwd(), path)
    if _is_importable(path):
        if _has_first_path():
            del sys.path[0]
        sys.path.insert(0, absolute)
        _new_main()
        _run_as_main("__main__", alter_argv=False)
        return
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        print(
            f"{_PROGRAM}: can't open file {absolute!r}: [Errno {error.errno}] {error.strerror}",
            file=sys.stderr,
        )
        sys.exit(2)

    from importlib.machinery import SourceFileLoader

    if _has_first_path():
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    cached: dict[str, Any] = {"__cached__": None} if sys.version_info < (3, 15) else {}
    module = _new_main(__file__=absolute, __loader__=SourceFileLoader("__main__", absolute), **cached)
    _execute(lambda: _compile(source, absolute), module)


def _run_command(code: str, arguments: list[str]) -> None:
    """Run a program given as a string."""
    from importlib.machinery import BuiltinImporter

    sys.argv[:] = ["-c", *arguments]
    if _has_first_path():
        sys.path[0] = ""
    if sys.version_info >= (3, 13):
        import linecache

        # python shows the lines of its -c in tracebacks from then on.
        linecache.cache["<string>"] = (len(code), None, code.splitlines(keepends=True), "<string>")
    _execute(lambda: _compile(code, "<string>"), _new_main(__loader__=BuiltinImporter))


def _run_module(name: str, arguments: list[str]) -> None:
    """Run a module or a package by name."""
    sys.argv[:] = ["-m", *arguments]
    _new_main()
    _run_as_main(name, alter_argv=True)


def _run_as_main(name: str, alter_argv: bool) -> None:
    """Run a module in the new `__main__`, by the very function that python's own -m calls.

    `runpy.run_module` would put the old `__main__` back at the end, too early for threads and atexit.
    """
    import runpy

    run: Callable[..., Any] = runpy._run_module_as_main  # type: ignore[attr-defined]
    _show_own_frames_only(lambda: run(name, alter_argv))


def _execute(get_code: Callable[[], CodeType], module: ModuleType) -> None:
    """Run code in a module."""
    _show_own_frames_only(lambda: exec(get_code(), vars(module)))


def _compile(source: str | bytes, filename: str) -> CodeType:
    """Return the code of a source or of a .pyc file."""
    from importlib.util import MAGIC_NUMBER

    if isinstance(source, bytes) and source.startswith(MAGIC_NUMBER):
        import marshal

        code: CodeType = marshal.loads(source[16:])
        return code
    return compile(source, filename, "exec", dont_inherit=True)


def _is_importable(path: str) -> bool:
    """Return whether modules can be imported from the path: it is a directory or a zip file."""
    for hook in sys.path_hooks:
        try:
            hook(path)
        except ImportError:
            continue
        return True
    return False


def _has_first_path() -> bool:
    """Return whether `sys.path[0]` is what `python -m` has put there: it can be told not to."""
    return not (getattr(sys.flags, "safe_path", False) or sys.flags.isolated)


def _new_main(**attributes: Any) -> ModuleType:
    """Make an empty `__main__`; the one of this file goes out of sight."""
    import builtins
    from types import ModuleType

    module = ModuleType("__main__")
    if sys.version_info < (3, 14):  # from then on a module has them when it is asked
        attributes["__annotations__"] = {}
    vars(module).update({"__builtins__": builtins, **attributes})
    sys.modules["__main__"] = module
    return module


def _show_own_frames_only(run: Callable[[], Any]) -> None:
    """Run a program; the traceback of what it dies of shows none of our frames.

    The exception itself goes on to the interpreter, which knows the right status for each.
    """
    try:
        run()
    except SystemExit:
        raise
    except BaseException as error:
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
            traceback = traceback.tb_next
        hook = sys.excepthook

        def show(kind: type[BaseException], value: BaseException, _: TracebackType | None) -> None:
            nonlocal traceback
            # Nothing of it stays in `sys`, which ends behind the collection that ends the program's objects.
            own, traceback = traceback, None
            sys.excepthook = hook
            sys.last_traceback = own
            hook(kind, value.with_traceback(own), own)

        sys.excepthook = show
        raise


if __name__ == "__main__":
    main(sys.argv[1:])
