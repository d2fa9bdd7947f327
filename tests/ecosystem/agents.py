"""The tracing agents under which a program of ours is run on pika and on cpika."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Agent:
    """A tracing agent from the package registry.

    :param name: for the table
    :param what: it is, for the table
    :param requirements: each with its version; the first one is the agent
    :param module: of `inside/agent_MODULE.py`, which knows how to start it and what it has recorded; the name
        where empty
    :param before: a program that starts python, {bin} being the folder of the environment's programs
    :param script: one of those programs that starts python and is itself run by it
    :param spans: that it records on pika at least: with fewer the row is worth nothing, and fails
    """

    name: str
    what: str
    requirements: tuple[str, ...]
    spans: int
    module: str = ""
    before: tuple[str, ...] = ()
    script: str = ""

    @property
    def folder(self) -> str:
        """Of its environment."""
        return f"agent-{self.name}"

    @property
    def version(self) -> str:
        """Of the agent."""
        return self.requirements[0].split("==")[1]


AGENTS = (
    Agent(
        "opentelemetry",
        "OpenTelemetry's instrumentation of pika, exporter in memory",
        ("opentelemetry-instrumentation-pika==0.66b1", "opentelemetry-sdk==1.45.1"),
        30,
    ),
    Agent(
        "opentelemetry-instrument",
        "the same, put in by python [-m cpika] opentelemetry-instrument python",
        ("opentelemetry-instrumentation-pika==0.66b1", "opentelemetry-distro==0.66b1"),
        30,
        module="opentelemetry",
        script="opentelemetry-instrument",
    ),
    Agent("newrelic", "New Relic's agent, developer mode", ("newrelic==14.1.0",), 20),
    Agent(
        "newrelic-admin",
        "the same, put in by newrelic-admin run-program python [-m cpika]",
        ("newrelic==14.1.0",),
        20,
        module="newrelic",
        before=("{bin}/newrelic-admin", "run-program"),
    ),
    Agent("instana", "Instana's sensor, its own test mode", ("instana==3.20.0",), 20),
    # 1.3.0 as it is in the registry lacks the modules of its protocol, and cannot be imported.
    Agent("skywalking", "SkyWalking's agent, without its reporter", ("apache-skywalking==1.2.0",), 20),
    Agent("autodynatrace", "Dynatrace's SDK, put in by itself", ("autodynatrace==2.1.1",), 20),
    Agent("apminsight", "Site24x7's agent, without its reporter", ("apminsight==1.8.4",), 20),
)
