"""The parity tests: every scenario, played on pika and on cpika in one run, shows the user the same."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from parity.harness import Broker, Play, Scenario, difference, load, subject_name
from parity.scenarios import all_plays

PLAYS = all_plays()


@pytest.fixture(scope="session")
def oracle() -> ModuleType:
    return load("pika")


@pytest.fixture(scope="session")
def subject() -> ModuleType:
    return load(subject_name())


@pytest.fixture(scope="session")
def broker(broker_url: str) -> Iterator[Broker]:
    broker = Broker.of_this_run()
    yield broker
    broker.close()


@pytest.mark.parametrize("part", PLAYS, ids=lambda part: part.id)
def test_pika_and_cpika_show_the_user_the_same(
    part: Play, oracle: ModuleType, subject: ModuleType, broker: Broker
) -> None:
    diff = difference(part, oracle, subject, broker)
    if diff:
        pytest.fail(f"{part.id}\n{diff}", pytrace=False)


def test_scenario_names_are_unique() -> None:
    ids = [part.id for part in PLAYS]
    assert sorted(set(ids)) == sorted(ids)


class Altered:
    """A library that is pika but for the names it is given."""

    __name__ = "altered"

    def __init__(self, library: Any, **names: Any) -> None:
        self._library = library
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)


def _alteration_of_a_value(pika: Any) -> dict[str, Any]:
    return {"__version__": "0"}


def _alteration_of_a_repr(pika: Any) -> dict[str, Any]:
    class BasicProperties(pika.BasicProperties):
        def __repr__(self) -> str:
            return "<BasicProperties>"

    return {"BasicProperties": BasicProperties}


def _alteration_of_an_exception_text(pika: Any) -> dict[str, Any]:
    class ConnectionParameters(pika.ConnectionParameters):
        def __init__(self, **given: Any) -> None:
            try:
                super().__init__(**given)
            except TypeError:
                raise TypeError("no such parameter") from None

    return {"ConnectionParameters": ConnectionParameters}


def _alteration_of_an_exception_type(pika: Any) -> dict[str, Any]:
    class ConnectionParameters(pika.ConnectionParameters):
        def __init__(self, **given: Any) -> None:
            try:
                super().__init__(**given)
            except TypeError as error:
                raise ValueError(*error.args) from None

    return {"ConnectionParameters": ConnectionParameters}


def _alteration_of_the_order_of_callbacks(pika: Any) -> dict[str, Any]:
    class BlockingConnection(pika.BlockingConnection):
        def call_later(self, delay: float, callback: Any) -> Any:
            return super().call_later(0.05 - delay, callback)

    return {"BlockingConnection": BlockingConnection}


def _one_of_each(pika: Any, env: Any) -> None:
    env.show("version", pika.__version__)
    env.show("properties", pika.BasicProperties(content_type="text/plain"))
    env.call("parameters", pika.ConnectionParameters, color="red")
    connection = env.connect()
    fired: list[Any] = []
    connection.call_later(0.0, lambda: (fired.append("first"), env.show("fired", "first")))
    connection.call_later(0.05, lambda: (fired.append("second"), env.show("fired", "second")))
    env.pump(connection, lambda: len(fired) == 2)


ONE_OF_EACH = Scenario(_one_of_each, (), True, None).plays()[0]


@pytest.mark.parametrize(
    "alteration",
    [
        _alteration_of_a_value,
        _alteration_of_a_repr,
        _alteration_of_an_exception_text,
        _alteration_of_an_exception_type,
        _alteration_of_the_order_of_callbacks,
    ],
)
def test_a_deliberate_difference_is_caught(alteration: Any, oracle: ModuleType, broker: Broker) -> None:
    altered = Altered(oracle, **alteration(oracle))
    diff = difference(ONE_OF_EACH, oracle, altered, broker)
    assert diff.startswith("--- pika\n+++ altered\n"), diff


def test_equal_libraries_show_no_difference(oracle: ModuleType, broker: Broker) -> None:
    assert difference(ONE_OF_EACH, oracle, Altered(oracle), broker) == ""


def test_a_scenario_that_fails_on_pika_itself_is_reported_as_wrong(
    oracle: ModuleType, broker: Broker
) -> None:
    def broken(pika: Any, env: Any) -> None:
        env.no_such_helper()

    with pytest.raises(AssertionError, match="the scenario is wrong"):
        difference(Scenario(broken, (), False, None).plays()[0], oracle, oracle, broker)


def test_a_scenario_that_records_nothing_is_reported_as_wrong(oracle: ModuleType, broker: Broker) -> None:
    with pytest.raises(AssertionError, match="records nothing"):
        difference(Scenario(lambda pika, env: None, (), False, None).plays()[0], oracle, oracle, broker)
