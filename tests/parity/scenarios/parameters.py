"""Parameters: defaults, setters, what they refuse, equality, URLs, credentials, TLS options."""

from __future__ import annotations

import copy
import fractions
import ssl
import tempfile
from typing import Any

import trustme

from parity.harness import covers

NAMES = (
    "blocked_connection_timeout",
    "channel_max",
    "client_properties",
    "connection_attempts",
    "frame_max",
    "heartbeat",
    "host",
    "locale",
    "port",
    "retry_delay",
    "socket_timeout",
    "stack_timeout",
    "ssl_options",
    "virtual_host",
    "tcp_options",
)


def show_all(env: Any, parameters: Any) -> None:
    """Record every parameter."""
    env.show_text("repr", repr(parameters))
    for name in NAMES:
        value = getattr(parameters, name)
        env.show(name, type(value).__name__ if name == "ssl_options" else value)
    credentials = parameters.credentials
    env.show("credentials", (type(credentials).__name__, vars(credentials)))


@covers(
    "Parameters", "ConnectionParameters", "Parameters.defaults", cases=["Parameters", "ConnectionParameters"]
)
def parameters_have_defaults(pika: Any, env: Any, case: Any) -> None:
    show_all(env, getattr(pika.connection, case)())


@covers("Parameters.defaults")
def the_defaults_are_class_attributes(pika: Any, env: Any) -> None:
    for name in sorted(name for name in dir(pika.connection.Parameters) if name.startswith("DEFAULT_")):
        value = getattr(pika.connection.Parameters, name)
        env.show(name, vars(value) if name == "DEFAULT_CREDENTIALS" else value)


@covers("ConnectionParameters")
def every_parameter_is_a_keyword(pika: Any, env: Any) -> None:
    given: dict[str, Any] = {
        "blocked_connection_timeout": 4,
        "channel_max": 7,
        "client_properties": {"a": [1]},
        "connection_attempts": 3,
        "frame_max": 5000,
        "heartbeat": 11,
        "host": "h",
        "locale": "de_DE",
        "port": 1234,
        "retry_delay": 0,
        "socket_timeout": 2,
        "stack_timeout": 3,
        "virtual_host": "v",
        "tcp_options": {"TCP_KEEPIDLE": 1},
        "credentials": pika.PlainCredentials("u", "p"),
        "ssl_options": None,
    }
    show_all(env, pika.ConnectionParameters(**given))


@covers("ConnectionParameters")
def parameters_are_positional_in_their_order(pika: Any, env: Any) -> None:
    credentials = pika.PlainCredentials("u", "p")
    given = ("h", 1, "v", credentials, 2, 4097, 3, None, 4, 5, 6, 7, "l", 8, {"c": 1}, {"t": 2})
    show_all(env, pika.ConnectionParameters(*given))
    env.call_wrongly("one more", pika.ConnectionParameters, *given, "x")


@covers("ConnectionParameters.unknown-keyword", cases=[{"colour": "red"}, {"ssl": True}, {"a": 1, "b": 2}])
def an_unknown_keyword_is_a_type_error(pika: Any, env: Any, case: Any) -> None:
    try:
        pika.ConnectionParameters(**case)
    except TypeError as error:
        env.show("names them", [name for name in case if repr(name) in str(error)])
        env.show("begins with", str(error).partition("{")[0])


GOOD = {
    "blocked_connection_timeout": (None, 0, 0.5, 300, fractions.Fraction(1, 2)),
    "channel_max": (1, 65535, True),
    "client_properties": (None, {}, {"a": {"b": 1}}),
    "connection_attempts": (1, 100),
    "frame_max": (4096, 131072),
    "heartbeat": (None, 0, 580, len),
    "host": ("", "example.org", "::1"),
    "locale": ("", "en_US"),
    "port": (1, "5672", 5672.9, 0, -1, True),
    "retry_delay": (0, 0.5, -1),
    "socket_timeout": (None, 1, 0.25),
    "stack_timeout": (None, 1, 0.25),
    "ssl_options": (None,),
    "virtual_host": ("", "/", "v"),
    "tcp_options": (None, {}, {"anything": 1}),
}


@covers(*(f"Parameters.{name}" for name in GOOD), cases=GOOD.items())
def a_good_value_is_taken(pika: Any, env: Any, case: Any) -> None:
    name, values = case
    for value in values:
        parameters = pika.connection.Parameters()
        env.call(f"set {value!r}", setattr, parameters, name, value)
        env.show("get", getattr(parameters, name))
        env.call("keyword", lambda value=value: getattr(pika.ConnectionParameters(**{name: value}), name))


BAD = {
    "blocked_connection_timeout": (-1, "x", [1], 1j),
    "channel_max": (0, -1, 65536, None, 1.5, "1"),
    "client_properties": ("x", [1], 5, ()),
    "connection_attempts": (0, -1, None, 1.5, "1"),
    "credentials": (None, object),
    "frame_max": (4095, 131073, 0, -1, None, "5000", 5000.0),
    "heartbeat": (-1, 1.5, "60", [1]),
    "host": (None, 5, b"bytes", ["h"]),
    "locale": (None, 5, b"bytes"),
    "port": (None, "amqp", [1], {}),
    "retry_delay": (None, "x", [1]),
    "socket_timeout": (0, -1, "x", [1]),
    "stack_timeout": (0, -1, "x", [1]),
    "ssl_options": (True, {}, "x", ssl.SSLContext),
    "virtual_host": (None, 5, b"bytes"),
    "tcp_options": ("x", [1], 5),
}


@covers(*(f"Parameters.{name}" for name in BAD), cases=BAD.items())
def a_bad_value_is_refused_with_its_text(pika: Any, env: Any, case: Any) -> None:
    name, values = case
    for value in values:
        parameters = pika.connection.Parameters()
        env.call(f"set {value!r}", setattr, parameters, name, value)
        env.call("keyword", pika.ConnectionParameters, **{name: value})


@covers("Parameters.equality")
def parameters_are_equal_by_host_and_port(pika: Any, env: Any) -> None:
    one = pika.ConnectionParameters("h", 1)
    for label, other in (
        ("same", pika.ConnectionParameters("h", 1, virtual_host="other", heartbeat=9)),
        ("host", pika.ConnectionParameters("g", 1)),
        ("port", pika.ConnectionParameters("h", 2)),
        ("url", pika.URLParameters("amqp://h:1")),
        ("text", "h:1"),
        ("None", None),
    ):
        env.show(label, (one == other, one != other))
    env.call_wrongly("hash", hash, one)


@covers("Parameters.copies")
def parameters_copy_what_they_are_given(pika: Any, env: Any) -> None:
    properties, credentials = {"a": [1]}, pika.PlainCredentials("u", "p")
    options = {"TCP_KEEPIDLE": 1}
    parameters = pika.ConnectionParameters(
        client_properties=properties, credentials=credentials, tcp_options=options
    )
    properties["a"].append(2)
    credentials.username = "changed"
    options["TCP_KEEPIDLE"] = 2
    env.show("client_properties", parameters.client_properties)
    env.show("credentials", vars(parameters.credentials))
    env.show("tcp_options", parameters.tcp_options)
    copied = copy.deepcopy(parameters)
    env.show("copy", (copied == parameters, copied is parameters, vars(copied.credentials)))
    env.call_wrongly("unknown attribute", setattr, parameters, "colour", "red")
    env.show_pickle("pickle", parameters)


@covers("Parameters.repr", cases=["plain", "tls", "url"])
def the_repr_of_parameters_hides_the_password(pika: Any, env: Any, case: Any) -> None:
    if case == "url":
        parameters = pika.URLParameters("amqp://someone:secret@h:1/v")
    else:
        options = pika.SSLOptions(ssl.create_default_context()) if case == "tls" else None
        credentials = pika.PlainCredentials("someone", "secret")
        parameters = pika.ConnectionParameters(
            "h", virtual_host="v", credentials=credentials, ssl_options=options
        )
    env.show_text("repr", repr(parameters))
    env.show("port", parameters.port)


URLS = (
    "amqp://",
    "amqp://h",
    "amqp://h/",
    "amqp://h/%2F",
    "amqp://h/%2f",
    "amqp://h/v/more",
    "amqp://h:1/v",
    "amqps://h",
    "amqps://h:1/v",
    "AMQP://H",
    "amqp://user:pass@h",
    "amqp://us%40er:p%2Fa%3Ass@h/v%20w",
    "amqp://user:@h",
    "amqp://:pass@h",
    "amqp://[::1]:5673/v",
    "//h:1/v",
    "h:1/v",
    "",
)


@covers("URLParameters", cases=URLS)
def a_url_is_taken_apart(pika: Any, env: Any, case: Any) -> None:
    try:
        parameters = pika.URLParameters(case)
    except Exception as error:
        env.show_error("make", error)
    else:
        show_all(env, parameters)


QUERIES = (
    "blocked_connection_timeout=1.5",
    "channel_max=3",
    "client_properties={%27a%27:+1}",
    "connection_attempts=2",
    "frame_max=5000",
    "heartbeat=0",
    "heartbeat=30",
    "locale=de_DE",
    "retry_delay=0.5",
    "socket_timeout=2",
    "stack_timeout=7",
    "tcp_options={%22TCP_KEEPIDLE%22:60}",
    "ssl_options=None",
    "heartbeat=1&frame_max=4096",
    "heartbeat=",
)


@covers("URLParameters.query", cases=QUERIES)
def a_query_sets_parameters(pika: Any, env: Any, case: Any) -> None:
    show_all(env, pika.URLParameters(f"amqp://h/v?{case}"))


BAD_URLS = (
    "http://h",
    "ftp://h",
    "amqp://h:99999",
    "amqp://h?colour=red",
    "amqp://h?heartbeat=soon",
    "amqp://h?heartbeat=1&heartbeat=2",
    "amqp://h?heartbeat=-1",
    "amqp://h?blocked_connection_timeout=x",
    "amqp://h?channel_max=x",
    "amqp://h?channel_max=0",
    "amqp://h?connection_attempts=x",
    "amqp://h?connection_attempts=0",
    "amqp://h?frame_max=x",
    "amqp://h?frame_max=1",
    "amqp://h?retry_delay=x",
    "amqp://h?socket_timeout=x",
    "amqp://h?socket_timeout=0",
    "amqp://h?stack_timeout=x",
    "amqp://h?client_properties=5",
    "amqp://h?tcp_options=5",
    "amqps://h?ssl_options=None",
    "amqp://h?ssl=true",
    "amqp://h?backpressure_detection=t",
)


@covers("URLParameters.query", "URLParameters", cases=BAD_URLS)
def a_bad_url_is_refused_with_its_text(pika: Any, env: Any, case: Any) -> None:
    env.call("make", pika.URLParameters, case)


@covers("URLParameters", cases=[None, 5])
def a_url_is_text(pika: Any, env: Any, case: Any) -> None:
    env.call_wrongly("make", pika.URLParameters, case)


@covers("URLParameters.ssl_options", "SSLOptions")
def a_url_makes_tls_options(pika: Any, env: Any) -> None:
    plain = pika.URLParameters("amqps://h").ssl_options
    env.show("default", (type(plain).__name__, plain.server_hostname, type(plain.context).__name__))
    env.show("checks", (plain.context.check_hostname, plain.context.verify_mode))
    with tempfile.NamedTemporaryFile("wb", suffix=".pem") as file:
        file.write(trustme.CA().cert_pem.bytes())
        file.flush()
        url = f"amqps://h?ssl_options={{'ca_certs': {file.name!r}, 'server_hostname': 'other'}}"
        given = pika.URLParameters(url).ssl_options
    env.show("given", (given.server_hostname, given.context.check_hostname, given.context.verify_mode))
    env.call_wrongly(
        "no certificates", pika.URLParameters, "amqps://h?ssl_options={'server_hostname': 'other'}"
    )


@covers("SSLOptions", cases=[None, "context", ssl.SSLContext, 5])
def tls_options_need_a_context(pika: Any, env: Any, case: Any) -> None:
    env.call("make", pika.SSLOptions, case)


@covers("SSLOptions")
def tls_options_hold_a_context_and_a_name(pika: Any, env: Any) -> None:
    context = ssl.create_default_context()
    options = pika.SSLOptions(context, "name")
    env.show("same", (options.context is context, options.server_hostname))
    env.show("keyword", pika.SSLOptions(context=context, server_hostname=None).server_hostname)
    env.show("same class", pika.SSLOptions is pika.connection.SSLOptions)
    env.call_wrongly("unknown attribute", setattr, options, "colour", "red")
    env.show("port", pika.ConnectionParameters(ssl_options=options).port)
    env.show("own port", pika.ConnectionParameters(port=1, ssl_options=options).port)


@covers("credentials.PlainCredentials")
def plain_credentials_are_a_name_and_a_password(pika: Any, env: Any) -> None:
    one = pika.PlainCredentials("u", "p")
    env.show("vars", vars(one))
    env.show("TYPE", one.TYPE)
    env.show("keywords", vars(pika.PlainCredentials(username="u", password="p", erase_on_connect=True)))
    for label, other in (
        ("same", pika.PlainCredentials("u", "p")),
        ("other", pika.PlainCredentials("u", "q")),
        ("erased", pika.PlainCredentials("u", "p", True)),
        ("external", pika.credentials.ExternalCredentials()),
        ("None", None),
    ):
        env.show(label, (one == other, one != other))
    env.call_wrongly("hash", hash, one)
    env.show("None", vars(pika.PlainCredentials(None, None)))
    env.show_pickle("pickle", one)
    env.show("password in repr", "p" == repr(one))


@covers(
    "credentials.PlainCredentials.response_for",
    "credentials.ExternalCredentials",
    cases=[
        "PLAIN",
        "AMQPLAIN PLAIN",
        "EXTERNAL",
        "PLAIN EXTERNAL",
        "",
        "XPLAIN",
        b"PLAIN EXTERNAL",
    ],
)
def credentials_answer_the_mechanisms_of_a_server(pika: Any, env: Any, case: Any) -> None:
    start = pika.spec.Connection.Start(mechanisms=case)
    env.call("plain", pika.PlainCredentials("ü", "p☃").response_for, start)
    env.call("plain without", pika.PlainCredentials(None, None).response_for, start)
    env.call("plain bytes", pika.PlainCredentials(b"u", b"\xff").response_for, start)
    env.call("external", pika.credentials.ExternalCredentials().response_for, start)


@covers("credentials.ExternalCredentials")
def external_credentials_are_nothing_but_a_type(pika: Any, env: Any) -> None:
    one = pika.credentials.ExternalCredentials()
    env.show("vars", vars(one))
    env.show("TYPE", one.TYPE)
    env.show(
        "equal",
        (one == pika.credentials.ExternalCredentials(), one != pika.credentials.ExternalCredentials()),
    )
    env.show("unlike plain", one == pika.PlainCredentials("u", "p"))
    env.call("erase", one.erase_credentials)
    env.call_wrongly("arguments", pika.credentials.ExternalCredentials, "u")


@covers("credentials.erase_on_connect")
def credentials_are_erased_if_they_say_so(pika: Any, env: Any) -> None:
    for erase in (False, True):
        credentials = pika.PlainCredentials("u", "p", erase)
        env.call("erase", credentials.erase_credentials)
        env.show("left", vars(credentials))


@covers("credentials.VALID_TYPES")
def further_types_of_credentials_may_be_added(pika: Any, env: Any) -> None:
    class Mine:
        TYPE = "MINE"

    env.show("types", pika.credentials.VALID_TYPES)
    env.call_wrongly("before", pika.ConnectionParameters, credentials=Mine())
    pika.credentials.VALID_TYPES.append(Mine)
    try:
        env.show("after", type(pika.ConnectionParameters(credentials=Mine()).credentials).__name__)
    finally:
        pika.credentials.VALID_TYPES.remove(Mine)
