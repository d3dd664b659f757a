"""Write the help of every verb into docs/command-line.md: python docs/commands.py [--check]."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "command-line.md"
START, END = "<!-- reference -->\n", "<!-- /reference -->\n"


def main() -> int:
    """Write the reference, or with --check only tell whether it is up to date."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    new = f"{before}{START}{''.join(reference())}{END}{rest.split(END)[1]}"
    if "--check" in sys.argv:
        return int(new != text)
    PAGE.write_text(new, encoding="utf-8")
    return 0


def reference() -> Iterator[str]:
    """The help of each verb as a terminal of 80 columns shows it."""
    os.environ["COLUMNS"] = "80"
    from typer.main import get_command  # noqa: PLC0415 - reads the width when it is imported

    from service.cli import app  # noqa: PLC0415

    command = get_command(app)
    for context in verbs(command.context_class(command, info_name="mintage", **command.context_settings)):
        name = context.command_path.removeprefix("mintage ")
        yield f"\n### {name}\n```text\n{context.get_help().rstrip()}\n```\n"


def verbs(group: Any) -> Iterator[Any]:
    """The context of every verb of a group's, in the order of the help."""
    for name, verb in group.command.commands.items():
        context = verb.context_class(verb, info_name=name, parent=group)
        if hasattr(verb, "commands"):
            yield from verbs(context)
        else:
            yield context


if __name__ == "__main__":
    raise SystemExit(main())
