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
from collections.abc import Callable
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


def rewrite(wheel: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Writes the wheel anew, in place, with what `change` makes of its members; the record follows."""
    with zipfile.ZipFile(wheel) as archive:
        infos = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        members = {name: archive.read(name) for name in infos}
    (record,) = (name for name in members if name.endswith(".dist-info/RECORD"))
    del members[record]
    change(members)
    made = wheel.with_suffix(".new")
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(infos.get(name, name), content, zipfile.ZIP_DEFLATED)
        lines = [entry(name, content) for name, content in members.items()]
        archive.writestr(record, "\n".join([*lines, f"{record},,", ""]))
    made.replace(wheel)


def add_licence(wheel: Path, licence: Path) -> None:
    """Puts the licence into the wheel."""

    def change(members: dict[str, bytes]) -> None:
        (metadata,) = (name for name in members if name.endswith(".dist-info/METADATA"))
        members[metadata] = with_licence(members[metadata])
        members[f"{metadata.rpartition('/')[0]}/licenses/{NAME}"] = licence.read_bytes()

    rewrite(wheel, change)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    add_licence(Path(sys.argv[1]), Path(sys.argv[2]))
