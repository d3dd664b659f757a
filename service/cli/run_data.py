"""Images for a trained run: treated as those that it was trained on, unless something else is asked for."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from service.cli.data_options import PLAIN_INTERVAL_S

if TYPE_CHECKING:
    from training.config import RunConfig
    from training.data import Options


def as_trained(options: Options, config: RunConfig) -> Options:
    """Fill in the size, the channels and the JPEG quality of a run's training images."""
    return dataclasses.replace(
        options,
        size=options.size or (config.height, config.width),
        channels=options.channels or config.channels,
        jpeg_quality=config.jpeg_quality if options.jpeg_quality is None else options.jpeg_quality,
    )


def plain_lines(what: str) -> Callable[[int, int], None]:
    """Return what prints how much is done to stderr every few seconds; nothing of what takes no longer."""
    started_s = last_s = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if now_s - last_s >= PLAIN_INTERVAL_S:
            last_s = now_s
            left_s = (now_s - started_s) * (total - done) / max(done, 1)
            typer.echo(f"{what}: {done:,} of {total:,}, {left_s:.0f} s left", err=True)

    return report
