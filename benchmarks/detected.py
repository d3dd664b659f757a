"""What share of other images a run's concept is detected in: python benchmarks/detected.py RUN CONCEPT SOURCE...

Of each source the test images are taken, or all if it has no split, as the run takes its images: size, channels, JPEG
quality. Nothing is chosen: unit, sign and threshold are those of the run's `concepts.json`. With `--crops` the images
are also cut as `mintage neurons find --crops` cuts them. Beside each share stands its 95 % bootstrap interval. Sources
that show the concept should have high shares; the others' are false alarms.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this file's folder, where training.py would shadow the package of its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
from rich.console import Console
from rich.table import Table

from training.data import has_split, load
from training.neurons.activations import activations_of, load_autoencoder_run
from training.neurons.concepts import read_concepts
from training.neurons.examples import Examples
from training.neurons.measures import bootstrap_interval


def main() -> None:
    """Print a row per source and crop."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run with concepts")
    parser.add_argument("concept", help="name of one of them")
    parser.add_argument("sources", nargs="+", help="images: folders, files or data sets, as --data takes them")
    parser.add_argument("--crops", type=float, nargs="*", default=[], help="shares of a side cut off at either end")
    parser.add_argument("--limit", type=int, help="largest number of images of a source")
    arguments = parser.parse_args()
    trained = load_autoencoder_run(arguments.run)
    concept = next(each for each in read_concepts(arguments.run) if each.name == arguments.concept)
    table = Table("source", "cut off", "images", f"{concept.name} detected, %", "95 %")
    for source in arguments.sources:
        images = load(
            source,
            "test" if has_split(source, "test") else "train",
            size=(trained.config.height, trained.config.width),
            channels=trained.config.channels,
            limit=arguments.limit,
            jpeg_quality=trained.config.jpeg_quality,
        ).images
        some = np.ones(len(images), bool)
        seen = Examples(images, some, np.arange(len(images))).also_cropped(arguments.crops).images
        activations = activations_of(trained.network, seen)[concept.stage - 1][:, concept.unit]
        for cut, decisions in zip(
            (0, *arguments.crops), concept.decides(activations).reshape(-1, len(images)), strict=True
        ):
            low, high = bootstrap_interval(decisions, seed=1)
            cells = (f"{100 * decisions.mean():.1f}", f"{100 * low:.1f} to {100 * high:.1f}")
            table.add_row(Path(source).name, f"{100 * cut:g} %", f"{len(decisions):,}", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
