"""How both clients connect."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Any

from mintage._client.calls import Call
from mintage.errors import ClientError, InputError
from mintage.identity import CLIENT_KEY, CLIENT_NAME

TIMEOUT_S = 60.0  # as long as the server's own limit on a call, MINTAGE_MAX_DEADLINE_S
MAX_MESSAGE_BYTES = 256 * 2**20  # four times the server's default: its limit is the one that counts

OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


_HOST = re.compile(r"(?:ipv[46]:|dns:(?:///?[^/]*/)?)?\[?([^\[\]/]*?)\]?(?::[0-9]+)?", re.ASCII)
_WITHOUT_PORT = ("unix:", "unix-abstract:", "vsock:")
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")  # the first that is set is the one that gRPC uses
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy")


def checked(address: str) -> str:
    """Return an address that gRPC may connect to: it takes a port modulo 65536, and so would reach some other server.

    Raises:
        InputError: if it names no host, or no port from 1 to 65535.
    """
    if address.startswith(_WITHOUT_PORT):
        return address
    for each in address.split(","):  # `ipv4:` and `ipv6:` take several
        host, _, port = each.rpartition(":")
        if not host or host.count("[") != host.count("]"):
            raise InputError(f"an address must be host:port, such as 127.0.0.1:50051, not {address!r}")
        by_default = port.startswith("/") and host.isalpha()  # `dns:///host`, whose port is that of the web
        if not by_default and not (_PORT.fullmatch(port) and 1 <= int(port) <= 65535):
            raise InputError(f"an address must end in a port from 1 to 65535, not {port!r}")
    return address


def options_for(address: str) -> tuple[tuple[str, int], ...]:
    """Return the options of a channel to an address: one to this machine never goes through a proxy."""
    return (*OPTIONS, ("grpc.enable_http_proxy", 0)) if _is_here(address) else OPTIONS


def proxy_hint(address: str) -> str:
    """Say which variable sends the calls to an address through a proxy; nothing if none does."""
    host = _host(address)
    exceptions = next((os.environ[name] for name in _EXCEPTIONS if os.environ.get(name)), "")
    spared = any(host.endswith(each.strip()) for each in exceptions.split(",") if each.strip())
    name = next((name for name in _PROXIES if os.environ.get(name)), None)
    if name is None or spared or _is_here(address):
        return ""
    return f"; {name} sends the call through a proxy, no_proxy={host} would send it straight there"


def _is_here(address: str) -> bool:
    host = _host(address)
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost") or address.startswith("unix:")
    return number.is_loopback or number.is_unspecified


def _host(address: str) -> str:
    found = _HOST.fullmatch(address)
    return found[1].lower() if found else ""


def metadata_of(name: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata of every call of a client of this name; none if the name is empty.

    Raises:
        InputError: if the name is not 1 to 64 of the allowed characters.
    """
    if not name:
        return ()
    if not CLIENT_NAME.fullmatch(name):
        raise InputError(f"a client's name must be 1 to 64 of A-Z, a-z, 0-9, '.', '_', '@' and '-', not {name!r}")
    return ((CLIENT_KEY, name),)


def closed() -> ClientError:
    """Return the error for a call of a client that was closed."""
    return ClientError("this client was closed; make another")


def callable_of(factory: Any, call: Call[Any]) -> Any:
    """The stub of a call's method; `factory` is a channel's `unary_unary`, `stream_unary` or `unary_stream`."""
    return factory(
        call.method,
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=call.answer.FromString,
    )
