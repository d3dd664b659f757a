"""Addresses as settings name them, host:port with an IPv6 host in brackets, and channels to our own processes."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass

# A channel to one of our own processes goes there and nowhere else, whatever http_proxy and its like may say.
NO_PROXY = ("grpc.enable_http_proxy", 0)

_NAME = re.compile(r"(?=.{1,253}\.?$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*\.?", re.ASCII)
_NUMBERS = re.compile(r"[0-9.]+", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


@dataclass(frozen=True, slots=True)
class Address:
    """A host, an IPv6 one without its brackets, and a port from 0 to 65535."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def reachable(self) -> Address:
        """Where this machine reaches a process that listens here: the loopback, if it listens everywhere."""
        return Address(_EVERYWHERE.get(self.host, self.host), self.port)


def read_address(text: str, *, lowest_port: int = 1) -> Address:
    """Read host:port.

    Raises:
        ValueError: if it is none; the text says what is wrong.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError(f"must be host:port, such as 127.0.0.1:50051, not {text!r}")
    if not _PORT.fullmatch(port) or not lowest_port <= int(port) <= 65535:
        raise ValueError(f"must end in a port from {lowest_port} to 65535, not {port!r}")
    return Address(_read_host(host), int(port))


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port of a host of this machine that is free now.

    Raises:
        OSError: if the host is not one of this machine.
    """
    family, kind, protocol, _, where = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.bind(where)
        port: int = probe.getsockname()[1]
        return port


def check_free(address: Address) -> None:
    """Return if a server could listen here now.

    Raises:
        OSError: if the port is taken, or the host is not one of this machine.
    """
    family, kind, protocol, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old connections may linger
        probe.bind(where)
        probe.listen()


def _read_host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        return str(ipaddress.IPv6Address(host[1:-1]))
    if ":" in host:
        raise ValueError(f"an IPv6 host must stand in brackets, such as [::1]:50051, not {host!r}")
    if _NUMBERS.fullmatch(host):
        return str(ipaddress.IPv4Address(host))
    if not _NAME.fullmatch(host):
        raise ValueError(f"must begin with a host's name or number, not {host!r}")
    return host
