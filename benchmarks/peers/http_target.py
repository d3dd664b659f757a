"""The peers under load: HTTP/1.1 with as little Python as can be, so that the client costs them little."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from benchmarks.peers.protocol import IMAGE_BYTES, request
from service.cli.load.target import CallFailedError

TIMEOUT_S = 30.0


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
        self._socket: socket.socket | None = None

    def call(self, number: int) -> None:
        """Ask for the images of one call.

        Raises:
            CallFailedError: with HTTP_{status}, the name of the network's error, or WRONG_ANSWER.
        """
        if len(body := self.ask(number * self._target.images)) != self._target.images * IMAGE_BYTES:
            raise CallFailedError("WRONG_ANSWER", f"{len(body)} bytes for {self._target.images} images")

    def ask(self, first_index: int) -> bytearray:
        """Return the pixels of consecutive samples of seed 1.

        Raises:
            CallFailedError: as `call`.
        """
        body = request(first_index, self._target.images)
        head = (
            f"POST {self._target.path} HTTP/1.1\r\nHost: 127.0.0.1:{self._target.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            return self._exchange(head.encode() + body)
        except OSError as error:
            self.close()
            raise CallFailedError(type(error).__name__, str(error)) from None

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, request: bytes) -> bytearray:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._target.port), TIMEOUT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request)
        received = bytearray()
        while (end := received.find(b"\r\n\r\n")) < 0:
            self._acknowledge_at_once()
            if not (part := self._socket.recv(65_536)):
                raise ConnectionResetError("closed before an answer")
            received += part
        head, body = bytes(received[:end]).lower(), received[end + 4 :]
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        answer = bytearray(length)
        answer[: len(body)] = body
        view = memoryview(answer)[len(body) :]
        while view:
            self._acknowledge_at_once()
            if not (count := self._socket.recv_into(view)):
                raise ConnectionResetError("closed in the middle of an answer")
            view = view[count:]
        status = head.split(b" ", 2)[1].decode()
        if status != "200":
            raise CallFailedError(f"HTTP_{status}", answer[:200].decode(errors="replace"))
        return answer

    def _acknowledge_at_once(self) -> None:
        """Keep servers that send head and body apart, by Nagle's algorithm, from waiting 40 ms for us."""
        assert self._socket is not None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # holds until the kernel thinks otherwise
