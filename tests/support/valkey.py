"""A real Valkey, or Redis, for tests: its own folder, a free port, a password, append-only file, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import redis

from service.processes.valkey import command


@dataclass(slots=True)
class Valkey:
    """One server, of `program` or the Valkey that ships; `start` it again after `kill` and it has what it had."""

    folder: Path
    port: int
    program: str = ""
    password: str = field(default_factory=lambda: secrets.token_hex(8))
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address with the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        """A blocking client."""
        return redis.Redis.from_url(self.url, decode_responses=True)

    def start(self) -> None:
        """Start it and wait until it answers."""
        ours, *arguments = command(self.folder, self.port, self.password)
        with (self.folder / "valkey.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program or ours, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + 60
        while not self.answers():
            assert self.process.poll() is None and time.monotonic() < deadline, (self.folder / "valkey.log").read_text()
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def answers(self) -> bool:
        with contextlib.closing(self.client()) as client, contextlib.suppress(redis.exceptions.ConnectionError):
            return bool(client.ping())
        return False


@contextlib.contextmanager
def running_valkey(folder: Path, program: str = "") -> Iterator[Valkey]:
    """Run a server for the length of a block: the Valkey that ships, or another program."""
    server = Valkey(folder, free_port(), program)
    folder.mkdir(parents=True, exist_ok=True)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**variables: str) -> dict[str, str]:
    """The environment for a child process: ours, without the product's own variables, and these."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MINTAGE_")}
    return {**ours, **variables}
