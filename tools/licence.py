#!/usr/bin/env python3
"""Puts the licence of the rabbitmq-c that a wheel has linked into the wheel, as its terms ask.

    python tools/licence.py WHEEL LICENCE

The file goes where licences of a wheel stand, is named in its metadata and entered in its record.  Safe to
repeat.  Standard library only: cibuildwheel calls it with whatever Python its images have.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from pathlib import Path

NAME = "rabbitmq-c/LICENSE"


def entry(name: str, content: bytes) -> str:
    """A line of RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}"


def with_licence(metadata: bytes) -> bytes:
    """The METADATA with one `License-File` more, behind those that stand there."""
    head, blank, body = metadata.partition(b"\n\n")
    lines = head.split(b"\n")
    line = b"License-File: " + NAME.encode()
    if line not in lines:
        places = [number for number, known in enumerate(lines) if known.startswith(b"License-File: ")]
        lines.insert(places[-1] + 1 if places else len(lines), line)
    return b"\n".join(lines) + blank + body


def add_licence(wheel: Path, licence: Path) -> None:
    """Writes the wheel anew, in place, with the licence."""
    with zipfile.ZipFile(wheel) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    (folder,) = {
        info.filename.split("/")[0] for info, _ in members if info.filename.endswith(".dist-info/RECORD")
    }
    added = f"{folder}/licenses/{NAME}"
    text = licence.read_bytes()
    made = wheel.with_suffix(".new")
    record = []
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in members:
            if info.filename in (added, f"{folder}/RECORD"):
                continue
            if info.filename == f"{folder}/METADATA":
                content = with_licence(content)
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
            if not info.is_dir():
                record.append(entry(info.filename, content))
        archive.writestr(added, text)
        lines = [*record, entry(added, text), f"{folder}/RECORD,,", ""]
        archive.writestr(f"{folder}/RECORD", "\n".join(lines))
    made.replace(wheel)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    add_licence(Path(sys.argv[1]), Path(sys.argv[2]))
