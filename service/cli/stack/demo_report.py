"""What the demo found: printed as it goes, checked on disk, and written as one page with its pictures."""

from __future__ import annotations

import hashlib
import html
import io
import json
import os
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from service.cli import interrupts

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } td { padding: .2rem 1rem .2rem 0; vertical-align: top }
td:first-child { color: #666; white-space: nowrap } td { overflow-wrap: anywhere }
img { max-width: 100%; image-rendering: pixelated; border: 1px solid #ddd } figure { margin: 1.5rem 0 }
"""


class Report:
    """Facts and pictures of one demo.

    Args:
        folder: where the demo writes; made if missing.
        output: where lines are printed.
    """

    def __init__(self, folder: Path, output: Console) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.output = output
        self._rows: list[tuple[str, str]] = []
        self._pictures: list[tuple[str, Path]] = []

    def title(self, number: int, text: str) -> None:
        """Print the heading of a step."""
        self.output.print(f"\n[bold cyan]{number}/7[/bold cyan] [bold]{text}[/bold]", soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line of a step; a Ctrl-C that was held back since the last line takes effect here."""
        interrupts.check()
        self.output.print(f"    {text}", soft_wrap=True)

    def fact(self, name: str, value: str) -> None:
        """Print a fact and keep it for the page."""
        self.say(f"{name:<18} {value}")
        self._rows.append((name, value))

    def picture(self, caption: str, path: Path) -> None:
        """Print where a picture is and keep it for the page."""
        self.say(f"{'picture':<18} {path}")
        self._pictures.append((caption, path))

    def write(self) -> Path:
        """Write `report.html`, whole or not at all; returns its path."""
        rows = "".join(f"<tr><td>{html.escape(name)}<td>{html.escape(value)}" for name, value in self._rows)
        figures = "".join(
            f'<figure><img src="{html.escape(os.path.relpath(path, self.folder))}" alt="{html.escape(caption)}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
            for caption, path in self._pictures
        )
        page = f"<!doctype html><meta charset=utf-8><title>Mintage demo</title><style>{STYLE}</style>"
        path = self.folder / "report.html"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(f"{page}<h1>Mintage demo</h1><table>{rows}</table>{figures}\n")
        temporary.replace(path)
        return path


@dataclass(frozen=True, slots=True)
class Audit:
    """What is on disk, counted from the files alone."""

    shards: int
    images: int
    missing: int
    twice: int
    damaged_shards: int
    files: dict[int, bytes]

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Decode one image to uint8 [H, W, C]."""
        with Image.open(io.BytesIO(self.files[index]), formats=["PNG"]) as image:
            pixels = np.asarray(image)
        return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]


def audit(job: Path, *, expected: int) -> Audit:
    """Read every shard of a sample job and compare with the manifest.

    Args:
        job: the job's output folder.
        expected: number of images that were ordered.
    """
    manifest = json.loads((job / "manifest.json").read_text())
    files: dict[int, bytes] = {}
    seen: Counter[int] = Counter()
    damaged = 0
    for shard in manifest["shards"]:
        data = (job / "shards" / f"{shard['shard']:06d}.tar").read_bytes()
        damaged += hashlib.sha256(data).hexdigest() != shard["digest"]
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                if member.name.endswith(".png"):
                    index = int(Path(member.name).stem)
                    seen[index] += 1
                    files[index] = tar.extractfile(member).read()  # type: ignore[union-attr] # a regular file
    return Audit(
        shards=len(manifest["shards"]),
        images=seen.total(),
        missing=len(set(range(expected)) - seen.keys()),
        twice=sum(count > 1 for count in seen.values()),
        damaged_shards=damaged,
        files=files,
    )
