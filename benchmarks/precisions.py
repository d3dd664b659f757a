"""What bfloat16 costs a picture: python benchmarks/precisions.py [--images 10000].

Each shipped generator makes the same samples in float32 and in bfloat16. The Frechet distance between the two sets says
whether they differ as sets; beside it stands that between two sets in float32 of other seeds, which differ by chance
alone. Digits are compared by the features of the K+1 classifier that ships with them, cats and faces by those of the
face neuron, which sees them at half their size; both in float32. Takes about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

if __name__ == "__main__":  # this file's folder, where training.py would shadow the package of its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from handlers.compute import environment
from handlers.compute.model import from_run
from handlers.compute.precision import Precision
from handlers.operations.direct import generate
from handlers.protocol.images import from_pixels
from handlers.protocol.requests import Generate
from training.networks.features import pooled_units
from training.scores.frechet import Moments, frechet_distance

MODELS = Path(__file__).resolve().parent.parent / "models"
CPU = torch.device("cpu")
CHUNK = 512  # images at a time
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Row:
    """One generator."""

    generator: str
    features: str  # whose
    images: int
    mean_difference: float  # grey levels, between the precisions
    largest_difference: int  # grey levels
    between_precisions: float  # Frechet distance
    between_seeds: float  # Frechet distance


def main() -> None:
    """Compare every shipped generator's samples and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000, help="samples of each set (default 10000)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    environment.prepare()
    rows = [
        compared("digits-generator", "digits-ssgan", digit_features(), options.images),
        compared("cats-dcgan", "face-neuron", face_features(), options.images),
        compared("faces-dcgan", "face-neuron", face_features(), options.images),
    ]
    print(json.dumps([asdict(row) for row in rows], indent=2)) if options.json else print_table(rows)


def compared(generator: str, extractor: str, features: Callable[[Pixels], NDArray[np.float32]], count: int) -> Row:
    """Make the three sets of one generator, chunk by chunk, and compare them."""
    moments: dict[str, Moments] = {}
    total, largest = 0.0, 0
    for first in range(0, count, CHUNK):
        size = min(CHUNK, count - first)
        exact, short = (samples(generator, precision, 1, first, size) for precision in ("float32", "bfloat16"))
        other = samples(generator, "float32", 2, first, size)
        difference = np.abs(exact.astype(np.int16) - short)
        total += float(difference.mean()) * size
        largest = max(largest, int(difference.max()))
        for name, images in (("float32", exact), ("bfloat16", short), ("other seed", other)):
            found = Moments.of(features(images))
            moments[name] = moments[name] + found if name in moments else found
        print(f"{generator}: {first + size} of {count}", file=sys.stderr)
    between = {name: frechet_distance(moments["float32"], moments[name]).value for name in ("bfloat16", "other seed")}
    return Row(generator, extractor, count, total / count, largest, between["bfloat16"], between["other seed"])


def samples(generator: str, precision: Precision, seed: int, first: int, count: int) -> Pixels:
    """Make samples of a shipped generator, uint8 [count, H, W, C]."""
    model = from_run(MODELS / generator, "generator", CPU, precision=precision)
    [images] = generate(model, [Generate(seed, first, count)])
    if not isinstance(images, np.ndarray):
        raise RuntimeError(images.message)
    return images


def digit_features() -> Callable[[Pixels], NDArray[np.float32]]:
    """The last hidden layer of the K+1 classifier."""
    model = from_run(MODELS / "digits-ssgan", "classifier", CPU, precision="float32")
    return lambda images: numbers(model.classifier.logits_and_features(from_pixels(images, CPU))[1])


def face_features() -> Callable[[Pixels], NDArray[np.float32]]:
    """The maps of the face neuron's top stage, of images at half their size."""
    model = from_run(MODELS / "face-neuron", "neurons", CPU)
    return lambda images: numbers(pooled_units(model.autoencoder(from_pixels(halved(images), CPU))[-1]))


def numbers(features: torch.Tensor) -> NDArray[np.float32]:
    """Features [N, F] as an array."""
    found: NDArray[np.float32] = features.numpy()
    return found


def halved(images: Pixels) -> Pixels:
    """Bring images [N, H, W, C] to half their size: each pixel the mean of four, rounded."""
    count, height, width, channels = images.shape
    blocks = images.reshape(count, height // 2, 2, width // 2, 2, channels)
    means: Pixels = np.rint(blocks.mean(axis=(2, 4), dtype=np.float64)).astype(np.uint8)
    return means


def print_table(rows: list[Row]) -> None:
    """Print the differences."""
    table = Table("generator", "features of", title=f"{rows[0].images} samples in float32 and in bfloat16")
    for name in ("grey levels, mean", "largest", "Frechet distance of the precisions", "of two seeds"):
        table.add_column(name, justify="right")
    for row in rows:
        distances = f"{row.between_precisions:.5f}", f"{row.between_seeds:.5f}"
        table.add_row(
            row.generator, row.features, f"{row.mean_difference:.3f}", str(row.largest_difference), *distances
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
