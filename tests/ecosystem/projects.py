"""The libraries whose own tests are run: each with its version, and what it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

PYTEST = "pytest==9.0.1"
SUPPLIED = Path(__file__).parent / "supplied"


@dataclass(frozen=True)
class Project:
    """A library that uses pika, from the package registry.

    :param name: of the distribution
    :param version: of the distribution
    :param what: it is, for the table
    :param passes: tests that pass on pika: with fewer the row is worth nothing, and fails
    :param tests: paths below its sources
    :param also: more requirements, each with its version
    :param env: more environment for its tests
    :param source: the distribution that has the tests
    :param without: tests that are not run (an expression of `pytest -k`), and why
    :param timeout: seconds for one run
    """

    name: str
    version: str
    what: str
    passes: int
    tests: tuple[str, ...] = ("tests",)
    also: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    source: str = "sdist"
    without: tuple[str, str] | None = None
    extra: str = ""
    options: tuple[str, ...] = ()
    timeout: float = 180.0

    @property
    def folder(self) -> str:
        """Of its environment."""
        return self.name

    @property
    def requirement(self) -> str:
        """For pip."""
        return f"{self.name}=={self.version}"

    @property
    def requirements(self) -> list[str]:
        """All that its tests need."""
        own = f"{self.name}{self.extra}=={self.version}"
        return [own, PYTEST, *self.also]

    def supplied(self) -> dict[str, str]:
        """Files that its tests import and its sdist leaves out, as path -> text: our own, see `supplied/`."""
        folder = SUPPLIED / self.name
        return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*.py")}


PROJECTS = (
    Project(
        "dramatiq",
        "2.2.1",
        "background tasks; its RabbitMQ broker and workers",
        25,
        tests=("tests/test_rabbitmq.py",),
        without=(
            "not test_rabbitmq_workers_handle_rabbit_failures_gracefully",
            "stops the machine's broker by rabbitmqctl, which others use",
        ),
        extra="[rabbitmq]",
        also=("pytest-cov==7.0.0",),
    ),
    Project(
        "opentelemetry-instrumentation-pika",
        "0.66b1",
        "OpenTelemetry's instrumentation, its own tests",
        30,
        also=("opentelemetry-test-utils==0.66b1", "pytest-rerunfailures==16.1"),
    ),
    Project(
        "django-rmq",
        "1.0.5",
        "producers and consumers for Django",
        80,
        also=("pytest-django==4.11.1", "pytest-mock==3.15.1"),
    ),
    Project("flask-rmq", "0.1.1", "producers and consumers for Flask", 18),
    Project(
        "pyrmq", "4.0.0", "publisher with retries, consumer with dead letters", 22, tests=("pyrmq/tests",)
    ),
    Project(
        "casbin-rabbitmq-watcher",
        "1.7.0",
        "tells casbin's enforcers of changed policies",
        7,
        source="wheel",
        without=("not test_with_enforcer", "reads a file that neither wheel nor sdist has"),
    ),
    Project(
        "workflows",
        "3.0",
        "distributed processing; its transport over pika",
        20,
        tests=("tests/transport/test_pika.py",),
        also=("pytest-mock==3.15.1", "pytest-timeout==2.4.0"),
    ),
    Project(
        "yapw",
        "0.2.3",
        "consumers with error and signal handling, blocking and on asyncio",
        94,
    ),
    Project(
        "imio.amqp",
        "0.4.0",
        "publishers and consumers on SelectConnection",
        11,
        tests=("src/imio/amqp/tests",),
    ),
    Project("talus", "1.3.4", "producers and consumers that reconnect", 169, tests=("talus/tests",)),
    Project("rabbitmq-easy", "1.1.1", "a manager of exchanges, queues and messages", 60),
    Project("bunnystream", "1.0.7", "an event bus; publishing and consuming events", 383),
)
