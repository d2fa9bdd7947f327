"""Runs modes one after the other, each in a process of its own, and says what they found.

    python -m torture [--seconds S] [--seed N] [--mode MODE,...] [--round N] [--list]

MODE is a room, a target, or both (`signals/rabbitmq`).  Without a round, a mode goes on until its seconds are
over; a process that hung or crashed is followed by another one, which begins with the next round.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support import sanitizers

from .control import Control, ScriptedServer
from .report import HUNG_STATUS

TESTS = Path(__file__).resolve().parents[1]
GRACE = 60.0  # seconds that a child may take to come to its end
AMISS = ("Exception ignored", "Sanitizer", "runtime error", "Fatal Python error", "Traceback (most recent")
SANITIZERS = {"address": "address,undefined", "thread": "thread"}
TARGETS = ("scripted", "tls", "rabbitmq", "rabbitmq-tls")


class Outcome:
    """What a mode did and found."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.first: dict[str, str] = {}  # by kind: when it was found first
        self.began = time.monotonic()

    def found(self, kind: str, number: int, count: int = 1) -> None:
        """A violation."""
        if kind not in self.first:
            self.first[kind] = f"round {number}, after {time.monotonic() - self.began:.0f} s"
        self.kinds[kind] += count


class Child:
    """One process of a mode."""

    def __init__(
        self, options: argparse.Namespace, outcome: Outcome, command: list[str], environment: Any
    ) -> None:
        self.options, self.outcome = options, outcome
        self.counts: dict[str, int] = {}
        self.kinds: dict[str, int] = {}
        self.round = 0
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=environment
        )

    def read(self) -> None:
        """Reads what it says until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            hear(self.outcome, line, self)

    def finish(self, seconds: float, server: ScriptedServer | None) -> bool:
        """Waits for its end; returns whether it ended as it should."""
        reader = threading.Thread(target=self.read)
        reader.start()
        standstill = True
        try:
            reader.join(seconds + GRACE)
            standstill = reader.is_alive()
        finally:
            if standstill:
                self.process.kill()
        reader.join()
        status = self.process.wait()
        self.outcome.counts.update(self.counts)
        for kind, count in self.kinds.items():
            self.outcome.found(kind, self.round, count)
        self.errors.seek(0)
        said = self.errors.read()
        amiss = [word for word in AMISS if word in said]
        if status not in (0, HUNG_STATUS) or amiss:
            what = "standstill" if standstill else ", ".join(amiss) or f"exit status {status}"
            self.outcome.found(f"stderr: {what}" if amiss else what, self.round)
            print(
                f"== {self.outcome.mode}, round {self.round}: ended with {status}: {what}\n{shortened(said)}"
            )
        elif self.kinds and said:  # where it was broken off, Python says what it has ignored, and where
            print(f"== {self.outcome.mode}: its stderr\n{shortened(said)}")
        if status != 0 and server is not None:
            frames = Control(server.control_port)("frames")["frames"]
            print(
                "   frames:\n"
                + "\n".join(f"   {n}: {line}" for n, log in frames.items() for line in log[-40:])
            )
        self.errors.close()
        return status == 0


def shortened(text: str, size: int = 12_000) -> str:
    """The beginning and the end of a long text."""
    return text if len(text) <= 2 * size else f"{text[:size]}\n...\n{text[-size:]}"


def hear(outcome: Outcome, line: str, child: Child | None = None) -> None:
    """One line of a child's, or of the scripted server's."""
    word, _, rest = line.partition(" ")
    if word == "COUNTS" and child is not None:
        said = json.loads(rest)
        child.counts, child.kinds, child.round = said["counts"], said["kinds"], said["round"]
    elif word == "VIOLATION":
        said = json.loads(rest)
        if child is None:
            outcome.found(said["kind"], said["round"])
        elif said["kind"] not in outcome.first:
            outcome.found(said["kind"], said["round"], 0)
        show(said)
    else:
        print(line, end="")


def show(said: dict[str, Any]) -> None:
    """Prints a violation with all that is known of it."""
    replay = f"--mode {said['mode']} --seed {said['seed']} --round {said['round']}"
    print(f"== {said['kind']}\n   {said['text']}\n   again with: {replay}")
    if said["facts"]:
        print("   " + json.dumps(said["facts"], indent=1).replace("\n", "\n   "))
    for owner, entries in said["log"].items():
        print(f"   -- {owner}")
        print("\n".join(f"   {entry}" for entry in entries))
    if said["stacks"]:
        print("   -- stacks\n" + said["stacks"])
    sys.stdout.flush()


# ---- modes ----


def all_modes() -> list[str]:
    """Every room with every target that it has."""
    from .rooms import ROOMS

    return [f"{room}/{target}" for room in ROOMS for target in TARGETS if target in ROOMS[room].targets]


def chosen_modes(wish: str) -> list[str]:
    """The modes that a comma-separated list of modes, rooms and targets means."""
    if not wish:
        return all_modes()
    words = wish.split(",")
    modes = [m for m in all_modes() if any(w == m or w in m.split("/") for w in words)]
    known = {part for mode in all_modes() for part in (mode, *mode.split("/"))}
    if set(words) - known:
        sys.exit(f"no such mode: {', '.join(sorted(set(words) - known))}; see --list")
    return modes


@contextlib.contextmanager
def target_of(
    mode: str, options: argparse.Namespace, folder: Path
) -> Iterator[tuple[list[str], ScriptedServer | None]]:
    """What a child is told about its target; the scripted server where it is one."""
    name = mode.partition("/")[2]
    if name == "rabbitmq":
        yield ["--url", options.url], None
        return
    certificate, more = None, []
    if "tls" in name:
        from support.certs import Certificates

        certificates = Certificates(folder)
    if name == "rabbitmq-tls":
        from support.nodes import tls_broker

        with tls_broker(certificates) as node:
            yield ["--url", node.tls_url, "--authority", certificates.authority], None
        return
    if name == "tls":
        certificate = certificates.server_cert, certificates.server_key
        more = ["--authority", certificates.authority]
    server = ScriptedServer(certificate)
    scheme = "amqps" if name == "tls" else "amqp"
    url = f"{scheme}://guest:guest@127.0.0.1:{server.port}/%2F"
    try:
        yield ["--url", url, "--control", str(server.control_port), *more], server
    finally:
        server.close()


def run_mode(mode: str, options: argparse.Namespace, folder: Path) -> Outcome:
    """All rounds of a mode."""
    outcome = Outcome(mode)
    environment = {
        **os.environ,
        "PYTHONPATH": str(TESTS),
        **options.environment,
    }
    with target_of(mode, options, folder) as (arguments, server):
        listener = None
        if server is not None:
            listener = threading.Thread(target=lambda: [hear(outcome, line) for line in server.output])
            listener.start()
        end = time.monotonic() + options.seconds
        number = options.round or 1
        while (left := end - time.monotonic()) > 0:
            command = [sys.executable, "-u", "-m", "torture.child", mode, "--seed", str(options.seed)]
            command += ["--round", str(number), "--seconds", str(left), *arguments]
            command += ["--rounds", "1"] if options.round else []
            command += ["--journal"] if options.journal else []
            child = Child(options, outcome, command, environment)
            child.finish(left, server)
            number = child.round + 1
            if options.round or not child.round:
                break
    if listener is not None:
        listener.join()
    return outcome


def table(outcomes: list[Outcome]) -> None:
    """What was done, and what was found."""
    print(
        f"\n{'mode':26} {'rounds':>6} {'operations':>10} {'interrupts':>10} {'messages':>8} {'violations':>9}"
    )
    for outcome in outcomes:
        counts = outcome.counts
        print(
            f"{outcome.mode:26} {counts['rounds']:6} {counts['operations']:10} {counts['interrupts']:10} "
            f"{counts['messages']:8} {sum(outcome.kinds.values()):10}"
        )
        for kind, count in outcome.kinds.most_common():
            print(f"    {count:5} {kind}  ({outcome.first[kind]})")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="for each mode")
    parser.add_argument("--seed", default="", help="of all choices; without it, one by chance")
    parser.add_argument("--mode", default="", help="modes, rooms or targets, with commas between")
    parser.add_argument("--round", type=int, default=0, help="this round only")
    parser.add_argument("--sanitize", choices=sorted(SANITIZERS), help="build the extension so, and use it")
    parser.add_argument("--journal", action="store_true", help="print what was done in each round")
    parser.add_argument("--list", action="store_true", help="say which modes there are")
    default_url = os.environ.get("CPIKA_BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")
    parser.add_argument("--url", default=default_url, help="of RabbitMQ")
    options = parser.parse_args()
    options.seed = int(options.seed or random.SystemRandom().randrange(1_000_000))
    options.environment = {}
    if options.sanitize:
        options.environment = sanitizers.environment(SANITIZERS[options.sanitize])
    return options


def main() -> int:
    options = parse()
    if options.list:
        from .rooms import ROOMS

        for mode in all_modes():
            print(f"{mode:26} {ROOMS[mode.partition('/')[0]].about}")
        return 0
    print(f"seed {options.seed}", flush=True)
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        for mode in chosen_modes(options.mode):
            outcomes.append(run_mode(mode, options, Path(folder)))
    table(outcomes)
    return 1 if any(outcome.kinds for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
