"""Makes the user that the examples run as, with the least permissions they need.

The user may declare, write and read the examples' own exchanges and queues, and nothing else: not the default
exchange, not the management page. It is made through the management interface (a container, or any node that
has the plugin), or else by `rabbitmqctl` on the node's machine. Its URL goes into a file that only you can
read, and the examples find it there. The password is the one you give, else the one saved already, else a new
random one. Running this again changes nothing unless you give another password.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import pathlib
import re
import secrets
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

import pika
import pika.exceptions

NAMES = r"(tasks(\.rejected)?|order_events(\.(email|sms))?|payments(\.(retry|dead))?)"
HERE = pathlib.Path(__file__).resolve().parent


class SetupError(Exception):
    """What could not be done, in one line."""


class Management:
    """The management interface over HTTP."""

    def __init__(self, url: str, admin: str, password: str) -> None:
        self.url = url.rstrip("/")
        token = base64.b64encode(f"{admin}:{password}".encode()).decode()
        self.headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}

    def request(self, verb: str, *path: str, **fields: str) -> object:
        """Send one request; return the answer's JSON, None if it has none."""
        address = "/".join([self.url, "api", *(urllib.parse.quote(part, safe="") for part in path)])
        data = json.dumps(fields).encode() if fields else None
        request = urllib.request.Request(address, data=data, headers=self.headers, method=verb)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise SetupError(f"{self.url}: {verb} {path[0]}: {error.code} {self.reason(error)}") from None
        except (OSError, ValueError) as error:
            raise SetupError(f"{self.url}: {error}") from None

    @staticmethod
    def reason(error: urllib.error.HTTPError) -> str:
        """What the node says about a refused request."""
        try:
            return str(json.loads(error.read())["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return error.reason

    def answers(self) -> bool:
        try:
            self.request("GET", "overview")
        except SetupError:
            return False
        return True

    def has_user(self, name: str) -> bool:
        return any(user["name"] == name for user in self.request("GET", "users"))

    def put_user(self, name: str, password: str, *, exists: bool) -> None:
        self.request("PUT", "users", name, password=password, tags="")

    def permit(self, name: str, vhost: str, pattern: str) -> None:
        self.request("PUT", "permissions", vhost, name, configure=pattern, write=pattern, read=pattern)


class Rabbitmqctl:
    """The command-line tool of a node on this machine."""

    def __init__(self, node: str) -> None:
        self.environment = {**os.environ, **({"RABBITMQ_NODENAME": node} if node else {})}

    def run(self, *arguments: str, typed: str = "") -> str:
        """Run one command; `typed` is what it asks for, so that no password is seen in a process list.

        RabbitMQ 4's tool reads what is typed only where no option stands beside the command and the name.
        """
        options = [] if typed else ["--quiet"]
        try:
            done = subprocess.run(
                ["rabbitmqctl", *options, *arguments],
                env=self.environment,
                input=typed,
                capture_output=True,
                text=True,
                timeout=60,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SetupError(f"rabbitmqctl {arguments[0]}: {error}") from None
        if done.returncode:
            lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
            raise SetupError(f"rabbitmqctl {arguments[0]}: {lines[0] if lines else done.returncode}")
        return done.stdout

    def has_user(self, name: str) -> bool:
        return any(user["user"] == name for user in json.loads(self.run("list_users", "--formatter", "json")))

    def put_user(self, name: str, password: str, *, exists: bool) -> None:
        self.run("change_password" if exists else "add_user", name, typed=password + "\n")
        self.run("set_user_tags", name)

    def permit(self, name: str, vhost: str, pattern: str) -> None:
        self.run("set_permissions", "--vhost", vhost, name, pattern, pattern, pattern)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make the user that the examples run as.")
    add = parser.add_argument
    add("--name", default="dev_user", help="its name (default: %(default)s)")
    add("--password-file", help="holds its password, one line; - is standard input")
    add(
        "--save",
        type=pathlib.Path,
        default=HERE / "dev_user.url",
        help="where its URL goes (default: %(default)s)",
    )
    add("--print-url", action="store_true", help="print its URL, with the password")
    add("--host", default="127.0.0.1", help="the broker (default: %(default)s)")
    add("--port", type=int, default=5672, help="the broker's port (default: %(default)s)")
    add("--vhost", default="/", help="the virtual host (default: %(default)s)")
    add("--prefix", default=os.environ.get("EXAMPLES_PREFIX", ""), help="what is put before every name")
    add("--via", choices=("management", "rabbitmqctl"), help="how (default: management if it answers)")
    add("--management-url", default="http://127.0.0.1:15672", help="(default: %(default)s)")
    add("--admin", default="guest", help="an administrator there; MANAGEMENT_PASSWORD holds the password")
    add("--node", default="", help="the node for rabbitmqctl, where it is not the default one")
    args = parser.parse_args()
    if args.name == "guest":
        parser.error("argument --name: guest is nobody of our own")
    return args


def choose_way(args: argparse.Namespace) -> Management | Rabbitmqctl:
    management = Management(args.management_url, args.admin, os.environ.get("MANAGEMENT_PASSWORD", "guest"))
    if args.via == "management" or (args.via is None and management.answers()):
        return management
    if args.via == "rabbitmqctl" or shutil.which("rabbitmqctl"):
        return Rabbitmqctl(args.node)
    raise SetupError(f"no management interface at {args.management_url}, and no rabbitmqctl here")


def choose_password(args: argparse.Namespace) -> str:
    """The password given, else the one saved for this user, else a new one."""
    if args.password_file:
        given = (
            sys.stdin.read() if args.password_file == "-" else pathlib.Path(args.password_file).read_text()
        )
        password = given.partition("\n")[0]
        if not password:
            raise SetupError("the password given is empty")
        return password
    if args.save.exists():
        saved = urllib.parse.urlsplit(args.save.read_text().strip())
        if saved.username == urllib.parse.quote(args.name, safe="") and saved.password:
            return urllib.parse.unquote(saved.password)
    return secrets.token_urlsafe(24)


def save(path: pathlib.Path, url: str) -> None:
    """Write the URL into a file that only its owner can read."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        os.fchmod(file.fileno(), 0o600)  # it may be an older file
        file.write(url + "\n")


def run(args: argparse.Namespace) -> None:
    if not args.save.parent.is_dir():
        raise SetupError(f"no folder {args.save.parent} to save the URL in")
    way = choose_way(args)
    password = choose_password(args)
    exists = way.has_user(args.name)
    way.put_user(args.name, password, exists=exists)
    print(f"{args.name} {'was there' if exists else 'made'}")
    pattern = f"^{re.escape(args.prefix)}{NAMES}$"
    way.permit(args.name, args.vhost, pattern)
    print(f"{args.name} may declare, write and read {pattern} in {args.vhost}")
    user, secret, vhost = (urllib.parse.quote(part, safe="") for part in (args.name, password, args.vhost))
    url = f"amqp://{user}:{secret}@{args.host}:{args.port}/{vhost}"
    with pika.BlockingConnection(pika.URLParameters(url)):
        print(f"{args.name} can connect")
    save(args.save, url)
    print(f"URL saved in {args.save}")
    if args.print_url:
        print(url)


def main() -> int:
    args = parse_arguments()
    try:
        run(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (SetupError, pika.exceptions.AMQPError, OSError) as error:
        print(
            f"make user: {error!r}"
            if isinstance(error, pika.exceptions.AMQPError)
            else f"make user: {error}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
