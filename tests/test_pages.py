"""The code on the documentation's pages runs, and each block that does not says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.certs import Certificates
from support.nodes import LocalNode
from support.pages import LANGUAGES, MARKS, RUNNABLE, Runner, blocks

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = sorted(DOCS.glob("*.md"))
WITH_CODE = [page for page in PAGES if any("not run" not in block.marks for block in blocks(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        assert block.language in LANGUAGES, f"{where}: a language that is not known: {block.language}"
        unknown = {mark for mark in block.marks if mark not in MARKS and not mark.startswith("SIG")}
        assert not unknown, f"{where}: unknown marks {unknown}"
        if block.language not in RUNNABLE:
            assert {"file", "not run"} & set(block.marks), f"{where}: neither a file nor 'not run'"
        assert block.marks.get("not run") != "", f"{where}: 'not run' without a reason"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_the_code_on_a_page_runs(
    page: Path, tls_node: LocalNode, certificates: Certificates, tmp_path: Path
) -> None:
    runner = Runner(tmp_path, tls_node.port)
    runner.environment.update(TLS_PORT=str(tls_node.tls_port))
    for name in ("ca.pem", "client.pem", "client.key"):
        (tmp_path / name).symlink_to(Path(certificates.authority).with_name(name))
    for block in blocks(page):
        runner.run(block)
