"""The hooks that TorchServe calls, the same for every kind of model.

TorchServe imports an archive's handler file by its base name and takes the only class whose `__module__` is that name;
classes that the file imports, such as `Handler`, are not considered (`ts.model_loader`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from handlers.entry_points import startup
from handlers.entry_points.startup import Server
from handlers.operations import items
from handlers.protocol import messages
from handlers.protocol.messages import Answer, Failure, Request
from training.recipes import Kind


class Handler:
    """Serves one model; a subclass in the handler file sets the kind, and what answers."""

    KIND: ClassVar[Kind]
    SERVER: ClassVar[type[Server]]

    def initialize(self, context: Any) -> None:
        """Load the archive that TorchServe has unpacked."""
        self.server = startup.serve(context.system_properties, self.KIND, self.SERVER)

    def preprocess(self, data: Sequence[Mapping[str, bytes]]) -> list[Request | Failure]:
        """Read and check every request."""
        return items.read(data, self.server.check)

    def inference(self, requests: Sequence[Request | Failure]) -> list[Answer | Failure]:
        """Answer every valid request."""
        return self.server.answers(requests)

    def postprocess(self, answers: Sequence[Answer | Failure]) -> list[bytes]:
        """Write every answer."""
        return [messages.write_answer(answer, self.server.facts) for answer in answers]

    def handle(self, data: Sequence[Mapping[str, bytes]], context: Any) -> list[bytes]:
        """Answer a batch of requests, item by item; runs the other hooks in their order."""
        return self.postprocess(self.inference(self.preprocess(data)))
