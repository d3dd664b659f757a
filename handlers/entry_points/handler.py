"""The hooks that TorchServe calls, the same for every kind of model.

TorchServe imports an archive's handler file by its base name and takes the only class whose `__module__` is that name;
classes that the file imports, such as `Handler`, are not considered (`ts.model_loader`). It starts, restarts and ends
worker processes; requests reach the model by the worker's own socket (`handlers.serving.server`), and by `handle` only
while a model is being registered, and from other hosts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from handlers.entry_points import startup
from handlers.entry_points.startup import ModelOperations
from training.recipes import Kind


class Handler:
    """Serves one model; a subclass in the handler file sets the kind, and what answers."""

    KIND: ClassVar[Kind]
    OPERATIONS: ClassVar[type[ModelOperations]]

    def initialize(self, context: Any) -> None:
        """Load the archive that TorchServe has unpacked."""
        self.desk = startup.serve(context.system_properties, context.model_name, self.KIND, self.OPERATIONS)

    def handle(self, data: Sequence[Mapping[str, bytes]], context: Any) -> list[bytes]:
        """Answer requests one by one."""
        return [self.desk.ask(item) for item in data]
