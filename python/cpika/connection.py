"""Connection parameters, and the class that pika's asynchronous adapters derive from.

`ssl` and `ast` are imported where they are needed: together they would cost more than the rest of
`import cpika`.
"""

from __future__ import annotations

import copy
import logging
import numbers
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Union
from urllib.parse import parse_qs, unquote

import cpika
from cpika import _home
from cpika import credentials as _credentials
from cpika._url import mask_url, parse_number, parse_ssl_options, split_url, without_secret
from cpika.validators import require_string

if TYPE_CHECKING:
    import ssl as ssl

    from cpika._async.connection import Connection as Connection

HeartbeatOption = Union[int, Callable[[Any, Any], int], None]

PRODUCT = _PIKAS_PRODUCT = "Pika Python Client Library"

LOGGER = logging.getLogger("pika.connection")

# Also in `cpika.channel` and `cpika.spec`, which load the C core; parameters do without it.
_MAX_CHANNELS = 65535
_FRAME_MIN_SIZE = 4096
_FRAME_MAX_SIZE = 131072


class Parameters:
    """How to reach a broker, with a default for everything.

    Each attribute is checked when it is set: a wrong type raises TypeError, a value out of range ValueError.
    Parameters are equal if host and port are.
    """

    __slots__ = (
        "_blocked_connection_timeout",
        "_channel_max",
        "_client_properties",
        "_connection_attempts",
        "_credentials",
        "_frame_max",
        "_heartbeat",
        "_host",
        "_locale",
        "_port",
        "_retry_delay",
        "_socket_timeout",
        "_ssl_options",
        "_stack_timeout",
        "_tcp_options",
        "_virtual_host",
    )

    _channel_max: int
    _connection_attempts: int
    _frame_max: int
    _retry_delay: float

    DEFAULT_USERNAME = "guest"
    DEFAULT_PASSWORD = "guest"

    DEFAULT_BLOCKED_CONNECTION_TIMEOUT: float | None = None
    DEFAULT_CHANNEL_MAX = _MAX_CHANNELS
    DEFAULT_CLIENT_PROPERTIES: dict[str, Any] | None = None
    DEFAULT_CREDENTIALS: _credentials.Credentials = _credentials.PlainCredentials(
        DEFAULT_USERNAME, DEFAULT_PASSWORD
    )
    DEFAULT_CONNECTION_ATTEMPTS = 1
    DEFAULT_FRAME_MAX = _FRAME_MAX_SIZE
    DEFAULT_HEARTBEAT_TIMEOUT: HeartbeatOption = None
    DEFAULT_HOST = "localhost"
    DEFAULT_LOCALE = "en_US"
    DEFAULT_PORT = 5672
    DEFAULT_RETRY_DELAY = 2.0
    DEFAULT_SOCKET_TIMEOUT: float | None = 10.0
    DEFAULT_STACK_TIMEOUT: float | None = 15.0
    DEFAULT_SSL = False
    DEFAULT_SSL_OPTIONS: SSLOptions | None = None
    DEFAULT_SSL_PORT = 5671
    DEFAULT_VIRTUAL_HOST = "/"
    DEFAULT_TCP_OPTIONS: dict[str, int] | None = None

    def __init__(self) -> None:
        self.blocked_connection_timeout = self.DEFAULT_BLOCKED_CONNECTION_TIMEOUT
        self.channel_max = self.DEFAULT_CHANNEL_MAX
        self.client_properties = self.DEFAULT_CLIENT_PROPERTIES
        self.connection_attempts = self.DEFAULT_CONNECTION_ATTEMPTS
        self.credentials = self.DEFAULT_CREDENTIALS
        self.frame_max = self.DEFAULT_FRAME_MAX
        self.heartbeat = self.DEFAULT_HEARTBEAT_TIMEOUT
        self.host = self.DEFAULT_HOST
        self.locale = self.DEFAULT_LOCALE
        self.port = self.DEFAULT_PORT
        self.retry_delay = self.DEFAULT_RETRY_DELAY
        self.socket_timeout = self.DEFAULT_SOCKET_TIMEOUT
        self.stack_timeout = self.DEFAULT_STACK_TIMEOUT
        self.ssl_options = self.DEFAULT_SSL_OPTIONS
        self.virtual_host = self.DEFAULT_VIRTUAL_HOST
        self.tcp_options = self.DEFAULT_TCP_OPTIONS

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} host={self.host} port={self.port} virtual_host={self.virtual_host} "
            f"ssl={bool(self.ssl_options)}>"
        )

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Parameters):
            return self._host == other._host and self._port == other._port
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    @property
    def blocked_connection_timeout(self) -> float | None:
        """Seconds that the broker may keep the connection blocked before it is dropped; None for no limit."""
        return self._blocked_connection_timeout

    @blocked_connection_timeout.setter
    def blocked_connection_timeout(self, value: float | None) -> None:
        if value is not None:
            if not isinstance(value, numbers.Real):
                raise TypeError(f"blocked_connection_timeout must be a Real number, but got {value!r}")
            if value < 0:
                raise ValueError(f"blocked_connection_timeout must be >= 0, but got {value!r}")
        self._blocked_connection_timeout = value

    @property
    def channel_max(self) -> int:
        """The highest channel number to ask for, 1..65535."""
        return self._channel_max

    @channel_max.setter
    def channel_max(self, value: int) -> None:
        if not isinstance(value, numbers.Integral):
            raise TypeError(f"channel_max must be an int, but got {value!r}")
        if value < 1 or value > _MAX_CHANNELS:
            raise ValueError(f"channel_max must be <= {_MAX_CHANNELS} and > 0, but got {value!r}")
        self._channel_max = value

    @property
    def client_properties(self) -> dict[str, Any] | None:
        """Entries for what the client says of itself in Connection.StartOk; copied when set."""
        return self._client_properties

    @client_properties.setter
    def client_properties(self, value: Mapping[str, Any] | None) -> None:
        self._client_properties = copy.deepcopy(_dict_or_none("client_properties must be dict", value))

    @property
    def connection_attempts(self) -> int:
        """How often to go through all addresses before giving up, at least 1."""
        return self._connection_attempts

    @connection_attempts.setter
    def connection_attempts(self, value: int) -> None:
        if not isinstance(value, numbers.Integral):
            raise TypeError("connection_attempts must be an int")
        if value < 1:
            raise ValueError(f"connection_attempts must be > 0, but got {value!r}")
        self._connection_attempts = value

    @property
    def credentials(self) -> _credentials.Credentials:
        """An object of one of the classes in `credentials.VALID_TYPES`; copied when set."""
        return self._credentials

    @credentials.setter
    def credentials(self, value: _credentials._Credentials) -> None:
        if not isinstance(value, tuple(_credentials.VALID_TYPES)):
            raise TypeError(
                f"credentials must be an object of type: {_credentials.VALID_TYPES!r}, "
                f"but got {without_secret(value)}"
            )
        self._credentials: _credentials.Credentials = copy.deepcopy(value)  # type: ignore[assignment]

    @property
    def frame_max(self) -> int:
        """The largest frame to ask for, 4096..131072 bytes."""
        return self._frame_max

    @frame_max.setter
    def frame_max(self, value: int) -> None:
        if not isinstance(value, numbers.Integral):
            raise TypeError(f"frame_max must be an int, but got {value!r}")
        if value < _FRAME_MIN_SIZE:
            raise ValueError(f"Min AMQP 0.9.1 Frame Size is {_FRAME_MIN_SIZE}, but got {value!r}")
        if value > _FRAME_MAX_SIZE:
            raise ValueError(f"Max AMQP 0.9.1 Frame Size is {_FRAME_MAX_SIZE}, but got {value!r}")
        self._frame_max = value

    @property
    def heartbeat(self) -> HeartbeatOption:
        """Heartbeat timeout in seconds, 0 for none; None takes the broker's proposal.

        A callable gets the connection and the broker's proposal and returns the number to use.
        """
        return self._heartbeat

    @heartbeat.setter
    def heartbeat(self, value: HeartbeatOption) -> None:
        if value is not None and not callable(value):
            if not isinstance(value, numbers.Integral):
                raise TypeError(f"heartbeat must be an int or a callable function, but got {value!r}")
            if value < 0:
                raise ValueError(f"heartbeat must >= 0, but got {value!r}")
        self._heartbeat = value

    @property
    def host(self) -> str:
        """Name or IP address of the broker."""
        return self._host

    @host.setter
    def host(self, value: str) -> None:
        require_string(value, "host")
        self._host = value

    @property
    def locale(self) -> str:
        """The locale to ask for in Connection.StartOk."""
        return self._locale

    @locale.setter
    def locale(self, value: str) -> None:
        require_string(value, "locale")
        self._locale = value

    @property
    def port(self) -> int:
        """TCP port of the broker; what is set goes through `int()`."""
        return self._port

    @port.setter
    def port(self, value: int | str) -> None:
        try:
            self._port = int(value)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(f"port must be an int, but got {value!r}")  # noqa: B904 pika names the cause

    @property
    def retry_delay(self) -> float:
        """Seconds between two connection attempts."""
        return self._retry_delay

    @retry_delay.setter
    def retry_delay(self, value: float) -> None:
        if not isinstance(value, numbers.Real):
            raise TypeError(f"retry_delay must be a float or int, but got {value!r}")
        self._retry_delay = value

    @property
    def socket_timeout(self) -> float | None:
        """Seconds that one TCP connect may take; None for no limit."""
        return self._socket_timeout

    @socket_timeout.setter
    def socket_timeout(self, value: float | None) -> None:
        self._socket_timeout = _positive_seconds("socket_timeout", value)

    @property
    def stack_timeout(self) -> float | None:
        """Seconds that TCP connect, TLS and AMQP handshake may take together; None for no limit."""
        return self._stack_timeout

    @stack_timeout.setter
    def stack_timeout(self, value: float | None) -> None:
        self._stack_timeout = _positive_seconds("stack_timeout", value)

    @property
    def ssl_options(self) -> SSLOptions | None:
        """The TLS options, or None for a plain TCP connection."""
        return self._ssl_options

    @ssl_options.setter
    def ssl_options(self, value: SSLOptions | None) -> None:
        if value is not None and not isinstance(value, SSLOptions):
            raise TypeError(f"ssl_options must be None or SSLOptions but got {value!r}")
        self._ssl_options = value

    @property
    def virtual_host(self) -> str:
        """The virtual host for Connection.Open."""
        return self._virtual_host

    @virtual_host.setter
    def virtual_host(self, value: str) -> None:
        require_string(value, "virtual_host")
        self._virtual_host = value

    @property
    def tcp_options(self) -> dict[str, int] | None:
        """Options of the TCP socket: TCP_USER_TIMEOUT (ms), TCP_KEEPIDLE, TCP_KEEPINTVL (s), TCP_KEEPCNT."""
        return self._tcp_options

    @tcp_options.setter
    def tcp_options(self, value: Mapping[str, int] | None) -> None:
        self._tcp_options = _dict_or_none("tcp_options must be a dict", value)


def _dict_or_none(wanted: str, value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a dict as it is, any other mapping as a dict."""
    if value is None or isinstance(value, dict):
        return value
    from collections.abc import Mapping

    if not isinstance(value, Mapping):
        raise TypeError(f"{wanted} or None, but got {value!r}")
    return dict(value)


def _positive_seconds(name: str, value: float | None) -> float | None:
    """Return a timeout as a float, None as it is."""
    if value is None:
        return None
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a float or int, but got {value!r}")
    if value <= 0:
        raise ValueError(f"{name} must be > 0, but got {value!r}")
    return float(value)


def copy_parameters(parameters: Parameters) -> Parameters:
    """Return a deep copy that shares the TLS options: an `ssl.SSLContext` cannot be copied."""
    ssl_options = parameters.ssl_options
    memo = {} if ssl_options is None else {id(ssl_options): ssl_options}
    return copy.deepcopy(parameters, memo)


class ConnectionParameters(Parameters):
    """Parameters given one by one."""

    __slots__ = ()

    class _DEFAULT:
        """Stands for an argument that was not given."""

    def __init__(
        self,
        host: str | type[ConnectionParameters._DEFAULT] = _DEFAULT,
        port: int | type[ConnectionParameters._DEFAULT] = _DEFAULT,
        virtual_host: str | type[ConnectionParameters._DEFAULT] = _DEFAULT,
        credentials: _credentials._Credentials | type[ConnectionParameters._DEFAULT] = _DEFAULT,
        channel_max: int | type[ConnectionParameters._DEFAULT] = _DEFAULT,
        frame_max: int | type[ConnectionParameters._DEFAULT] = _DEFAULT,
        heartbeat: HeartbeatOption | type[ConnectionParameters._DEFAULT] = _DEFAULT,
        ssl_options: SSLOptions | type[ConnectionParameters._DEFAULT] | None = _DEFAULT,
        connection_attempts: int | type[ConnectionParameters._DEFAULT] = _DEFAULT,
        retry_delay: float | type[ConnectionParameters._DEFAULT] = _DEFAULT,
        socket_timeout: float | type[ConnectionParameters._DEFAULT] | None = _DEFAULT,
        stack_timeout: float | type[ConnectionParameters._DEFAULT] | None = _DEFAULT,
        locale: str | type[ConnectionParameters._DEFAULT] = _DEFAULT,
        blocked_connection_timeout: float | type[ConnectionParameters._DEFAULT] | None = _DEFAULT,
        client_properties: Mapping[str, Any] | type[ConnectionParameters._DEFAULT] | None = _DEFAULT,
        tcp_options: Mapping[str, int] | type[ConnectionParameters._DEFAULT] | None = _DEFAULT,
        **kwargs: Any,
    ) -> None:
        """
        :param host: name or IP address of the broker
        :param port: TCP port; 5672, or 5671 with `ssl_options`
        :param virtual_host: virtual host
        :param credentials: user name and password, or `ExternalCredentials`
        :param channel_max: highest channel number, 1..65535
        :param frame_max: largest frame, 4096..131072 bytes
        :param heartbeat: seconds, 0 for none, None for the broker's proposal, or a callable that gets the
            connection and the proposal
        :param ssl_options: TLS options, None for plain TCP
        :param connection_attempts: how often to go through all addresses
        :param retry_delay: seconds between two attempts
        :param socket_timeout: seconds for one TCP connect, None for no limit
        :param stack_timeout: seconds for TCP, TLS and AMQP together, None for no limit
        :param locale: locale
        :param blocked_connection_timeout: seconds that the broker may block the connection, None for no limit
        :param client_properties: entries for Connection.StartOk
        :param tcp_options: options of the TCP socket by name
        :raises TypeError: an argument of wrong type or of unknown name
        :raises ValueError: an argument out of range
        """
        super().__init__()
        given = {
            "blocked_connection_timeout": blocked_connection_timeout,
            "channel_max": channel_max,
            "client_properties": client_properties,
            "connection_attempts": connection_attempts,
            "credentials": credentials,
            "frame_max": frame_max,
            "heartbeat": heartbeat,
            "host": host,
            "locale": locale,
            "retry_delay": retry_delay,
            "socket_timeout": socket_timeout,
            "stack_timeout": stack_timeout,
            "ssl_options": ssl_options,
            "port": port,
            "virtual_host": virtual_host,
            "tcp_options": tcp_options,
        }
        for name, value in given.items():
            if value is not self._DEFAULT:
                setattr(self, name, value)
        if port is self._DEFAULT and self.ssl_options is not None:
            self.port = self.DEFAULT_SSL_PORT
        if kwargs:
            # The names only: a misspelt `pasword` must not end up in a log.
            raise TypeError(f"unexpected kwargs: {{{', '.join(f'{name!r}: ...' for name in kwargs)}}}")


class URLParameters(Parameters):
    """Parameters from a URL: `amqp[s]://user:password@host:port/virtual-host?option=value&...`.

    User, password and virtual host are percent-encoded ('/' is `%2F`). Options, each at most once:
    blocked_connection_timeout, channel_max, client_properties, connection_attempts, frame_max, heartbeat,
    locale, retry_delay, socket_timeout, ssl_options, stack_timeout, tcp_options. The three that are dicts are
    written as Python literals. `ssl_options` takes ca_certs (or cafile), ca_path, ca_data, certfile, keyfile,
    password, ciphers, protocol and server_hostname.
    """

    __slots__ = ("_all_url_query_values",)

    _SETTER_PREFIX = "_set_url_"

    def __init__(self, url: str) -> None:
        """
        :param url: the URL
        :raises ValueError: an unknown scheme or option, an option given twice or out of range, a user without
            a password; a URL in the message has its password masked
        :raises TypeError: an option of wrong type
        """
        super().__init__()
        self._all_url_query_values: dict[str, list[str]] = {}
        if not isinstance(url, str):
            raise TypeError(f"url must be a str, but got {without_secret(url)}")

        parts, port = split_url(url)
        if parts.scheme == "https":
            import ssl

            self.ssl_options = SSLOptions(context=ssl.create_default_context())
        elif parts.scheme not in ("http", ""):
            raise ValueError(f"Unexpected URL scheme {parts.scheme!r}; supported scheme values: amqp, amqps")

        if parts.hostname is not None:
            self.host = parts.hostname
        default_port = self.DEFAULT_PORT if self.ssl_options is None else self.DEFAULT_SSL_PORT
        self.port = default_port if port is None else port

        if parts.username is not None:
            if parts.password is None:
                raise ValueError(f"URL {mask_url(url)!r} names a user but no password")
            self.credentials = _credentials.PlainCredentials(unquote(parts.username), unquote(parts.password))

        if len(parts.path) > 1:
            if "/" not in parts.path:
                raise ValueError(f"URL {mask_url(url)!r} has no '//' before its host")
            self.virtual_host = unquote(parts.path.split("/")[1])

        self._all_url_query_values = parse_qs(parts.query)
        for name, values in self._all_url_query_values.items():
            if not hasattr(self, self._SETTER_PREFIX + name):
                # With an '@' behind it, this may be the rest of a password that has a '?' in it.
                shown = f": {name!r}" if "@" not in parts.query else ", or a '?' that is not encoded"
                raise ValueError(f"Unknown URL parameter{shown}")
            self._set_option(name, values)

    def _set_option(self, name: str, values: list[str]) -> None:
        """Set one option of the query."""
        if len(values) != 1:
            shown = "..." if name == "ssl_options" else values
            raise ValueError(
                f"Expected exactly one value for URL parameter {name}, but got {len(values)} values: {shown}"
            )
        getattr(self, self._SETTER_PREFIX + name)(values[0])

    def _set_url_blocked_connection_timeout(self, value: str) -> None:
        self.blocked_connection_timeout = parse_number(float, "blocked_connection_timeout", value)

    def _set_url_channel_max(self, value: str) -> None:
        self.channel_max = parse_number(int, "channel_max", value)

    def _set_url_client_properties(self, value: str) -> None:
        import ast

        self.client_properties = ast.literal_eval(value)

    def _set_url_connection_attempts(self, value: str) -> None:
        self.connection_attempts = parse_number(int, "connection_attempts", value)

    def _set_url_frame_max(self, value: str) -> None:
        self.frame_max = parse_number(int, "frame_max", value)

    def _set_url_heartbeat(self, value: str) -> None:
        self.heartbeat = parse_number(int, "heartbeat", value)

    def _set_url_locale(self, value: str) -> None:
        self.locale = value

    def _set_url_retry_delay(self, value: str) -> None:
        self.retry_delay = parse_number(float, "retry_delay", value)

    def _set_url_socket_timeout(self, value: str) -> None:
        self.socket_timeout = parse_number(float, "socket_timeout", value)

    def _set_url_stack_timeout(self, value: str) -> None:
        self.stack_timeout = parse_number(float, "stack_timeout", value)

    def _set_url_ssl_options(self, value: str) -> None:
        options = parse_ssl_options(value)
        if options is not None:
            self.ssl_options = _ssl_options_from_dict(options)
        elif self.ssl_options is not None:
            raise ValueError(
                "Specified ssl_options=None URI arg is inconsistent with the specified amqps URI scheme."
            )

    def _set_url_tcp_options(self, value: str) -> None:
        import ast

        self.tcp_options = ast.literal_eval(value)


def _ssl_options_from_dict(options: dict[str, Any]) -> SSLOptions:
    """Return the TLS options that the dict of the URL describes."""
    import ssl

    context = ssl.SSLContext(protocol=options.get("protocol", ssl.PROTOCOL_TLS_CLIENT))
    context.load_verify_locations(
        options.get("ca_certs") or options.get("cafile"),
        options.get("ca_path") or options.get("capath"),
        options.get("ca_data") or options.get("cadata"),
    )
    if "certfile" in options:
        context.load_cert_chain(options["certfile"], options.get("keyfile"), options.get("password"))
    if "ciphers" in options:
        context.set_ciphers(options["ciphers"])
    return SSLOptions(context=context, server_hostname=options.get("server_hostname"))


class SSLOptions:
    """TLS for a connection."""

    __slots__ = {
        "context": "The `ssl.SSLContext`: certificates, versions, ciphers.",
        "server_hostname": "The name to ask for and to check; None for the host of the parameters.",
    }

    def __init__(self, context: cpika.connection.ssl.SSLContext, server_hostname: str | None = None) -> None:
        """
        :param context: decides on certificates, versions and ciphers
        :param server_hostname: the name to ask for (SNI) and to check; the host of the parameters if None
        :raises TypeError: `context` is not an `ssl.SSLContext`
        """
        import ssl

        if not isinstance(context, ssl.SSLContext):
            raise TypeError(f"context must be of ssl.SSLContext type, but got {context!r}")
        self.context = context
        self.server_hostname = server_hostname


def __getattr__(name: str) -> Any:
    """Load `Connection`, which needs the C core, and `ssl`, when they are first asked for."""
    if name == "ssl":
        import ssl

        return ssl
    if name != "Connection":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cpika._async.connection import Connection

    globals()[name] = Connection
    _home.at_home(__name__, Connection)
    return Connection
