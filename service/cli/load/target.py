"""What is put under load: anything that can be called again and again, from many connections."""

from __future__ import annotations

from typing import Protocol


class CallFailedError(Exception):
    """Raised when a call gets an error, or an answer that is not the one expected.

    Attributes:
        code: Short name that failures are counted by, such as RESOURCE_EXHAUSTED.
    """

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message


class Connection(Protocol):
    """One client's connection, used by one thread."""

    def call(self, number: int) -> None:
        """Make the call of this number, from 0, and read its whole answer.

        Raises:
            CallFailedError: if it fails.
        """

    def close(self) -> None:
        """Close it."""


class Target(Protocol):
    """A server and what it is asked. It is pickled into the clients' processes."""

    @property
    def images(self) -> int:
        """Images per call."""

    def connect(self) -> Connection:
        """Open a connection for one client."""
