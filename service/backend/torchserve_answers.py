"""What TorchServe's management answers, read from its JSON: names of models, the state of a model's workers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from service.errors import Internal


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """What TorchServe says about one model. A ready worker may hang: only `wait_until_ready` shows that it answers."""

    workers_ready: int
    workers_total: int

    @property
    def ready(self) -> bool:
        """Whether every worker is ready."""
        return 0 < self.workers_total <= self.workers_ready

    @property
    def starting(self) -> bool:
        """Whether some worker is not ready: it starts, or starts again after a pause."""
        return self.workers_ready < self.workers_total


def read_names(text: str) -> tuple[list[str], int]:
    """Read a page of the names of models; returns also which page is next, 0 if none is."""
    answer = _json(text)
    return [str(model["modelName"]) for model in answer["models"]], int(answer.get("nextPageToken") or 0)


def read_status(text: str) -> BackendStatus:
    """Read the state of one model's workers."""
    workers = _json(text)[0]["workers"]
    return BackendStatus(
        workers_ready=sum(worker["status"] == "READY" for worker in workers),
        workers_total=len(workers),
    )


def _json(text: str) -> Any:
    """Read a management message that should be JSON."""
    try:
        return json.loads(text)
    except ValueError:
        raise Internal("the model server's answer is no JSON", reason="MODEL_SERVER_DAMAGED") from None
