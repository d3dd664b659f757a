"""What each technique of Salimans et al. 2016 is worth: python benchmarks/techniques.py [--seeds 1 2].

The form is that of the paper's table 3 (arXiv:1606.03498): one GAN with all techniques, then the same GAN with one of
them taken away or exchanged, each scored by the samples it makes. The data are the bundled digits, the network is the
fully connected K+1 pair, and the scores are over the project's digit features, so that no value may be compared with
one of the paper; the order of the rows may. Runs that are there already are not trained again. About two minutes of
one idle CPU core for each row and seed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

if __name__ == "__main__":  # this file's folder, where training.py would shadow the package of its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from rich.console import Console
from rich.table import Table

from service.cli.scores.samples import generate
from training.data import load
from training.extractors.digits import DigitFeatures
from training.loop.loop import train
from training.recipes import recipe_named
from training.scores.comparison import compare
from training.scores.conditions import Conditions

ROOT = Path(__file__).resolve().parent.parent
ALL: dict[str, object] = {
    "labels": 1000,
    "generator_loss": "non-saturating",
    "minibatch_kernels": 50,
    "real_target": 0.9,
    "generator_norm": "virtual",
    "max_seconds": "inf",
}
VARIANTS: dict[str, dict[str, object]] = {
    "all: labels, minibatch discrimination, label smoothing, VBN": {},
    "batch normalisation in place of VBN": {"generator_norm": "batch"},
    "historical averaging in place of labels": {"labels": 0, "historical_averaging": 1e-4},
    "no label smoothing": {"real_target": 1.0},
    "no labels": {"labels": 0},
    "no minibatch discrimination": {"minibatch_kernels": 0},
    "feature matching in place of minibatch discrimination": {
        "minibatch_kernels": 0,
        "generator_loss": "feature-matching",
    },
}


@dataclass(frozen=True, slots=True)
class Row:
    """One variant, trained with one seed."""

    variant: str
    seed: int
    classifier_score: float
    frechet_distance: float
    recall: float
    test_accuracy: float | None


def main() -> None:
    """Train and score every variant, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000, help="length of each run, images (default 100000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="seeds of the runs (default 1)")
    parser.add_argument("--samples", type=int, default=10_000, help="samples scored (default 10000)")
    parser.add_argument("--runs", type=Path, default=Path("runs/techniques"), help="folder of the runs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows = [
        measured(variant, seed, options.images, options.samples, options.runs)
        for seed in options.seeds
        for variant in VARIANTS
    ]
    print(json.dumps([asdict(row) for row in rows], indent=2)) if options.json else print_table(rows, options.samples)


def measured(variant: str, seed: int, images: int, samples: int, runs: Path) -> Row:
    """Train one variant, or take the run that is there, and score its samples."""
    fields = {**ALL, **VARIANTS[variant], "images": images, "seed": seed, "checkpoint_images": images}
    recipe = recipe_named("ssgan-digits").overridden(fields)
    run = runs / f"{list(VARIANTS).index(variant)}-seed{seed}-{images}"
    print(f"{variant}, seed {seed}: {run}", file=sys.stderr)
    test = load("digits", "test")
    done = train(recipe, load("digits", "train"), run, test=test)
    sees = DigitFeatures.load(ROOT / "models" / "digit-features")
    made = generate(run, count=samples, seed=seed, report=lambda _: None)
    seen = sees(made.images)
    conditions = Conditions(extractor=sees.sha256, reference="digits test")
    scores = compare(sees(test.images).features, seen.features, seen.probabilities, seed=seed, conditions=conditions)
    assert scores.classifier is not None
    return Row(
        variant,
        seed,
        classifier_score=scores.classifier.mean,
        frechet_distance=scores.frechet.value,
        recall=scores.shares.recall,
        test_accuracy=done.test_accuracy,
    )


def print_table(rows: list[Row], samples: int) -> None:
    """Print each variant's means over the seeds."""
    table = Table("variant", "classifier score", "Frechet distance", "recall", "test accuracy", box=None)
    for variant in VARIANTS:
        mine = [row for row in rows if row.variant == variant]
        accuracies = [row.test_accuracy for row in mine if row.test_accuracy is not None]
        table.add_row(
            variant,
            f"{statistics.mean(row.classifier_score for row in mine):.2f}",
            f"{statistics.mean(row.frechet_distance for row in mine):.2f}",
            f"{statistics.mean(row.recall for row in mine):.2f}",
            f"{100 * statistics.mean(accuracies):.1f} %" if accuracies else "-",
        )
    Console(width=120).print(table)
    print(f"{samples:,} samples against 2,000 test digits; means over seeds {sorted({row.seed for row in rows})}")


if __name__ == "__main__":
    main()
