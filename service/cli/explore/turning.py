"""What is turned along a direction, how far, and the rows of a sheet that show it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import fail

if TYPE_CHECKING:
    import numpy as np
    from mintage.v1.latents_pb2 import Latent
    from numpy.typing import NDArray

    from service.images.sheets import Panel

MAX_STRENGTHS = 64  # columns of a sheet
_SAMPLES = re.compile(r"(\d*)#(\d+)\s*:\s*(?:\1#)?(\d+)(?!\s*:)", re.ASCII)  # #20:#27
_RANGE = re.compile(r"([^:,]+):([^:,]+):(\d+)", re.ASCII)

ApplyOption = Annotated[
    str,
    typer.Option(
        "--apply", metavar="LATENTS", help="Latents to apply it to, between commas; '#20:#27' is samples 20 to 27."
    ),
]
StrengthsOption = Annotated[
    str,
    typer.Option(
        metavar="A:B:N",
        help="How much of it is added: N strengths from A to B, or numbers between commas.",
    ),
]


def read_set(text: str, *, seed: int) -> list[Latent]:
    """Read latents between commas, `#20:#27` as the samples from 20 to 27; exits with 2 where they are wrong."""
    from mintage.formulas import FormulaError, parse

    if not text.strip():
        fail("expected latents between commas, such as '#1,#4,#9'")
    written = _SAMPLES.sub(_listed, text)
    start = "mean("
    try:
        latents = parse(f"{start}{written})", seed=seed)
    except FormulaError as error:
        fail(f"{written!r}, {FormulaError(max(1, error.column - len(start)), str(error).partition(': ')[2])}")
    if len(latents) != 1 or latents[0].WhichOneof("value") != "mean":
        fail(f"{text!r}: expected latents between commas, without ranges of numbers")
    return list(latents[0].mean.latents)


def read_strengths(text: str) -> list[float]:
    """Read strengths; exits with 2 if they are none."""
    import numpy as np

    try:
        if match := _RANGE.fullmatch(text.strip()):
            low, high, count = float(match[1]), float(match[2]), int(match[3])
            found = np.linspace(low, high, min(count, MAX_STRENGTHS + 1)).tolist()
        else:
            found = [float(part) for part in text.split(",")]
    except ValueError:
        fail(f"--strengths {text}: expected A:B:N, such as -2:2:9, or numbers between commas")
    if not 1 <= len(found) <= MAX_STRENGTHS or not np.isfinite(found).all():
        fail(f"--strengths {text}: expected from 1 to {MAX_STRENGTHS} finite numbers")
    return [round(strength, 12) + 0.0 for strength in found]


def turned(latents: Sequence[Latent], direction: Latent, strengths: Sequence[float]) -> list[Latent]:
    """Return the formulas of latents plus a direction times each strength, latent by latent."""
    from mintage.v1 import latents_pb2
    from mintage.v1.latents_pb2 import Latent

    term = latents_pb2.LatentSum.Term
    return [
        Latent(sum=latents_pb2.LatentSum(terms=[term(weight=1, latent=each), term(weight=strength, latent=direction)]))
        for each in latents
        for strength in strengths
    ]


def turned_panel(
    heading: str, images: NDArray[np.uint8], latents: Sequence[Latent], strengths: Sequence[float]
) -> Panel:
    """Put images of `turned` on a sheet: a row for each latent, a column for each strength."""
    from service.images.sheets import Panel, Tile

    captions = [f"{name_of(latent)} {strength:+.3g}" for latent in latents for strength in strengths]
    tiles = [Tile(image, caption) for image, caption in zip(images, captions, strict=True)]
    return Panel(heading, tiles, len(strengths))


def name_of(latent: Latent) -> str:
    """The text of a latent, without a seed of 0, cut where it is long."""
    from mintage.latents import text_of

    text = text_of(latent)
    text = text.removeprefix("0") if text.startswith("0#") else text
    return text if len(text) <= 24 else f"{text[:21]}..."


def _listed(match: re.Match[str]) -> str:
    """Write a range of samples one by one."""
    seed, first, last = match[1], int(match[2]), int(match[3])
    if not 0 <= last - first < 1024:
        fail(f"{match[0]}: expected a first sample and a last one, at most 1,024 in all")
    return ", ".join(f"{seed}#{index}" for index in range(first, last + 1))
