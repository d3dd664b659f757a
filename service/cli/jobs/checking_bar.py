"""The bar of a job whose files are checked or made again."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, Protocol

from service.cli.console import errors_console


class Update(Protocol):
    """Shows how far it is."""

    def __call__(self, *, total: int, completed: int, facts: str) -> None:
        """Draw so much of a total, 0 if that is not known yet, and what is said beside it."""


@contextlib.contextmanager
def checking_bar() -> Iterator[Update]:
    """Draw a bar where there is a terminal; what is written to stdout meanwhile stands above it."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns: list[Any] = [SpinnerColumn(finished_text=" "), BarColumn(), TextColumn("{task.fields[facts]}")]
    screen = errors_console()
    redirected = sys.stdout.isatty()  # what goes to a file or a pipe is left to go there
    with Progress(*columns, console=screen, disable=not screen.is_terminal, redirect_stdout=redirected) as bar:
        task = bar.add_task("", total=None, facts="connecting")

        def update(*, total: int, completed: int, facts: str) -> None:
            bar.update(task, total=total or None, completed=completed, facts=facts)

        yield update
