"""The network behind mosec (mosecorg.github.io/mosec): python benchmarks/peers/mosec_server.py --port 8000."""

from __future__ import annotations

import os
from typing import Any

from mosec import Server, Worker

from benchmarks.peers.network import Module
from benchmarks.peers.protocol import Asked, read_request


class Generator(Worker):  # type: ignore[misc]
    """Answers a batch of requests."""

    resp_mime_type = "application/octet-stream"

    def __init__(self) -> None:
        super().__init__()
        self.module = Module.from_environment()

    def deserialize(self, data: bytes) -> Asked:
        """Read a request."""
        return read_request(data)

    def forward(self, data: Any) -> list[bytes]:
        """Answer a batch."""
        return self.module.images(data)

    def serialize(self, data: bytes) -> bytes:
        """Send the pixels as they are."""
        return data


if __name__ == "__main__":
    server = Server()
    batch, wait_ms = int(os.environ["PEER_BATCH"]), int(os.environ["PEER_WAIT_MS"])
    workers = int(os.environ.get("PEER_WORKERS", "1"))
    server.append_worker(Generator, num=workers, max_batch_size=batch, max_wait_time=wait_ms)
    server.run()
