"""The peers under load, by the HTTP client of the standard library, as ours is called by grpcio's."""

from __future__ import annotations

import http.client
import socket
from dataclasses import dataclass

from benchmarks.peers.protocol import IMAGE_BYTES, request
from service.cli.load.target import CallFailedError

TIMEOUT_S = 30.0
HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """A server that takes POST requests of JSON and answers raw pixels.

    Attributes:
        port: Of the loopback.
        path: Such as /inference.
        images: Images per call.
    """

    port: int
    path: str
    images: int

    def connect(self) -> HttpConnection:
        """Open a connection that is kept alive."""
        return HttpConnection(self)


class HttpConnection:
    """One client's connection."""

    def __init__(self, target: HttpTarget) -> None:
        self._target = target
        self._connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=TIMEOUT_S)

    def call(self, number: int) -> None:
        """Ask for the images of one call.

        Raises:
            CallFailedError: with HTTP_{status}, the name of the network's error, or WRONG_ANSWER.
        """
        if len(body := self.ask(number * self._target.images)) != self._target.images * IMAGE_BYTES:
            raise CallFailedError("WRONG_ANSWER", f"{len(body)} bytes for {self._target.images} images")

    def ask(self, first_index: int) -> bytes:
        """Return the pixels of consecutive samples of seed 1.

        Raises:
            CallFailedError: as `call`.
        """
        try:
            self._connection.request("POST", self._target.path, request(first_index, self._target.images), HEADERS)
            self._acknowledge_at_once()
            answer = self._connection.getresponse()
            self._acknowledge_at_once()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise CallFailedError(type(error).__name__, str(error)) from None
        if answer.status != http.client.OK:
            raise CallFailedError(f"HTTP_{answer.status}", body[:200].decode(errors="replace"))
        return body

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        self._connection.close()

    def _acknowledge_at_once(self) -> None:
        """Keep servers that send head and body apart, by Nagle's algorithm, from waiting 40 ms for us."""
        if self._connection.sock is not None:  # it closes after an answer that says so
            option = socket.TCP_QUICKACK  # holds until the kernel thinks otherwise
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, option, 1)
