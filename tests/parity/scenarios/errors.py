"""The exceptions: hierarchy, constructors, text, repr, pickle, equality."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import pika as oracle_pika

from parity.harness import covers
from parity.render import hierarchy

NAMES = sorted(
    name
    for name, value in vars(oracle_pika.exceptions).items()
    if inspect.isclass(value) and issubclass(value, BaseException)
)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "nothing": (),
    "text": ("text",),
    "two": (320, "going"),
    "numeric text": ("404", 5),
    "three": (1, 2, 3),
    "None": (None,),
    "list": ([],),
    "kinds": ([b"piece"], 1.5),
    "bytes": (b"x" * 400,),
    "float code": (404.9, "text"),
}


@covers(*(f"exceptions.{name}" for name in NAMES), cases=NAMES)
def an_exception_is_made_of_its_arguments(pika: Any, env: Any, case: Any) -> None:
    cls = getattr(pika.exceptions, case)
    for label, arguments in ARGUMENTS.items():
        try:
            error = cls(*arguments)
        except Exception as refused:
            env.show(f"{label} is refused", type(refused).__name__)
            continue
        env.show(f"{label} args", error.args)
        env.show_text(f"{label} str", str(error))
        for name in ("reply_code", "reply_text", "messages"):
            if hasattr(cls, name) or name in vars(error):
                env.call(f"{label} {name}", getattr, error, name)
        if has_repr(getattr(oracle_pika.exceptions, case)(*arguments)):
            env.show_text(f"{label} repr", repr(error))
        try:
            copy = pickle.loads(pickle.dumps(error))
        except Exception as refused:
            env.show(f"{label} cannot be pickled", type(refused).__name__)
        else:
            env.show(f"{label} pickled", (type(copy).__name__, vars(copy)))
            if case not in ("NackError", "UnroutableError"):  # pika counts the letters of their text anew
                env.show(f"{label} pickled args", copy.args)
        env.show(f"{label} equal", error == cls(*arguments))


def has_repr(error: BaseException) -> bool:
    """Return whether pika's own exception can show itself: some fail on arguments they do not expect."""
    try:
        repr(error)
    except Exception:
        return False
    return True


@covers("exceptions")
def the_exceptions_are_pikas_tree(pika: Any, env: Any) -> None:
    for name in NAMES:
        env.show(name, hierarchy(getattr(pika.exceptions, name)))


@covers("exceptions")
def exceptions_take_keywords_where_pika_does(pika: Any, env: Any) -> None:
    for name in ("ConnectionClosed", "ConnectionClosedByBroker", "ChannelClosed", "ChannelClosedByBroker"):
        error = getattr(pika.exceptions, name)(reply_code="320", reply_text=b"bytes")
        env.show_error(name, error)
        env.call_wrongly("set", setattr, error, "reply_code", 1)
    for name in ("NackError", "UnroutableError"):
        env.show_error(name, getattr(pika.exceptions, name)(messages=[1, 2]))


@covers("exceptions")
def exceptions_are_raised_caught_and_chained_like_any_other(pika: Any, env: Any) -> None:
    try:
        try:
            raise pika.exceptions.StreamLostError("lost")
        except pika.exceptions.AMQPError as error:
            raise pika.exceptions.ChannelClosedByBroker(404, "gone") from error
    except pika.exceptions.AMQPChannelError as error:
        env.show_error("caught", error)
        env.show("cause", type(error.__cause__).__name__)
        error.mine = "kept"
        env.show("attribute", vars(error))
        env.show("with_traceback", error.with_traceback(None) is error)


@covers("import.adapters.utils.connection_workflow")
def the_exceptions_of_the_connection_workflow_are_there(pika: Any, env: Any) -> None:
    workflow = pika.adapters.utils.connection_workflow
    for name in (
        "AMQPConnectorException",
        "AMQPConnectorStackTimeout",
        "AMQPConnectorAborted",
        "AMQPConnectorWrongState",
        "AMQPConnectorPhaseErrorBase",
        "AMQPConnectorSocketConnectError",
        "AMQPConnectorTransportSetupError",
        "AMQPConnectorAMQPHandshakeError",
        "AMQPConnectionWorkflowAborted",
        "AMQPConnectionWorkflowWrongState",
        "AMQPConnectionWorkflowFailed",
    ):
        cls = getattr(workflow, name)
        env.show(name, hierarchy(cls))
        for arguments in ((), (ValueError("inner"),), ([ValueError("one"), KeyError("two")],)):
            try:
                error = cls(*arguments)
            except Exception as refused:
                env.show(f"{name} refuses {len(arguments)}", type(refused).__name__)
                continue
            env.show_text("str", str(error))
            try:
                env.show_text("repr", repr(error))
            except Exception as refused:
                env.show("no repr", type(refused).__name__)
            for attribute in ("exception", "exceptions"):
                if hasattr(error, attribute):
                    env.show(attribute, getattr(error, attribute))


@covers(
    "validators.require_string",
    "validators.require_callback",
    "validators.rpc_completion_callback",
    "validators.zero_or_greater",
)
def the_validators_say_what_they_want(pika: Any, env: Any) -> None:
    validators = pika.validators
    for value in ("", "text", b"bytes", None, 5, ["x"]):
        env.call(f"require_string {value!r}", validators.require_string, value, "name")
    for value in (print, len, None, "text", 5):
        env.call("require_callback", validators.require_callback, value)
        env.call("require_callback named", validators.require_callback, value, "mine")
        env.call("rpc_completion_callback", validators.rpc_completion_callback, value)
    for value in (0, 1, -1, "5", "-5", 1.5, -0.5, "x", None):
        env.call(f"zero_or_greater {value!r}", validators.zero_or_greater, "name", value)


@covers("semantics.channel-closed-by-broker", broker=True)
def an_exception_that_is_handled_is_the_context_of_the_brokers_reason(pika: Any, env: Any) -> None:
    def declare() -> None:
        try:
            raise ValueError("the program's own")
        except ValueError:
            env.channel().queue_declare(env.name("missing"), passive=True)

    def parse() -> None:
        try:
            raise ValueError("the program's own")
        except ValueError:
            pika.ConnectionParameters(port="none")

    for do in (declare, parse):
        try:
            do()
        except Exception as error:
            chain = []
            link: BaseException | None = error
            while link is not None:
                chain.append((type(link).__name__, link.__suppress_context__, link.__cause__ is None))
                link = link.__context__
            env.show("chain", chain)
