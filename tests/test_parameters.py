"""Parameters, URLs, credentials, TLS options: pika's values, checks and texts, and no password in sight."""

from __future__ import annotations

import copy
import decimal
import fractions
import inspect
import logging
import pickle
import re
import socket
import ssl
import traceback
import urllib.parse
from types import SimpleNamespace
from typing import Any

import cpika
import cpika.compat as compat
import cpika.connection as connection
import cpika.credentials as credentials
import cpika.tcp_socket_opts as tcp_socket_opts
import cpika.validators as validators
import pika
import pika.compat as pika_compat
import pika.credentials as pika_credentials
import pika.tcp_socket_opts as pika_tcp_socket_opts
import pika.validators as pika_validators
import pytest
from cpika.delivery_mode import DeliveryMode
from cpika.exchange_type import ExchangeType
from support.certs import Certificates

SECRET = "s3cret"
ATTRIBUTES = [name[1:] for name in connection.Parameters.__slots__]
VALUES = [
    None,
    True,
    0,
    1,
    -1,
    2,
    4095,
    4096,
    131072,
    131073,
    65535,
    65536,
    10**30,
    0.0,
    0.5,
    -0.5,
    float("inf"),
    "5",
    "x",
    b"x",
    "",
    [],
    {},
    {"TCP_KEEPIDLE": 60},
    decimal.Decimal("1.5"),
    fractions.Fraction(1, 2),
    3j,
    len,
    object,
]


def outcome(function: Any, *args: Any, **kwargs: Any) -> Any:
    """What a call gives, or the type and text of its exception, with cpika called pika."""
    try:
        result = function(*args, **kwargs)
    except Exception as error:
        return type(error).__name__, re.sub(r" at 0x\w+", "", str(error)).replace("cpika.", "pika.")
    return result


def seen(parameters: Any) -> dict[str, Any]:
    """All that parameters hold, in a form that compares."""
    values = {name: getattr(parameters, name) for name in ATTRIBUTES}
    values["credentials"] = (type(values["credentials"]).__name__, vars(values["credentials"]))
    values["ssl_options"] = values["ssl_options"] is not None
    return {**values, "repr": repr(parameters)}


def seen_of(module: Any, kind: str, *args: Any, **kwargs: Any) -> Any:
    return outcome(lambda: seen(getattr(module, kind)(*args, **kwargs)))


# --- values and checks


@pytest.mark.parametrize("kind", ["Parameters", "ConnectionParameters"])
def test_the_defaults_are_those_of_pika(kind: str) -> None:
    assert seen_of(connection, kind) == seen_of(pika.connection, kind)


def test_the_class_constants_are_those_of_pika() -> None:
    names = [name for name in vars(pika.connection.Parameters) if name.startswith("DEFAULT_")]
    assert len(names) == 20
    for name in set(names) - {"DEFAULT_CREDENTIALS"}:
        assert getattr(connection.Parameters, name) == getattr(pika.connection.Parameters, name)


def test_the_signature_of_connection_parameters_is_that_of_pika() -> None:
    assert [
        (parameter.name, parameter.kind)
        for parameter in inspect.signature(connection.ConnectionParameters).parameters.values()
    ] == [
        (parameter.name, parameter.kind)
        for parameter in inspect.signature(pika.ConnectionParameters).parameters.values()
    ]


@pytest.mark.parametrize("attribute", sorted(set(ATTRIBUTES) - {"credentials"}))
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_an_attribute_takes_and_refuses_what_it_does_in_pika(attribute: str, value: Any) -> None:
    expected = outcome(set_and_get, pika.ConnectionParameters(), attribute, value)
    if expected == ("OverflowError", "cannot convert float infinity to integer"):
        expected = ("TypeError", "port must be an int, but got inf")
    assert outcome(set_and_get, connection.ConnectionParameters(), attribute, value) == expected
    assert seen_of(connection, "ConnectionParameters", **{attribute: value}) == (
        seen_of(pika, "ConnectionParameters", **{attribute: value})
        if expected[0] != "TypeError"
        else expected
    )


def set_and_get(parameters: Any, attribute: str, value: Any) -> tuple[Any, ...]:
    setattr(parameters, attribute, value)
    stored = getattr(parameters, attribute)
    return type(stored), stored


def test_an_attribute_of_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError):
        connection.ConnectionParameters().hostname = "x"  # type: ignore[attr-defined]


def test_an_unknown_keyword_is_named_without_its_value() -> None:
    with pytest.raises(TypeError) as info:
        connection.ConnectionParameters(pasword=SECRET)
    assert str(info.value) == "unexpected kwargs: {'pasword': ...}"


def test_mutable_arguments_are_copied() -> None:
    properties = {"connection_name": "a"}
    plain = credentials.PlainCredentials("u", "p")
    parameters = connection.ConnectionParameters(client_properties=properties, credentials=plain)
    properties["connection_name"] = "b"
    plain.password = "q"
    assert parameters.client_properties == {"connection_name": "a"}
    assert parameters.credentials.password == "p"  # type: ignore[union-attr]


def test_a_subclass_may_change_the_defaults() -> None:
    class Ours(connection.ConnectionParameters):
        DEFAULT_HOST = "broker"
        DEFAULT_PORT = 1234
        DEFAULT_HEARTBEAT_TIMEOUT = 7

    class Theirs(pika.ConnectionParameters):
        DEFAULT_HOST = "broker"
        DEFAULT_PORT = 1234
        DEFAULT_HEARTBEAT_TIMEOUT = 7

    assert seen(Ours()) == {**seen(Theirs()), "repr": repr(Theirs()).replace("Theirs", "Ours")}


def test_tls_changes_the_default_port_only() -> None:
    tls = connection.SSLOptions(ssl.create_default_context())
    assert connection.ConnectionParameters(ssl_options=tls).port == 5671
    assert connection.ConnectionParameters(ssl_options=tls, port=1).port == 1


# --- equality, copies, pickles


@pytest.mark.parametrize("module", [connection, pika], ids=["cpika", "pika"])
def test_parameters_are_equal_by_host_and_port(module: Any) -> None:
    one = module.ConnectionParameters("h", 1, "a")
    assert one == module.ConnectionParameters("h", 1, "b")
    assert one == module.URLParameters("amqp://h:1/c")
    assert one != module.ConnectionParameters("h", 2, "a")
    assert one != "h" and (one == "h") is False
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


@pytest.mark.parametrize(
    "parameters",
    [
        connection.ConnectionParameters("h", 1, "v", credentials.ExternalCredentials(), heartbeat=3),
        connection.URLParameters("amqp://u:p@h:1/v?tcp_options={'TCP_KEEPIDLE':1}&locale=de_DE"),
    ],
    ids=lambda parameters: type(parameters).__name__,
)
def test_parameters_can_be_copied_and_pickled(parameters: Any) -> None:
    for twin in (copy.copy(parameters), copy.deepcopy(parameters), pickle.loads(pickle.dumps(parameters))):
        assert seen(twin) == seen(parameters)


def test_the_copy_for_a_connection_shares_the_tls_context_and_nothing_else() -> None:
    tls = connection.SSLOptions(ssl.create_default_context())
    parameters = connection.ConnectionParameters(ssl_options=tls, client_properties={"a": {}})
    twin = connection.copy_parameters(parameters)
    assert twin.ssl_options is tls is parameters.ssl_options
    assert twin.credentials == parameters.credentials and twin.credentials is not parameters.credentials
    assert twin.client_properties is not None and parameters.client_properties is not None
    assert twin.client_properties["a"] is not parameters.client_properties["a"]


# --- URLs


@pytest.mark.parametrize(
    "url",
    [
        "amqp://",
        "amqp://h",
        "amqp://h:1",
        "amqp://h/",
        "amqp://h//",
        "amqp://h/%2f",
        "amqp://h/%2F/more",
        "amqp://h/v/w",
        "AMQP://Host/V",
        "amqps://h",
        "amqps://h:1/v",
        "http://h",
        "https://h",
        "amqp://[::1]:7/v",
        "amqp://u:p@h",
        "amqp://:p@h",
        "amqp://u:@h",
        "amqp://u%40x:p%2Fq%3A@h/v",
        "amqp://u:p@q@h",
        "amqp:///v",
        "//h/v",
        "",
        "redis://h",
        "amqpx://h",
        "amqp://h:0",
        "amqp://h:99999",
        "amqp://[::1",
        "amqp://h?heartbeat=5&heartbeat=6",
        "amqp://h?unknown=5",
        "amqp://h?heartbeat=",
        "amqp://h?heartbeat=x",
        "amqp://h?heartbeat=-1",
        "amqp://h?heartbeat=600&blocked_connection_timeout=300",
        "amqp://h?blocked_connection_timeout=x",
        "amqp://h?channel_max=7",
        "amqp://h?channel_max=0",
        "amqp://h?channel_max=1.5",
        "amqp://h?connection_attempts=3&retry_delay=0.5",
        "amqp://h?connection_attempts=0",
        "amqp://h?connection_attempts=x",
        "amqp://h?retry_delay=x",
        "amqp://h?frame_max=4096",
        "amqp://h?frame_max=1",
        "amqp://h?frame_max=x",
        "amqp://h?locale=de_DE",
        "amqp://h?socket_timeout=1.5&stack_timeout=3",
        "amqp://h?socket_timeout=x",
        "amqp://h?socket_timeout=0",
        "amqp://h?stack_timeout=x",
        "amqp://h?stack_timeout=-1",
        "amqp://h?client_properties={'a': 1}",
        "amqp://h?client_properties=[1]",
        "amqp://h?client_properties=x",
        "amqp://h?tcp_options={'TCP_KEEPIDLE': 60}",
        "amqp://h?tcp_options=5",
        "amqp://h?tcp_options=f()",
        "amqp://h?ssl_options=None",
        "amqps://h?ssl_options=None",
        "amqp://h?ssl_options={}",
        "amqp://h?ssl_options={'ca_certs':'/nonexistent'}",
    ],
)
def test_a_url_means_what_it_means_to_pika(url: str) -> None:
    assert seen_of(connection, "URLParameters", url) == seen_of(pika, "URLParameters", url)


def test_the_tls_options_of_a_url_make_the_context_that_pika_makes(certificates: Certificates) -> None:
    options = {
        "ca_certs": certificates.authority,
        "certfile": certificates.client_cert,
        "keyfile": certificates.client_key,
        "ciphers": "ECDHE+AESGCM",
        "protocol": int(ssl.PROTOCOL_TLS_CLIENT),
        "server_hostname": "broker",
    }
    url = f"amqps://h?ssl_options={urllib.parse.quote(repr(options))}"
    ours, theirs = connection.URLParameters(url).ssl_options, pika.URLParameters(url).ssl_options
    assert ours is not None and theirs is not None
    assert ours.server_hostname == theirs.server_hostname == "broker"
    for attribute in ("protocol", "verify_mode", "check_hostname", "options", "minimum_version"):
        assert getattr(ours.context, attribute) == getattr(theirs.context, attribute)
    assert ours.context.get_ciphers() == theirs.context.get_ciphers()
    assert ours.context.get_ca_certs() == theirs.context.get_ca_certs()


def test_tls_options_want_a_context() -> None:
    with pytest.raises(TypeError, match=r"^context must be of ssl.SSLContext type, but got 'x'$"):
        connection.SSLOptions("x")  # type: ignore[arg-type]
    context = ssl.create_default_context()
    assert connection.SSLOptions(context).server_hostname is None
    with pytest.raises(AttributeError):
        connection.SSLOptions(context).other = 1  # type: ignore[attr-defined]


# --- passwords


@pytest.mark.parametrize(
    "url",
    [
        f"amqp://u:{SECRET}@h:x/v",
        f"amqp://u:{SECRET}@h:99999/v",
        f"amqp://u:{SECRET}/@h/v",
        f"amqp://u:{SECRET}",
        f"amqp://u:1?{SECRET}=@h",
        f"amqp://u:p/{SECRET}@h/v",
        f"amqp://u:@{SECRET}\u2100@h",
        f"amqp://u:[{SECRET}@h",
        f"amqp:u:{SECRET}@h",
        f"redis://u:{SECRET}@h",
        f"amqp://u:{SECRET}@h?unknown=1",
        f"amqp://u:{SECRET}@h?heartbeat=x",
        f"amqps://h?ssl_options={{'password': '{SECRET}'",
        f"amqps://h?ssl_options={{'password': f('{SECRET}')}}",
        f"amqps://h?ssl_options='{SECRET}'",
        f"amqps://h?ssl_options={{'password':'{SECRET}'}}&ssl_options=None",
        f"amqps://h?ssl_options={{'password':'{SECRET}','certfile':'/nonexistent'}}",
        f"amqp://u:{SECRET}@h?tcp_options=x@y",
    ],
)
def test_no_error_about_a_url_shows_its_password(url: str) -> None:
    with pytest.raises((ValueError, TypeError, OSError)) as info:
        connection.URLParameters(url)
    assert SECRET not in "".join(traceback.format_exception(info.type, info.value, info.tb))
    assert all(
        SECRET not in repr(error) for error in (info.value, info.value.__cause__, info.value.__context__)
    )


def test_a_user_without_a_password_is_named() -> None:
    # pika: TypeError from the middle of urllib.
    with pytest.raises(ValueError, match=r"^URL 'amqp://user@h/v' names a user but no password$"):
        connection.URLParameters("amqp://user@h/v")


@pytest.mark.parametrize("url", [None, 5, b"amqp://u:s3cret@h", ["amqp://u:s3cret@h"]])
def test_what_is_no_string_is_no_url(url: Any) -> None:
    with pytest.raises(TypeError, match=r"^url must be a str, but got (None|an object of type \w+)$"):
        connection.URLParameters(url)


@pytest.mark.parametrize(
    "value", [("u", SECRET), f"u:{SECRET}", {"password": SECRET}, SECRET.encode(), 5, None]
)
def test_what_is_no_credentials_is_named_by_its_type(value: Any) -> None:
    with pytest.raises(TypeError) as info:
        connection.ConnectionParameters(credentials=value)
    name = "None" if value is None else f"an object of type {type(value).__name__}"
    assert str(info.value) == (
        f"credentials must be an object of type: {credentials.VALID_TYPES!r}, but got {name}"
    )


def test_no_repr_shows_a_password() -> None:
    plain = credentials.PlainCredentials("user", SECRET)
    parameters = connection.ConnectionParameters(credentials=plain)
    url = connection.URLParameters(f"amqp://user:{SECRET}@h")
    assert SECRET not in f"{plain} {plain!r} {parameters} {parameters!r} {url!r} {url.credentials!r}"


# --- credentials


def test_credentials_compare_as_in_pika() -> None:
    for module in (credentials, pika_credentials):
        plain: Any = module.PlainCredentials
        external: Any = module.ExternalCredentials
        assert plain("u", "p") == plain("u", "p") and not plain("u", "p") != plain("u", "p")
        assert plain("u", "p") != plain("u", "q") and plain("u", "p") != plain("u", "p", True)
        assert external() == external() and external() != plain("u", "p") and external() != 5
        assert (plain.TYPE, external.TYPE) == ("PLAIN", "EXTERNAL")
        assert module.VALID_TYPES == [plain, external]


@pytest.mark.parametrize(
    "mechanisms", ["PLAIN AMQPLAIN", "EXTERNAL PLAIN", "AMQPLAIN", "", b"PLAIN", b"EXTERNAL"]
)
def test_the_response_to_a_broker_is_that_of_pika(mechanisms: Any) -> None:
    start: Any = SimpleNamespace(mechanisms=mechanisms)
    for make in (
        lambda module: module.PlainCredentials("ü", "pass"),
        lambda module: module.PlainCredentials(None, ""),
        lambda module: module.PlainCredentials(b"u", b"p"),
        lambda module: module.ExternalCredentials(),
    ):
        assert make(credentials).response_for(start) == make(pika_credentials).response_for(start)


def test_a_password_of_wrong_type_is_named_by_its_type() -> None:
    plain = credentials.PlainCredentials("u", 53617)  # type: ignore[arg-type]
    start: Any = SimpleNamespace(mechanisms="PLAIN")
    with pytest.raises(TypeError, match=r"^password must be a str, but got an object of type int$"):
        plain.response_for(start)


def test_credentials_are_erased_when_that_was_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    kept, erased = credentials.PlainCredentials("u", "p"), credentials.PlainCredentials("u", "p", True)
    for one in (kept, erased, credentials.ExternalCredentials()):
        one.erase_credentials()
    assert (kept.username, kept.password) == ("u", "p")
    assert (erased.username, erased.password) == (None, None)
    assert [(record.name, record.levelname, record.message) for record in caplog.records] == [
        ("pika.credentials", "INFO", "Erasing stored credential values"),
        ("pika.credentials", "DEBUG", "Not supported by this Credentials type"),
    ]


def test_a_class_added_to_valid_types_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Token:
        TYPE = "TOKEN"

    monkeypatch.setattr(credentials, "VALID_TYPES", [*credentials.VALID_TYPES, Token])
    parameters = connection.ConnectionParameters(credentials=Token())  # type: ignore[arg-type]
    assert isinstance(parameters.credentials, Token)


# --- the small modules


@pytest.mark.parametrize("name", ["require_string", "require_callback", "zero_or_greater"])
@pytest.mark.parametrize("value", [None, "", "x", b"x", 5, -1, "-1", len, 2.5, [1]], ids=repr)
def test_a_validator_answers_as_in_pika(name: str, value: Any) -> None:
    arguments = ("size", value) if name == "zero_or_greater" else (value, "argument")
    assert outcome(getattr(validators, name), *arguments) == outcome(
        getattr(pika_validators, name), *arguments
    )


@pytest.mark.parametrize("value", [None, len, 5], ids=repr)
def test_the_completion_callback_is_checked_as_in_pika(value: Any) -> None:
    assert outcome(validators.rpc_completion_callback, value) == outcome(
        pika_validators.rpc_completion_callback, value
    )


def test_compat_has_the_names_and_values_of_pika() -> None:
    values = ["ON_LINUX", "ON_OSX", "ON_WINDOWS", "HAVE_SIGNAL", "LINUX_VERSION", "SOL_TCP", "SOCKET_ERROR"]
    for name in [*values, "str_or_bytes", "RE_NUM"]:
        assert getattr(compat, name) == getattr(pika_compat, name)
    for function, arguments in [
        ("as_bytes", ("é",)),
        ("as_bytes", (b"x",)),
        ("byte", (1, 255)),
        ("byte", (256,)),
        ("to_digit", ("12",)),
        ("to_digit", ("12abc",)),
        ("to_digit", ("abc",)),
        ("get_linux_version", ("6.1.0-18-amd64",)),
        ("get_linux_version", ("4.11.0rc1",)),
    ]:
        assert outcome(getattr(compat, function), *arguments) == outcome(
            getattr(pika_compat, function), *arguments
        )


def test_long_is_an_int_that_shows_its_kind() -> None:
    for module in (compat, pika_compat):
        assert (repr(module.long(5)), str(module.long(5)), module.long(5)) == ("5L", "5", 5)
        assert isinstance(module.long(5), int)


def test_the_socket_pair_is_connected_and_does_not_block() -> None:
    server, client = compat.nonblocking_socketpair()
    with server, client:
        assert server.getpeername() == client.getsockname()
        assert not server.getblocking() and not client.getblocking()
    for arguments in ((socket.AF_UNIX,), (socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET, 1, 9)):
        assert outcome(compat.nonblocking_socketpair, *arguments) == outcome(
            pika_compat.nonblocking_socketpair, *arguments
        )


def test_the_enumerations_are_those_of_pika() -> None:
    assert [(one.name, one.value) for one in DeliveryMode] == [
        (one.name, one.value) for one in pika.DeliveryMode
    ]
    assert ExchangeType.topic == "topic"
    assert [one.value for one in ExchangeType] == ["direct", "fanout", "headers", "topic"]


def test_tcp_options_reach_the_socket(caplog: pytest.LogCaptureFixture) -> None:
    options = {"TCP_USER_TIMEOUT": 5000, "TCP_KEEPIDLE": 30, "TCP_KEEPCNT": 4, "TCP_KEEPINTVL": 7, "NONE": 1}
    for module in (tcp_socket_opts, pika_tcp_socket_opts):
        with socket.socket() as sock:
            module.set_sock_opts(options, sock)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            for name, value in list(options.items())[:-1]:
                assert sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value
    assert [(record.name, record.message) for record in caplog.records] == [
        ("pika.tcp_socket_opts", "Unsupported TCP option NONE:1")
    ] * 2


def test_keepalive_is_switched_on_only_where_an_option_needs_it() -> None:
    with socket.socket() as sock:
        tcp_socket_opts.set_sock_opts(None, sock)
        tcp_socket_opts.set_sock_opts({"TCP_USER_TIMEOUT": 5000}, sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


@pytest.mark.parametrize("name", ["username", "password"])
def test_a_secret_that_utf8_cannot_express_is_refused_without_being_shown(name: str) -> None:
    plain = credentials.PlainCredentials(**{"username": "u", "password": "p", name: f"{SECRET}\udcff"})
    with pytest.raises(ValueError) as info:
        plain.response_for(cpika.spec.Connection.Start(mechanisms=b"PLAIN"))
    assert type(info.value) is ValueError
    assert str(info.value) == f"{name} holds characters that UTF-8 cannot express"
    assert info.value.__context__ is None


def test_a_new_secret_that_utf8_cannot_express_is_refused_and_the_connection_stays(broker_url: str) -> None:
    with cpika.BlockingConnection(connection.URLParameters(broker_url)) as open_connection:
        with pytest.raises(ValueError) as info:
            open_connection.update_secret(f"{SECRET}\udcff", "renewal")
        assert SECRET not in repr(info.value) and info.value.__context__ is None
        assert open_connection.is_open
