"""`mintage neurons detect`: which concepts a served model's neurons find in images."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to `mintage neurons`."""
