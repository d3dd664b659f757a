"""What the benchmark of serving found: as a table, as JSON, and as the Markdown of docs/results.md."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.serving_results import ALONE, ONE_RATE, OPEN, SATURATED, Cell, Cells, ratios

COLUMNS = (
    "server",
    "module",
    *(f"{name}, images/s" for name in SATURATED),
    f"{ALONE}, p50 ms",
    "half of its 1 x 32, p99 ms",
    "at calls/s",
    "one rate, p99 ms",
)
MORE = ("at calls/s", "cores: client", "cores: server", "errors")


def rows(cells: Cells) -> list[tuple[str, ...]]:
    """One row per server and form."""
    return [_row(cells, name, form) for name, form in cells.ways]


def _row(cells: Cells, name: str, form: str) -> tuple[str, ...]:
    def text(case: str, quantity: str, digits: int = 0) -> str:
        cell = cells.get(name, form, case)
        return f"{cell.mean(quantity):,.{digits}f}" if cell else "-"

    speeds = [text(case, "images_per_second") for case in SATURATED]

    def rate(case: str) -> str:
        cell = cells.get(name, form, case)
        return f"{cell.measurements[-1].load.rate:,.0f}" if cell else "-"

    tails = [value for case in (OPEN, ONE_RATE) for value in (text(case, "p99_ms", 1), rate(case))]
    client, server = _cores(cells.get(name, form, SATURATED[2]))
    errors = str(sum(cell.errors for cell in cells.of(name, form)))
    return name, form, *speeds, text(ALONE, "p50_ms", 1), *tails, client, server, errors


def _cores(cell: Cell | None) -> tuple[str, str]:
    """Cores in use by the client and by all of the server, with 32 clients of one image."""
    if cell is None:
        return "-", "-"
    used = [one.cores for one in cell.measurements]
    client = sum(one["client"] for one in used) / len(used)
    server = sum(sum(each for role, each in one.items() if role != "client") for one in used) / len(used)
    return f"{client:.2f}", f"{server:.2f}"


def roles(cells: Cells) -> str:
    """Say what the parts of Mintage and of TorchServe used, in every case."""
    lines = []
    for cell in (cell for name in ("TorchServe", "Mintage") for cell in cells.of(name, "ours")):
        used = cell.measurements[-1].cores
        lines.append(
            f"{cell.name}, {cell.case.name}: {', '.join(f'{role} {value:.2f}' for role, value in used.items())}"
        )
    return "\n".join(lines)


def facts(threads: int, client_cores: frozenset[int] | None, rounds: int, seconds: float) -> dict[str, Any]:
    """Say what this ran on and how."""
    where = f"cores {sorted(client_cores)}" if client_cores else "the servers' cores"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "server_cores": threads,
        "client": f"one process, on {where}",
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "peers": _peers(),
        "rounds": rounds,
        "seconds": seconds,
    }


def _peers() -> list[str]:
    wanted = (Path(__file__).parent / "peers" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    direct = "\n".join(wanted).partition("\n\n")[0].splitlines()  # what they brought along comes after an empty line
    return [line.replace("==", " ") for line in direct if not line.startswith("#")]


def _processor() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if "model name" in line]
    return names[0].partition(":")[2].strip() if names else platform.machine()


def heading(known: dict[str, Any]) -> str:
    """What this ran on, in a sentence."""
    return (
        f"{known['processor']}, {known['cores']} cores; servers on {known['server_cores']} of them, client: "
        f"{known['client']}; Python {known['python']}, torch {known['torch']}, {', '.join(known['peers'])}; "
        f"{known['rounds']} rounds of {known['seconds']:g} s"
    )


def print_text(known: dict[str, Any], found: Sequence[Cell]) -> None:
    """Print tables for people."""
    cells, console = Cells(found), Console(width=150)
    table = Table(title=heading(known))
    for column in (*COLUMNS, *MORE):
        table.add_column(column, justify="left" if column in COLUMNS[:2] else "right")
    for row in rows(cells):
        table.add_row(*row)
    console.print(table)
    targets = Table()
    for column in ("measure", "found (least to greatest of the rounds)", "target"):
        targets.add_column(column)
    for one in ratios(cells):
        targets.add_row(one.measure, str(one), one.target)
    console.print(targets)
    console.print("cores in use, last round:")
    console.print(roles(cells), highlight=False)
    for line in error_lines(found):
        console.print(line, highlight=False, markup=False)


def error_lines(found: Sequence[Cell]) -> list[str]:
    """One line per kind of error."""
    return [
        f"{cell.name}, {cell.form}, {cell.case.name}: {count} x {code}: {one.messages.get(code, '')[:120]}"
        for cell in found
        for one in cell.measurements
        for code, count in one.errors.items()
    ]


def print_markdown(known: dict[str, Any], found: Sequence[Cell]) -> None:
    """Print the tables of docs/results.md."""
    cells = Cells(found)
    print(heading(known) + ".\n")
    print(_markdown((*COLUMNS, *MORE), rows(cells)))
    targets = [(one.measure, str(one), one.target) for one in ratios(cells)]
    print(_markdown(("measure", "found", "target"), targets))


def _markdown(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    body = [columns, ["---"] * len(columns), *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in body)


def print_json(known: dict[str, Any], found: Sequence[Cell]) -> None:
    """Print every measurement."""
    print(as_json(known, found))


def as_json(known: dict[str, Any], found: Sequence[Cell]) -> str:
    """Every measurement as JSON."""
    each = [
        {
            "server": cell.name,
            "module": cell.form,
            "case": cell.case.name,
            "rounds": [one.to_dict() for one in cell.measurements],
        }
        for cell in found
    ]
    targets = [
        {"measure": one.measure, "mean": one.mean, "least": one.least, "greatest": one.greatest, "target": one.target}
        for one in ratios(Cells(found))
    ]
    return json.dumps({"facts": known, "cells": each, "targets": targets}, indent=2)
