"""The network behind TorchServe, by its own batching; the archive's name is the form of the network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.peers.network import Module
from benchmarks.peers.protocol import read_request


class Generator:
    """Answers a batch of requests; TorchServe calls `initialize` once and `handle` per batch."""

    def initialize(self, context: Any) -> None:
        """Load the network."""
        form = context.manifest["model"]["modelName"]
        self.module = Module(Path(os.environ["PEER_RUN"]), form, int(os.environ["PEER_THREADS"]))

    def handle(self, data: list[dict[str, bytearray]], context: Any) -> list[bytes]:
        """Answer every request of a batch."""
        return self.module.images([read_request(bytes(one["request"])) for one in data])
