"""What `benchmarks/jobs.py` measured, and how it is shown: tables and a picture."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Speed:
    """Images a second of one turn of each way, and microseconds of processor time an image, of a job by role."""

    images: int
    loop: float
    job: float
    loop_cpu_us: float
    job_cpu_us: dict[str, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """One job of the tiny generator; memory in MiB, the highest of the processes of a role while it ran."""

    images: int
    seconds: float
    microseconds_an_image: float
    broker_mib: float
    memory_mib: dict[str, float]


@dataclass(slots=True)
class Report:
    """All that was measured."""

    hardware: str
    load_before: float
    lease_s: float
    clients: int
    speed: list[Speed] = field(default_factory=list)
    scale: list[Scale] = field(default_factory=list)
    overhead_s: list[float] = field(default_factory=list)
    resume_s: list[float] = field(default_factory=list)
    jain: float = 0.0


def print_report(report: Report) -> None:
    """Print a table for each part that was measured."""
    console = Console(width=130)
    console.print(f"{report.hardware}; load average before: {report.load_before:.1f}")
    for images in dict.fromkeys(turn.images for turn in report.speed):
        _print_speed(console, [turn for turn in report.speed if turn.images == images])
    if report.scale:
        table = Table("images", "seconds", "us an image", "broker MiB", "most MiB of one process", title="scale")
        for row in report.scale:
            memory = ", ".join(f"{name} {mib:.0f}" for name, mib in sorted(row.memory_mib.items()))
            figures = f"{row.seconds:.1f}", f"{row.microseconds_an_image:.0f}", f"{row.broker_mib:.1f}"
            table.add_row(f"{row.images:,}", *figures, memory)
        console.print(table)
    if report.overhead_s:
        median, most = statistics.median(report.overhead_s), max(report.overhead_s)
        console.print(f"overhead of one image: median {median:.2f} s, most {most:.2f} s")
    if report.resume_s:
        texts = ", ".join(f"{seconds:.1f}" for seconds in report.resume_s)
        console.print(f"resumed after SIGKILL: {texts} s (lease {report.lease_s:g} s)")
    if report.jain:
        console.print(f"fairness over {report.clients} clients: Jain's index {report.jain:.3f}")


def _print_speed(console: Console, turns: list[Speed]) -> None:
    """Print the turns of jobs of one size, and where the processor time of the last one went."""
    table = Table("loop, images/s", "job, images/s", "job of loop", "us of CPU an image, loop", "job")
    ratios = [turn.job / turn.loop for turn in turns]
    for turn, ratio in zip(turns, ratios, strict=True):
        rates = f"{turn.loop:,.0f}", f"{turn.job:,.0f}", f"{ratio:.2f}"
        table.add_row(*rates, f"{turn.loop_cpu_us:.1f}", f"{sum(turn.job_cpu_us.values()):.1f}")
    last = ", ".join(f"{role} {us:.2f}" for role, us in sorted(turns[-1].job_cpu_us.items()))
    console.print(f"speed, {turns[0].images:,} images: median {statistics.median(ratios):.2f}", table, last)


def plot(report: Report, path: Path) -> None:
    """Draw cost an image and memory against the size of a job."""
    import matplotlib as mpl  # noqa: PLC0415 - only for the picture

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415 - after the choice of Agg

    figure, (cost, memory) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    images = [row.images for row in report.scale]
    cost.plot(images, [row.microseconds_an_image for row in report.scale], marker="o")
    cost.set(xscale="log", ylim=(0, None), xlabel="images of a job", ylabel="microseconds an image, start included")
    for name in sorted(report.scale[-1].memory_mib):
        memory.plot(images, [row.memory_mib.get(name, 0.0) for row in report.scale], marker="o", label=name)
    memory.plot(images, [row.broker_mib for row in report.scale], marker="s", label="broker's data")
    memory.set(xscale="log", yscale="log", xlabel="images of a job", ylabel="most MiB of one process")
    memory.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=110)


def hardware() -> str:
    """Name what this ran on."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
