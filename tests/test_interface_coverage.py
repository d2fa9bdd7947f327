"""tests/interface.txt lists what pika's users may rely on, and every line of it has a parity scenario."""

from __future__ import annotations

import inspect
from pathlib import Path

import pika
import pika.adapters.blocking_connection
import pika.validators
from parity.harness import MODULES
from parity.scenarios import all_scenarios

LINES = [
    line.split(maxsplit=1)
    for line in Path(__file__).with_name("interface.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]
IDS = [line[0] for line in LINES]
COVERED = {line for scenario in all_scenarios() for line in scenario.covers}


def public(owner: object) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_")}


def test_every_line_has_an_id_of_its_own_and_says_what_it_is() -> None:
    assert len(set(IDS)) == len(IDS)
    assert all(len(line) == 2 for line in LINES)


def test_no_line_is_without_a_scenario() -> None:
    assert sorted(set(IDS) - COVERED) == []


def test_no_scenario_covers_a_line_that_is_not_there() -> None:
    assert sorted(COVERED - set(IDS)) == []


def test_every_scenario_covers_a_line() -> None:
    assert [scenario.name for scenario in all_scenarios() if not scenario.covers] == []


def test_every_public_name_of_connection_and_channel_is_listed() -> None:
    for cls in (pika.BlockingConnection, pika.adapters.blocking_connection.BlockingChannel):
        assert {f"{cls.__name__}.{name}" for name in public(cls)} - set(IDS) == set()


def test_every_parameter_is_listed() -> None:
    names = {name for name in public(pika.connection.Parameters) if name.islower()}
    assert {f"Parameters.{name}" for name in names} - set(IDS) == set()
    arguments = set(inspect.signature(pika.ConnectionParameters).parameters) - {"kwargs"}
    assert {f"Parameters.{name}" for name in arguments} - set(IDS) == set()


def test_every_exception_is_listed() -> None:
    names = {name for name, value in vars(pika.exceptions).items() if inspect.isclass(value)}
    assert {f"exceptions.{name}" for name in names} - set(IDS) == set()


def test_every_method_of_the_specification_is_listed() -> None:
    assert {f"spec.{cls.NAME}" for cls in pika.spec.methods.values()} - set(IDS) == set()


def test_every_module_and_validator_is_listed() -> None:
    assert {f"import.{module}" for module in MODULES} - set(IDS) == set()
    names = {name for name, value in vars(pika.validators).items() if inspect.isfunction(value)}
    assert {f"validators.{name}" for name in names} - set(IDS) == set()


def test_there_are_as_many_scenarios_as_promised() -> None:
    scenarios = all_scenarios()
    assert len(scenarios) >= 220
    assert sum(scenario.broker for scenario in scenarios) >= 130
