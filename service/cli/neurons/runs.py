"""Shared by the verbs on an autoencoder's run: options, network, images and progress bars."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.data_options import data_options
from service.cli.run_data import as_trained

if TYPE_CHECKING:
    from rich.progress import Progress

    from training.data import Options
    from training.neurons.activations import LoadedRun

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run folder of a sparse autoencoder.", show_default=False)
]
SeedOption = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of every random choice.")]
DeviceOption = Annotated[str, typer.Option(help="Device: cpu, cuda or cuda:N.")]


def load_on_device(run: Path, device: str) -> LoadedRun:
    """Load a run's network onto a device after checking that it is available."""
    import torch

    from training.errors import RunError
    from training.neurons.activations import load_autoencoder_run

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RunError(f"--device {device} cannot be used: {str(error).splitlines()[0]}") from None
    return load_autoencoder_run(run, device=device)


def run_options(trained: LoadedRun, *, limit: int | None, max_damaged: int | None, jpeg: int | None) -> Options:
    """Return options that convert images to the run's size, channels and JPEG quality."""
    return as_trained(data_options(limit=limit, max_damaged=max_damaged, jpeg=jpeg), trained.config)


def shown_tasks(progress: Progress) -> Callable[[str, int], Callable[[int], None]]:
    """Return a function that shows a bar per piece of work, or prints a line without a terminal."""

    def begin(name: str, total: int) -> Callable[[int], None]:
        if progress.disable:
            typer.echo(f"{name}: {total:,}", err=True)
        task = progress.add_task(name, total=total)
        return lambda more: progress.advance(task, more)

    return begin
