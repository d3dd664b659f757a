"""A model as the server describes it, before it is asked: its kind and size, and what is being done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.cli.console import FAILED, fail

if TYPE_CHECKING:
    from mintage.client import Client
    from mintage.v1.models_pb2 import Model, ModelChange

_WORDS = {
    "WAITING": "waiting for another change of it to end",
    "COPYING": "copying the archive",
    "STARTING": "starting workers",
    "PROVING": "proving batch sizes",
    "ANSWERING": "waiting for a first inference",
}


def described(client: Client, name: str) -> Model:
    """Ask for a model whose kind and image size are to be known.

    Exits with 1 while it is loaded for the first time, when nobody knows them yet.

    Raises:
        InvalidRequest: if this cannot be a model's name.
        NotFound: if no model of that name is loaded.
    """
    model = client.model(name)
    if not model.shape.height:
        short = model.name.removeprefix("models/")
        why = model.message or stage_of(model)
        what = f"{model.name} is not ready yet{why and f' ({why})'}; `mintage models watch {short}` shows when it is"
        fail(what, FAILED, reason="MODEL_NOT_READY")
    return model


def stage_of(model: Model) -> str:
    """What is being done with a model, such as `proving batch sizes, 3 of 10`; empty if nothing is."""
    change: ModelChange = model.change
    words = _WORDS.get(type(change).Stage.Name(change.stage).removeprefix("STAGE_"), "")
    return f"{words}, {change.sizes_tried} of {change.sizes_total}" if change.sizes_total and words else words
