"""Programs typed for pika: what type checkers accept on pika they accept on cpika.

Two kinds of programs: those of tests/typing/programs, and one that makes every call that pika's annotations
allow. Two sources of annotations: pika's own, and its stubs of typeshed (`types-pika-ts`). Two checkers.
"""

from __future__ import annotations

import importlib.util
import re
import secrets
import shutil
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Callable

import pika
import pytest
from cpika import BasicProperties, BlockingConnection, ConnectionParameters, URLParameters, spec
from support.type_checkers import Complaint, Complaints, mypy, pyright
from support.typed_calls import classes, program

PROGRAMS = sorted((Path(__file__).parent / "typing" / "programs").glob("*.py"))
PIKA = Path(pika.__file__).parent
CHECKERS: dict[str, Callable[..., Complaints]] = {"mypy": mypy, "pyright": pyright}
# The stubs of pika 1.4 want Python 3.10.
ANNOTATIONS = ("pika's own", "typeshed's") if sys.version_info >= (3, 10) else ("pika's own",)
MODULES = {
    "pika.adapters.asyncio_connection": None,
    "pika.adapters.base_connection": None,
    "pika.adapters.blocking_connection": ["BlockingConnection", "BlockingChannel", "ReturnedMessage"],
    "pika.adapters.gevent_connection": None,
    "pika.adapters.select_connection": None,
    "pika.adapters.tornado_connection": None,
    "pika.adapters.twisted_connection": None,
    "pika.adapters.utils.connection_workflow": None,
    "pika.adapters.utils.nbio_interface": None,
    "pika.adapters.utils.selector_ioloop_adapter": None,
    "pika.amqp_object": None,
    "pika.callback": None,
    "pika.channel": None,
    "pika.connection": None,
    "pika.credentials": ["PlainCredentials", "ExternalCredentials"],
    "pika.data": None,
    "pika.delivery_mode": None,
    "pika.exceptions": None,
    "pika.exchange_type": None,
    "pika.frame": None,
    "pika.spec": None,
    "pika.validators": None,
}
# What pika's annotations allow and nobody should do: the class and what is done with it.
WRONG_IN_PIKA = {
    ("Connection.UpdateSecret", "self.mechanisms"),  # a slip: docs/differences.md
    ("Method", "self.synchronous = value"),  # what a method is cannot be set
    ("Channel", "self.callbacks = value"),  # they are the connection's
    ("Connection", "self.connection_state"),  # typeshed counts the states
    ("ReceivedMessage", "self.method"),  # typeshed's has no fields; Any, as in pika's own
    ("TwistedProtocolConnection", "self.closed = value"),  # the end sets it
    # typeshed makes the class generic, which it is not when the program runs
    ("AbstractSelectorIOLoop", "self.call_later(delay, callback)"),
    ("AbstractSelectorIOLoop", "self.call_later(delay=delay, callback=callback)"),
}
# Classes that cannot be instantiated, in pika neither; there, checkers do not see it.
ABSTRACT = ("Connection", "BaseConnection")


def stubs() -> Path:
    found = importlib.util.find_spec("pika-stubs")
    assert found is not None and found.submodule_search_locations, "types-pika-ts is missing: make setup-test"
    return Path(found.submodule_search_locations[0])


def as_cpika(text: str) -> str:
    return re.sub(r"\bpika\b", "cpika", text)


@pytest.fixture(scope="module", params=ANNOTATIONS)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Path]]:
    """A folder of programs, each for pika and for cpika; and folders to be searched first."""
    root = tmp_path_factory.mktemp("world")
    folder = root / "programs"
    folder.mkdir()
    own = request.param == "pika's own"
    source, suffix = (PIKA, ".py") if own else (stubs(), ".pyi")
    texts = {path.stem: path.read_text(encoding="utf-8") for path in PROGRAMS}
    for module, wanted in MODULES.items():
        file = source.joinpath(*module.split(".")[1:]).with_suffix(suffix)
        texts[f"calls_{module.rpartition('.')[2]}"] = program(file, module, wanted or classes(file))
    for name, text in texts.items():
        (folder / f"pika_{name}.py").write_text(text, encoding="utf-8")
        (folder / f"cpika_{name}.py").write_text(as_cpika(text), encoding="utf-8")
    if not own:
        return folder, []
    # Out of site-packages, where checkers prefer stubs.
    shutil.copytree(PIKA, root / "own" / "pika", ignore=shutil.ignore_patterns("__pycache__"))
    return folder, [root / "own"]


def of(library: str, complaints: Complaints) -> Complaints:
    """The complaints about the programs on a library, by the name that these have in both."""
    prefix = f"{library}_"
    return {
        Complaint(key.file[len(prefix) :], key.line, key.rule): text
        for key, text in complaints.items()
        if key.file.startswith(prefix)
    }


def is_wrong_in_pika(folder: Path, complaint: Complaint) -> bool:
    if not complaint.file.startswith("calls_"):
        return False
    lines = (folder / f"pika_{complaint.file}").read_text(encoding="utf-8").splitlines()
    owner = re.match(r"def use_(\w+)_\d+\(", lines[complaint.line - 2])
    if complaint.rule in ("type-arg", "reportInvalidTypeArguments"):
        return "AbstractSelectorIOLoop[" in lines[complaint.line - 1]
    done = lines[complaint.line - 1].strip().removeprefix("return ")
    if complaint.rule in ("abstract", "reportAbstractUsage"):
        return done.startswith(tuple(f"{name}(" for name in ABSTRACT))
    return owner is not None and (owner[1].replace("_", "."), done) in WRONG_IN_PIKA


@pytest.mark.timeout(240)
@pytest.mark.parametrize("checker", CHECKERS)
def test_a_type_checker_says_nothing_about_cpika_that_it_does_not_say_about_pika(
    checker: str, world: tuple[Path, list[Path]]
) -> None:
    folder, sources = world
    complaints = CHECKERS[checker](folder, *sources)
    on_pika, on_cpika = of("pika", complaints), of("cpika", complaints)
    assert len(of("pika", complaints)) + len(on_cpika) == len(complaints)
    assert {
        key: text
        for key, text in on_cpika.items()
        if key not in on_pika and not is_wrong_in_pika(folder, key)
    } == {}
    if not sources:  # pika's own annotations are not all there: mypy and pyright find faults in any program
        assert {key: text for key, text in on_pika.items() if not key.file.startswith("calls_")} == {}


@pytest.mark.parametrize("checker", CHECKERS)
def test_the_comparison_finds_a_call_that_is_not_allowed(checker: str, tmp_path: Path) -> None:
    folder = tmp_path / "programs"
    folder.mkdir()
    call = "def use(channel: BlockingChannel) -> None:\n    channel.basic_publish(1, '', b'')\n"
    (folder / "cpika_wrong.py").write_text(
        f"from cpika.adapters.blocking_connection import BlockingChannel\n{call}"
    )
    assert [key.line for key in of("cpika", CHECKERS[checker](folder))] == [3]


def test_every_call_is_in_the_programs() -> None:
    text = program(
        PIKA / "adapters" / "blocking_connection.py", "pika.adapters.blocking_connection", ["BlockingChannel"]
    )
    methods = {
        name for name in dir(pika.adapters.blocking_connection.BlockingChannel) if not name.startswith("_")
    }
    assert {name for name in methods if f"self.{name}" not in text} == set()


# ---- any Mapping, when the program runs


class Half(dict):  # type: ignore[type-arg]
    """A dict of one's own."""


ARGUMENTS = {"x-expires": 60000, "x-nested": {"a": [1, "b"]}}


@pytest.mark.parametrize("kind", [MappingProxyType, Half, dict], ids=lambda kind: kind.__name__)
def test_arguments_may_be_any_mapping(kind: Callable[[dict[str, object]], object], broker_url: str) -> None:
    arguments = kind(ARGUMENTS)
    with BlockingConnection(URLParameters(broker_url)) as connection:
        channel = connection.channel()
        queue = f"cpika-test.{secrets.token_hex(4)}"
        channel.queue_declare(queue, exclusive=True, arguments=arguments)  # type: ignore[arg-type]
        with pytest.raises(Exception, match=r"PRECONDITION_FAILED.*x-expires"):
            channel.queue_declare(queue, exclusive=True, arguments={"x-expires": 50000})
        channel = connection.channel()
        channel.queue_bind(queue, "amq.headers", "", arguments=arguments)  # type: ignore[arg-type]
        properties = BasicProperties(headers=arguments)  # type: ignore[arg-type]
        channel.basic_publish("amq.headers", "", b"body", properties)
        channel.queue_unbind(queue, "amq.headers", "", arguments=arguments)  # type: ignore[arg-type]
        _, received, body = channel.basic_get(queue, auto_ack=True)
        assert received is not None and received.headers == ARGUMENTS and body == b"body"
        tag = channel.basic_consume(queue, print, arguments=arguments)  # type: ignore[arg-type]
        channel.basic_cancel(tag)


@pytest.mark.parametrize(
    "method", [cls for cls in spec.methods.values() if "arguments" in vars(cls)], ids=lambda cls: cls.NAME
)
def test_a_method_encodes_any_mapping_like_a_dict(method: Callable[..., spec.Method]) -> None:
    names = {name: "name" for name in vars(method) if name in ("exchange", "queue", "destination", "source")}
    as_dict, as_proxy = (method(**names, arguments=kind(ARGUMENTS)) for kind in (dict, MappingProxyType))
    assert b"".join(as_proxy.encode()) == b"".join(as_dict.encode())


def test_parameters_take_any_mapping_and_refuse_what_is_none() -> None:
    parameters = ConnectionParameters(
        client_properties=MappingProxyType({"product": "tests"}),
        tcp_options=MappingProxyType({"TCP_KEEPIDLE": 60}),
    )
    assert parameters.client_properties == {"product": "tests"}
    assert parameters.tcp_options == {"TCP_KEEPIDLE": 60}
    for name in ("client_properties", "tcp_options"):
        messages = []
        for library in (pika.ConnectionParameters, ConnectionParameters):
            with pytest.raises(TypeError) as caught:
                library(**{name: [("a", 1)]})  # type: ignore[arg-type]
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
