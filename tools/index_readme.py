"""README.md as a package index can show it: an index has the text alone, none of the repository's files.

A link into the repository becomes an address below the `Source` of project.urls, and where the project has no
such address yet, what it says as text.  A picture of the repository stays out, unless it has an address.
"""

from __future__ import annotations

import re

PICTURE = re.compile(r"!\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)\n*")
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
CODE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def is_outside(target: str) -> bool:
    """Whether a link works wherever the text stands."""
    return "://" in target or target.startswith(("#", "mailto:"))


def for_index(text: str, source: str = "") -> str:
    """The text of README.md with links and pictures that work on an index.

    :param source: address below which the repository's files are, or nothing
    """

    def address(target: str) -> str:
        return f"{source.rstrip('/')}/{target}" if source else ""

    def picture(found: re.Match[str]) -> str:
        if is_outside(found["target"]):
            return found[0]
        return found[0].replace(found["target"], address(found["target"])) if source else ""

    def link(found: re.Match[str]) -> str:
        if is_outside(found["target"]):
            return found[0]
        return f"[{found['text']}]({address(found['target'])})" if source else found["text"]

    parts = CODE.split(text)
    parts[::2] = [LINK.sub(link, PICTURE.sub(picture, part)) for part in parts[::2]]
    return "".join(parts)
