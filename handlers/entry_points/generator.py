"""TorchServe's handler of generators. TorchServe wants one class in this file and imports it by its base name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handlers.entry_points import startup
from handlers.operations import items
from handlers.operations.generation import Sampler
from handlers.protocol import messages
from handlers.protocol.messages import Answer, Failure, Request


class GeneratorHandler:
    """Serves one generator; `handle` runs the other hooks in their order."""

    def initialize(self, context: Any) -> None:
        """Load the archive that TorchServe has unpacked."""
        self.server = startup.serve(context.system_properties, "generator", Sampler)

    def preprocess(self, data: Sequence[Mapping[str, bytes]]) -> list[Request | Failure]:
        """Read and check every request."""
        return items.read(data, self.server.check)

    def inference(self, requests: Sequence[Request | Failure]) -> list[Answer | Failure]:
        """Answer every sound request, those that need the same micro-batch share it."""
        return self.server.answers(requests)

    def postprocess(self, answers: Sequence[Answer | Failure]) -> list[bytes]:
        """Write every answer."""
        return [messages.write_answer(answer, self.server.facts) for answer in answers]

    def handle(self, data: Sequence[Mapping[str, bytes]], context: Any) -> list[bytes]:
        """Answer a batch of requests, item by item."""
        return self.postprocess(self.inference(self.preprocess(data)))
