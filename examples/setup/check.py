"""Watches the examples run, through the management interface: pass or fail, a line each.

It looks for what the examples promise: consumers acknowledge by hand and hold 1 to 10 messages; tasks and
payments are persistent, order events are not; nobody is guest. It watches until everything has been seen
once, so start it while consumers are at work and messages are in their queues (`--work-seconds` makes work
last). What has not been seen when the time is over has failed.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

# Queue -> are its messages to be persistent?
EXPECTED = {"tasks": True, "payments": True, "order_events.email": False, "order_events.sms": False}
PAUSE = 0.25  # seconds between two looks


class CheckError(Exception):
    """Why nothing can be seen, in one line."""


def natural(text: str) -> int:
    """An integer that is not negative."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Check the examples while they run.")
    add = parser.add_argument
    add("--management-url", default="http://127.0.0.1:15672", help="(default: %(default)s)")
    add("--admin", default="guest", help="who may look there; MANAGEMENT_PASSWORD holds the password")
    add("--vhost", default="/", help="the virtual host (default: %(default)s)")
    add("--prefix", default=os.environ.get("EXAMPLES_PREFIX", ""), help="what is put before every name")
    add("--seconds", type=natural, default=30, help="how long to watch at most (default: %(default)s)")
    return parser.parse_args()


class Management:
    """The management interface over HTTP, read only."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.url = args.management_url.rstrip("/")
        self.vhost = urllib.parse.quote(args.vhost, safe="")
        password = os.environ.get("MANAGEMENT_PASSWORD", "guest")
        token = base64.b64encode(f"{args.admin}:{password}".encode()).decode()
        self.headers = {"Authorization": f"Basic {token}"}

    def get(self, what: str) -> list[dict[str, object]]:
        """Everything of one kind in the virtual host."""
        path = f"vhosts/{self.vhost}/{what}" if what == "connections" else f"{what}/{self.vhost}"
        request = urllib.request.Request(f"{self.url}/api/{path}", headers=self.headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise CheckError(f"{self.url}: {what}: {error.code} {error.reason}") from None
        except (OSError, ValueError) as error:
            raise CheckError(f"{self.url}: {error}") from None


class Report:
    """One verdict for each line: None until something was seen, then a failure stays a failure."""

    def __init__(self) -> None:
        self.lines: dict[str, bool | None] = {}
        self.seen: dict[str, str] = {}

    def expect(self, line: str) -> None:
        self.lines[line] = None

    def see(self, line: str, good: bool, seen: object) -> None:
        if self.lines[line] is not False:
            self.lines[line] = good
            self.seen[line] = str(seen)

    def complete(self) -> bool:
        return None not in self.lines.values()

    def show(self) -> bool:
        """Print all lines; return whether all passed."""
        for line, good in self.lines.items():
            if good:
                print(f"pass  {line}")
            else:
                print(f"fail  {line} ({self.seen.get(line, 'not seen')})")
        return all(self.lines.values())


def by_hand(queue: str) -> str:
    return f"{queue}: consumers acknowledge by hand"


def prefetch(queue: str) -> str:
    return f"{queue}: consumers hold 1 to 10 messages"


def stored(queue: str) -> str:
    return f"{queue}: messages are {'persistent' if EXPECTED[queue] else 'transient'}"


USER = "every connection has a user of its own, none is guest"


def look(management: Management, prefix: str, report: Report) -> None:
    """Take one look and enter what can be seen."""
    for consumer in management.get("consumers"):
        queue = consumer["queue"]["name"].removeprefix(prefix)
        if queue in EXPECTED:
            report.see(by_hand(queue), consumer["ack_required"], "automatic")
            report.see(prefetch(queue), 1 <= consumer["prefetch_count"] <= 10, consumer["prefetch_count"])
    for details in management.get("queues"):
        queue = details["name"].removeprefix(prefix)
        if queue in EXPECTED and details.get("message_bytes"):
            total, persistent = details["message_bytes"], details["message_bytes_persistent"]
            wanted = total if EXPECTED[queue] else 0
            report.see(stored(queue), persistent == wanted, f"{persistent} of {total} bytes persistent")
    users = {connection["user"] for connection in management.get("connections")}
    if users:
        report.see(USER, "guest" not in users, ", ".join(sorted(users)))


def watch(args: argparse.Namespace) -> Report:
    report = Report()
    for queue in EXPECTED:
        for line in (by_hand(queue), prefetch(queue), stored(queue)):
            report.expect(line)
    report.expect(USER)
    management = Management(args)
    deadline = time.monotonic() + args.seconds
    look(management, args.prefix, report)
    while not report.complete() and time.monotonic() < deadline:
        time.sleep(PAUSE)  # the interface has no way to await a change
        look(management, args.prefix, report)
    return report


def main() -> int:
    args = parse_arguments()
    try:
        return 0 if watch(args).show() else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except CheckError as error:
        print(f"check: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
