"""A small choice of `make ecosystem`, and the command itself: what differs is told, and what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ecosystem import __main__ as command
from ecosystem import traced
from ecosystem.agents import AGENTS
from ecosystem.projects import PROJECTS, SUPPLIED, Project
from ecosystem.small import SMALL
from ecosystem.tests_of import Outcome

TESTS = Path(__file__).parent
FLASK = next(project for project in PROJECTS if project.name == "flask-rmq")


@pytest.mark.timeout(300)  # where the set-up has not installed them yet
@pytest.mark.parametrize("name", SMALL)
def test_an_entry_of_the_small_choice_gives_the_same_on_both_libraries(name: str, broker_url: str) -> None:
    [entry] = [entry for entry in (*PROJECTS, *AGENTS) if entry.name == name]
    row = command.run_entry(entry, broker_url)
    assert row.complaints == []


class WithoutSources(Project):
    """An entry whose tests are in a distribution that does not exist."""

    @property
    def requirement(self) -> str:
        return "cpika-ecosystem-missing==1.0"


@pytest.mark.skipif(not SMALL, reason="the pinned releases do not take this CPython")
def test_a_distribution_that_cannot_be_had_fails_its_row(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    [told] = command.run_entry(WithoutSources(**vars(FLASK)), broker_url).complaints
    assert "cpika-ecosystem-missing==1.0" in told


def test_fewer_tests_than_promised_fail_the_row() -> None:
    outcome = {"one": "passed", "two": "failed"}
    told = command.compare_tests(
        replace(FLASK, passes=2), Outcome(outcome, used="pika"), Outcome(outcome, used="cpika")
    )
    assert told == ["fewer than 2 tests pass on pika; failed: two"]


def test_a_test_that_ends_otherwise_is_named() -> None:
    on_pika = Outcome({"one": "passed", "two": "failed", "three": "passed"}, used="pika")
    on_cpika = Outcome({"one": "failed", "two": "failed"}, used="cpika")
    assert command.compare_tests(FLASK, on_pika, on_cpika)[-2:] == [
        "one: on pika passed, on cpika failed",
        "three: on pika passed, on cpika missing",
    ]


def test_tests_that_did_not_run_on_the_library_in_question_fail_the_row() -> None:
    told = command.compare_tests(replace(FLASK, passes=0), Outcome(used="pika"), Outcome(used="pika"))
    assert told == ["on cpika: the tests imported pika"]


def test_a_test_that_passes_at_a_later_try_is_counted() -> None:
    outcome = Outcome({"one": "failed", "two": "failed", "three": "skipped"})
    outcome.add(Outcome({"one": "passed", "two": "failed"}))
    assert (str(outcome), outcome.again) == ("1 / 1 / 1 (1 again)", {"one"})


def session(library: str, **span: object) -> traced.Session:
    """A session of one scene with one span."""
    scene = {"saw": ["at 0x7f00deadbeef"], "spans": [{"name": "send", "id": 5, "parent": None, **span}]}
    return traced.Session({"scene": traced.numbered(scene)}, library)


def test_identifiers_and_addresses_are_no_differences() -> None:
    other = session("cpika", id=77)
    assert traced.differences(session("pika"), other) == {}
    assert other.scenes["scene"] == {"saw": ["at ..."], "spans": [{"name": "send", "id": 1, "parent": None}]}


def test_attributes_parents_and_missing_spans_are_differences() -> None:
    one, other = session("pika", attributes={"key": "a"}), session("cpika", attributes={"key": "b"}, parent=5)
    assert traced.differences(one, other) == {
        "scene": [
            "spans[0].parent: on pika None, on cpika 1",
            "spans[0].attributes.key: on pika 'a', on cpika 'b'",
        ]
    }
    other.scenes["scene"]["spans"] = []
    assert traced.differences(one, other) == {"scene": ["spans: on pika 1 spans: ['send'], on cpika []"]}


def test_every_requirement_is_pinned_and_every_entry_says_what_it_is() -> None:
    names = [entry.name for entry in (*PROJECTS, *AGENTS)]
    assert len(set(names)) == len(names)
    assert len(PROJECTS) >= 8
    for entry in (*PROJECTS, *AGENTS):
        assert entry.what
        assert [name for name in entry.requirements if name.count("==") != 1] == []


def test_what_is_supplied_is_for_an_entry() -> None:
    assert {path.name for path in SUPPLIED.iterdir()} <= {project.name for project in PROJECTS}


def test_the_command_prints_a_table_and_refuses_unknown_names() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ecosystem", *arguments],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            capture_output=True,
            text=True,
        )

    assert "no entry is called nonsense" in run("flask-rmq,nonsense").stderr
    listed = run("--list").stdout.splitlines()
    assert len(listed) == len(PROJECTS) + len(AGENTS)
