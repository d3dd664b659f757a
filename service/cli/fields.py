"""Fields of a request as the person knows them who typed the command: `--layer`, or the file that was named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mintage.errors import Violation
    from typer._click import Context

# The parameters of verbs that give a field, where it is called otherwise; the first that a verb has is meant.
ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "announcement": ("file",),
    "between": ("having",),
    "class_index": ("class_name",),
    "class_name": ("class_index", "detector_class"),
    "concepts": ("concept",),
    "direction": ("save",),
    "drop": ("layer", "maps"),
    "encoded": ("images", "picture"),
    "format": ("format_",),
    "frames_per_leg": ("frames",),
    "from": ("without",),
    "indices": ("maps",),
    "labels": ("label",),
    "latents": ("formulas", "formula", "latent", "apply"),
    "max_images_per_second": ("max_rate",),
    "name": ("job",),
    "neuron": ("unit",),
    "output_prefix": ("output",),
    "raw": ("images", "picture"),
    "reference_job": ("reference",),
    "source_folder": ("folder",),
    "source_job": ("source",),
    "states": ("state",),
    "target": ("unit",),
    "through": ("formulas",),
    "to": ("having",),
}
MENTIONED = re.compile(r"`[a-z]+`|[a-z]+(?:_[a-z]+)+")  # fields in a description; a lone word is one in backticks
PIXELS = ("encoded", "raw", "images")  # fields whose numbered parts are the files that were named


@dataclass(frozen=True, slots=True)
class _Typed:
    """A parameter of a verb: what it is called on the command line, and what was given for it."""

    shown: str
    value: Any


def told(violations: Iterable[Violation], context: Context | None) -> str:
    """Say which of the things that were typed are wrong; a field that nothing typed gives keeps its name.

    Args:
        violations: the wrong fields of a request.
        context: of the verb.
    """
    typed = {} if context is None else _parameters(context)
    return "; ".join(_told(each.field, each.description, typed) for each in violations)


def _parameters(context: Context) -> dict[str, _Typed]:
    """Return the parameters of a verb by name: options by their longest spelling, arguments by their name."""
    found = {}
    for parameter in context.command.params:
        name = parameter.name or ""
        option = max(parameter.opts, key=len)
        shown = option if option.startswith("-") else (parameter.metavar or name.upper()).strip("[].")
        found[name] = _Typed(shown, context.params.get(name))
    return found


def _told(field: str, description: str, typed: Mapping[str, _Typed]) -> str:
    words = re.findall(r"[a-z_]+", field)
    word = next((word for word in reversed(words) if _of(word, typed) is not None), None)
    known = None if word is None else _of(word, typed)
    if known is None:
        return f"{field}: {description}"
    number = re.search(r"\[([0-9]+)\]", field)
    shown = known.shown
    if word in PIXELS:
        paths = known.value if isinstance(known.value, list | tuple) else [known.value]
        at = int(number[1]) if number else 0
        shown = str(paths[at]) if (number or len(paths) == 1) and at < len(paths) else shown
    return f"{shown} {MENTIONED.sub(lambda match: _word(match[0], typed), description)}"


def _of(word: str, typed: Mapping[str, _Typed]) -> _Typed | None:
    """Return what gives a field."""
    return next((typed[name] for name in (word, *ELSEWHERE.get(word, ())) if name in typed), None)


def _word(word: str, typed: Mapping[str, _Typed]) -> str:
    """Return what a field that a description mentions is called."""
    known = _of(word.strip("`"), typed)
    return word if known is None else known.shown
