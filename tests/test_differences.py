"""Every deliberate difference from pika is one, and the page about them tells of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import parity.loop_differences
import parity.twisted_differences
import parity.wire_differences  # noqa: F401 adds to DIFFERENCES
import pytest
from parity.differences import DIFFERENCES, Difference
from parity.harness import Broker, difference, load

PAGE = Path(__file__).parents[1] / "docs" / "differences.md"
ROWS = {
    cells[1].strip(): (cells[2].strip(), cells[3].strip())
    for cells in (line.split("|") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| "))
}


@pytest.fixture(scope="module")
def broker(broker_url: str) -> Iterator[Broker]:
    broker = Broker.of_this_run()
    yield broker
    broker.close()


@pytest.fixture(scope="module")
def libraries() -> tuple[ModuleType, ModuleType]:
    return load("pika"), load("cpika")


@pytest.mark.parametrize("deliberate", DIFFERENCES, ids=lambda deliberate: deliberate.play.scenario.name)
def test_a_deliberate_difference_is_one(
    deliberate: Difference, libraries: tuple[ModuleType, ModuleType], broker: Broker
) -> None:
    assert difference(deliberate.play, *libraries, broker) != ""


@pytest.mark.parametrize("deliberate", DIFFERENCES, ids=lambda deliberate: deliberate.play.scenario.name)
def test_the_page_tells_of_a_deliberate_difference(deliberate: Difference) -> None:
    assert deliberate.title in ROWS
    pika, cpika = ROWS[deliberate.title]
    assert (pika, cpika) == (deliberate.pika, deliberate.cpika)
