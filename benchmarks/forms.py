"""Forms of one network in one process, in turn: python benchmarks/forms.py [--threads 2].

The frozen network of the serving benchmark (`peers/network.py`), a DCGAN of width 64 for images of 64 x 64: as the
training builds it, as usual advice makes it fast (bfloat16, channels last, batch normalisation folded), and as
Mintage's handlers compute it; each to raw pixels. The forms take turns, pass by pass, so that a busy moment hits all.
Waiting threads sleep, as in a model worker. `--cpu-clock` counts the time of all threads together on their cores, which
stands still while other programs have them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

if __name__ == "__main__":  # this file's folder, where training.py would shadow the package of its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch is loaded

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.peers.network import Module, write_run
from benchmarks.peers.protocol import Form
from handlers.compute import environment
from handlers.compute.device import device_class

FORMS: tuple[Form, ...] = ("built", "folded", "ours")


@dataclass(frozen=True, slots=True)
class Row:
    """One form at one size of pass; milliseconds."""

    form: Form
    images: int
    fastest_ms: float
    median_ms: float


def main() -> None:
    """Time every form and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="for each size, all forms together (default 30)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--images", type=int, nargs="+", default=[64, 16, 1], help="sizes of passes (default 64 16 1)")
    parser.add_argument("--cpu-clock", action="store_true", help="time of the threads, not of the wall")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    environment.prepare()
    with tempfile.TemporaryDirectory() as folder:
        run = write_run(Path(folder, "frozen"))
        modules = {form: Module(run, form, options.threads) for form in FORMS}
    clock = time.process_time if options.cpu_clock else time.perf_counter
    rows = [row for images in options.images for row in timed(modules, images, options.seconds, clock)]
    print(json.dumps([asdict(row) for row in rows], indent=2)) if options.json else print_table(rows, options)


def timed(modules: dict[Form, Module], images: int, seconds: float, clock: Callable[[], float]) -> list[Row]:
    """Let the forms take turns for some seconds."""
    found: dict[Form, list[float]] = {form: [] for form in modules}
    for module in modules.values():
        module.images([(1, 0, images)])
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        for form, module in modules.items():
            before = clock()
            module.images([(1, 0, images)])
            found[form].append(1000 * (clock() - before))
    return [Row(form, images, min(times), statistics.median(times)) for form, times in found.items()]


def print_table(rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Print times and their ratios to the usual advice's."""
    clock = "CPU clock" if options.cpu_clock else "wall clock"
    title = f"{options.threads} threads, {clock}, {device_class(torch.device('cpu'), 'float32')}"
    table = Table("form", title=title)
    for name in ("images", "fastest, ms", "median, ms", "images/s", "against folded"):
        table.add_column(name, justify="right")
    folded = {row.images: row for row in rows if row.form == "folded"}
    for row in rows:
        rate, ratio = 1000 * row.images / row.fastest_ms, folded[row.images].fastest_ms / row.fastest_ms
        numbers = f"{row.fastest_ms:.2f}", f"{row.median_ms:.2f}", f"{rate:,.0f}", f"{ratio:.2f}"
        table.add_row(row.form, str(row.images), *numbers)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
