"""How the loading or scaling of a model looks while it goes on: a spinner on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import typer

from service.cli.console import FAILED, errors_console, fail, if_interrupted
from service.cli.described import stage_of

if TYPE_CHECKING:
    from mintage.client import Client
    from mintage.v1.models_pb2 import Model


def follow(client: Client, name: str) -> Model:
    """Show a model until no change of it is under way, and return it; if interrupted, say that the change continues.

    Raises:
        ApiError: if the change failed.
    """
    from mintage.client import change_error
    from mintage.v1.models_pb2 import Model

    model = Model()
    short = name.removeprefix("models/")
    with if_interrupted(f"the server goes on; watch it: mintage models watch {short}"), _shown() as show:
        for model in client.watch_model(name):
            show(stage_of(model))
    if (error := change_error(model.change)) is not None:
        raise error
    if model.state == Model.STATE_FAILED:
        fail(f"{model.name}: {model.message}", FAILED)
    return model


@contextlib.contextmanager
def _shown() -> Iterator[Callable[[str], None]]:
    """Yield what shows a text: in a spinner, or on a line of its own if it is another than before."""
    output = errors_console()
    if output.is_terminal:
        with output.status("asking") as status:
            yield lambda text: status.update(text) if text else None
        return
    seen = [""]

    def line(text: str) -> None:
        if text and text != seen[0]:
            typer.echo(text, err=True)
            seen[0] = text

    yield line
