"""`mintage settings`: every setting with its meaning, its default and its present value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from service.cli.console import JsonLinesOption, console, friendly_errors, table
from service.cli.json_lines import print_json_lines


def settings(as_json: JsonLinesOption = False) -> None:
    """List every setting; each is a variable of the environment. Secrets are masked.

    Example: mintage settings
    mintage settings --json
    """
    with friendly_errors():
        found = _all()
    if as_json:
        print_json_lines(found)
        return
    rows = [(one["variable"], *(_cell(one[key]) for key in ("value", "default", "meaning"))) for one in found]
    console().print(table(("variable", "value", "default", "meaning"), rows))


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(settings)


def _all() -> list[dict[str, Any]]:
    from service.settings import Settings

    present = Settings()
    return [
        {
            "variable": f"MINTAGE_{name.upper()}",
            "value": _shown(getattr(present, name)),
            "default": _shown(field.get_default(call_default_factory=True)),
            "meaning": field.description,
        }
        for name, field in Settings.model_fields.items()
    ]


def _shown(value: Any) -> str | int | float | None:
    """A value as text or number; a secret's own text is stars, and a folder below home begins with ~."""
    if isinstance(value, int | float | None):
        return value
    home = str(Path.home())
    text = str(value)
    return f"~{text.removeprefix(home)}" if isinstance(value, Path) and text.startswith(home + "/") else text


def _cell(value: object) -> str:
    return "" if value is None else str(value)
