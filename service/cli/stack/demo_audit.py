"""Counts what is on disk after the demo's job, from the files alone: nothing of the job engine takes part."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


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
        data = (job / shard["file"]).read_bytes()
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
