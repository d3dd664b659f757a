"""The `mintage` command in this process; what `--json` prints is held to its contract, docs/command-line.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool
from mintage.v1 import jobs_pb2, latents_pb2, models_pb2, repair_pb2, verification_pb2  # noqa: F401 - into the pool
from typer.main import get_command
from typer.testing import CliRunner as TyperRunner
from typer.testing import Result

from service.cli import app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "command-line.md"


class CliRunner(TyperRunner):
    """Runs the command; where it succeeds with `--json`, stdout must be what the verb's help and the page promise."""

    def invoke(self, cli: Any, args: Sequence[str] | str | None = None, **options: Any) -> Result:  # type: ignore[override]
        """Run it."""
        result = super().invoke(cli, args, **options)
        words = list(args or [])
        if result.exit_code == 0 and "--json" in words and not {"-h", "--help"} & set(words):
            check_json(words, result.stdout)
        return result


def check_json(words: Sequence[str], stdout: str) -> list[dict[str, Any]]:
    """Return the objects that a verb has printed.

    Args:
        words: what was typed after `mintage`.
    Raises:
        AssertionError: if they are not in the form that the verb's help names, or have other fields than documented.
    """
    name, verb = verb_of(words)
    form = next(each.help for each in verb.params if "--json" in each.opts)
    found = [json.loads(line, parse_constant=_refuse) for line in stdout.splitlines()]
    assert all(isinstance(each, dict) for each in found), stdout
    assert "per line" in form or len(found) == 1, f"{name} promises one object: {stdout}"
    promised = documented()[name]
    for each in found:
        fits = (own <= each.keys() and each.keys() - own <= of_messages for own, of_messages in promised)
        assert any(fits), f"{name} prints {sorted(each)}, documented are {promised}"
    return found


def verb_of(words: Sequence[str]) -> tuple[str, Any]:
    """Return the name of the verb that is called, such as `jobs ls`, and the verb."""
    group, names = get_command(app), list[str]()
    for word in words:
        if word in getattr(group, "commands", {}):
            group = group.commands[word]  # type: ignore[attr-defined]
            names.append(word)
        if not hasattr(group, "commands"):
            break
    return " ".join(names), group


def documented() -> dict[str, list[tuple[set[str], set[str]]]]:
    """Return the objects of each verb: the fields of its own, and those of messages of the API."""
    section = PAGE.read_text(encoding="utf-8").partition("### Objects\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \| (.+) \|$", section, re.MULTILINE)
    return {
        name: [_fields(each) for each in objects.split("; ")]
        for names, objects in rows
        for name in re.findall(r"`(.+?)`", names)
    }


def _fields(text: str) -> tuple[set[str], set[str]]:
    """The fields of one object of the page: `name`, or all those of a message, `Name`."""
    names = [name for name in re.findall(r"`([\w-]+)`", text) if not name.startswith("-")]
    return {name for name in names if name[0].islower()}, {field for name in names for field in _of_message(name)}


def _of_message(name: str) -> Iterator[str]:
    if name[0].isupper():
        message = descriptor_pool.Default().FindMessageTypeByName(f"mintage.v1.{name}")
        yield from (field.name for field in message.fields)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")
