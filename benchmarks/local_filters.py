"""Untied local filters beside the ways a textbook has for them, in one run: python benchmarks/local_filters.py.

One layer on images of 64 x 64 in colour, forward and backward, with gradients to its weights and to the images:
- ours: `training.layers.LocalFilters`, which gathers patches a few rows at a time;
- im2col: `functional.unfold` of the whole batch, then one batched product of matrices;
- masked: a dense matrix, all of whose weights outside the receptive fields are masked away.

All have the same weights and must give the same numbers. Every measurement is a process of its own, whose peak memory
is counted from where the libraries are loaded, and ways take turns, so that a busy minute hits all. Machines differ and
are noisy: read the ratios. Takes about two minutes and 6 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

if __name__ == "__main__":  # this file's folder, where training.py would shadow the package of its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from training.layers import LocalFilters

WAYS = ("ours", "im2col", "masked")
SHAPE = (3, 64, 64)
MEGABYTE = 1024  # of the kilobytes that Linux counts peak memory in
AGREEMENT = 1e-3  # relative, of the sums of squares of all outputs and gradients


@dataclass(frozen=True, slots=True)
class Row:
    """One way."""

    way: str
    seconds_per_step: float  # the median of the rounds
    peak_mb: float  # above the libraries


def main() -> None:
    """Measure every way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds a measurement (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each way, taking turns (default 3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: torch's)")
    parser.add_argument("--field", type=int, default=9, help="side of a receptive field, pixels (default 9)")
    parser.add_argument("--maps", type=int, default=8, help="filters at each place (default 8)")
    parser.add_argument("--batch", type=int, default=32, help="images (default 32)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # a measurement in a process of its own
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measured(options)))
        return
    rows = alternated(options)
    print(json.dumps([asdict(row) for row in rows], indent=2)) if options.json else print_table(rows, options)


def alternated(options: argparse.Namespace) -> list[Row]:
    """Measure all ways in turn, each time in a new process, and compare what they computed."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    numbers = {name: getattr(options, name) for name in ("seconds", "threads", "field", "maps", "batch")}
    for number in range(options.rounds):
        for way in WAYS:
            print(f"{way}, {number + 1} of {options.rounds}", file=sys.stderr)
            arguments = [part for name, value in numbers.items() for part in (f"--{name}", str(value))]
            command = [sys.executable, __file__, "--way", way, *arguments]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[way].append(json.loads(done.stdout))
    first = found[WAYS[0]][0]["squares"]
    for way, results in found.items():
        if any(abs(result["squares"] / first - 1) > AGREEMENT for result in results):
            raise SystemExit(f"{way} gives other numbers than {WAYS[0]}: {results}, not {first}")
    return [
        Row(
            way,
            statistics.median(result["seconds_per_step"] for result in results),
            max(result["peak_mb"] for result in results),
        )
        for way, results in found.items()
    ]


def measured(options: argparse.Namespace) -> dict[str, float]:
    """Take steps for some seconds and return their time, the peak memory, and a sum that all ways must agree on."""
    torch.set_num_threads(options.threads)
    libraries = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.manual_seed(0)
    filters = LocalFilters(SHAPE, maps=options.maps, field=options.field)
    step = {"ours": ours, "im2col": im2col, "masked": masked}[options.way](filters)
    images = torch.randn(options.batch, *SHAPE, requires_grad=True)
    squares = step(images)  # the first step fills the gradients' memory
    steps, start_s = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - start_s) < options.seconds or not steps:
        step(images)
        steps += 1
    peak_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - libraries) / MEGABYTE
    return {"seconds_per_step": elapsed_s / steps, "peak_mb": peak_mb, "squares": squares}


Step = Callable[[Tensor], float]


def ours(filters: LocalFilters) -> Step:
    """Return a step of our layer, images turned to how it wants them and back included."""
    return forward_and_backward(lambda images: filters(images.permute(1, 2, 3, 0).contiguous()), filters.weight)


def im2col(filters: LocalFilters) -> Step:
    """Return a step that gathers all patches at once."""
    weight = nn.Parameter(filters.weight.detach().flatten(0, 1).transpose(1, 2).contiguous())  # [P, K, M]

    def forward(images: Tensor) -> Tensor:
        patches = functional.unfold(images, filters.field, stride=filters.stride)  # [N, K, P]
        return torch.bmm(patches.permute(2, 0, 1), weight)  # [P, N, M]

    return forward_and_backward(forward, weight)


def masked(filters: LocalFilters) -> Step:
    """Return a step of a dense matrix whose weights outside the fields are masked away."""
    pixels = torch.arange(SHAPE[0] * SHAPE[1] * SHAPE[2], dtype=torch.float32).view(1, *SHAPE)
    seen = functional.unfold(pixels, filters.field, stride=filters.stride)[0].T.long()  # [P, K]
    local = filters.weight.detach().flatten(0, 1)  # [P, M, K]
    places = seen[:, None].expand_as(local)
    dense = torch.zeros(*local.shape[:2], pixels.numel()).scatter_(2, places, local).flatten(0, 1)  # [P M, C H W]
    mask = torch.zeros(*local.shape[:2], pixels.numel(), dtype=torch.bool).scatter_(2, places, True).flatten(0, 1)
    weight = nn.Parameter(dense)
    return forward_and_backward(lambda images: functional.linear(images.flatten(1), weight * mask), weight)


def forward_and_backward(forward: Callable[[Tensor], Tensor], weight: Tensor) -> Step:
    """Return a step that lowers the mean square of a layer's outputs."""

    def step(images: Tensor) -> float:
        weight.grad = images.grad = None
        outputs = forward(images)
        outputs.square().mean().backward()  # type: ignore[no-untyped-call]
        assert weight.grad is not None
        assert images.grad is not None
        return float(outputs.detach().square().mean() + weight.grad.square().sum() + images.grad.square().sum())

    return step


def print_table(rows: list[Row], options: argparse.Namespace) -> None:
    """Print what was measured, with ratios to ours."""
    table = Table("way", "a step, ms", "of ours", "peak memory, MB", "of ours", box=None)
    first = rows[0]
    for row in rows:
        slower, larger = row.seconds_per_step / first.seconds_per_step, row.peak_mb / first.peak_mb
        milliseconds = f"{1000 * row.seconds_per_step:,.1f}"
        table.add_row(row.way, milliseconds, f"{slower:,.1f} x", f"{row.peak_mb:,.0f}", f"{larger:,.1f} x")
    Console().print(table)
    print(
        f"{options.maps} maps of fields of {options.field}x{options.field} on {'x'.join(map(str, SHAPE))}, "
        f"{options.batch} images; {os.cpu_count()} cores, {options.threads} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, Python {platform.python_version()}, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
