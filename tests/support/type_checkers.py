"""What mypy and pyright say of a folder of programs, in a form that can be compared."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parent.parent.parent


class Complaint(NamedTuple):
    """An error of a type checker; the rule says which kind it is."""

    file: str
    line: int
    rule: str


Complaints = dict[Complaint, str]  # with their texts


def mypy(folder: Path, *sources: Path) -> Complaints:
    """The errors of `mypy --strict`.

    :param sources: folders whose packages take the place of the installed ones and of their stubs
    """
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--hide-error-context"),
            *("--follow-imports=silent", f"--cache-dir={folder.parent / 'mypy'}", str(folder)),
        ],
        cwd=folder,
        env={**os.environ, "MYPYPATH": os.pathsep.join(map(str, sources))},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return {
        Complaint(Path(found[1]).name, int(found[2]), found[4]): found[3]
        for found in re.finditer(r"^(.*?):(\d+): error: (.*?)\s+\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    }


def pyright(folder: Path, *sources: Path) -> Complaints:
    """The errors of pyright, set to strict; `sources` as in mypy.

    What it says of unused and private names is about the program alone; of superfluous checks it speaks
    wherever annotations are more exact than those that the program was written for.
    """
    settings = {
        "typeCheckingMode": "strict",
        "reportUnusedImport": False,
        "reportPrivateUsage": False,
        "reportMissingTypeStubs": False,
        "reportUnnecessaryComparison": False,
        "reportUnnecessaryIsInstance": False,
        "reportUnnecessaryCast": False,
        "extraPaths": [str(source) for source in sources],
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    done = subprocess.run(
        [BIN / "pyright", "--pythonpath", sys.executable, "--outputjson", "--project", str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return {
        Complaint(Path(found["file"]).name, found["range"]["start"]["line"] + 1, found["rule"]): found[
            "message"
        ]
        for found in json.loads(done.stdout)["generalDiagnostics"]
        if found["severity"] == "error"
    }
