"""The latents of a request: every wrong part is named by its path, such as `latents[2].sum.terms[0].latent`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mintage.latents import MAX_INDEX, parts_of
from mintage.v1.latents_pb2 import Latent

from service.backend.protocol.drawing_messages import Directions
from service.models.directions.store import SavedDirections
from service.models.records import ModelRecord
from service.validation import Violations, shown


@dataclass(frozen=True, slots=True)
class Limits:
    """The most of a formula: levels, and parts."""

    depth: int = 16
    parts: int = 1024


FORMULA = Limits()
END_OF_LEG = Limits(FORMULA.depth - 1, FORMULA.parts // 2 - 1)  # so that a point between two is within the limits


def check_latents(
    field: str,
    latents: Sequence[Latent],
    record: ModelRecord,
    saved: SavedDirections,
    violations: Violations,
    *,
    limits: Limits = FORMULA,
) -> Directions:
    """Check formulas.

    Args:
        field: Where they are in the request.
        latents: The formulas.
        record: The model that they are for.
        saved: Its directions.
        violations: Takes every wrong part.
        limits: Of each formula.

    Returns: the numbers of the directions that the formulas name and that exist, by name.
    """
    check = _Check(record, saved, violations, limits)
    for index, latent in enumerate(latents):
        check.formula(f"{field}[{index}]", latent)
    return {name: values for name, values in check.directions.items() if values is not None}


def check_class(class_index: int | None, record: ModelRecord, violations: Violations) -> None:
    """Note `class_index` unless it is absent, or a class of the model."""
    if class_index is None:
        return
    if not record.classes:
        violations.add("class_index", "must not be given: this generator takes no class")
    elif not 0 <= class_index < len(record.classes):
        violations.add("class_index", f"must be from 0 to {len(record.classes) - 1}, not {class_index:,}")


class _Check:
    """Checks formulas for one model; `directions` are those that were named, None where there is none."""

    def __init__(self, record: ModelRecord, saved: SavedDirections, violations: Violations, limits: Limits) -> None:
        self.directions: dict[str, tuple[float, ...] | None] = {}
        self._record = record
        self._saved = saved
        self._violations = violations
        self._limits = limits
        self._parts = 0

    def formula(self, path: str, latent: Latent) -> None:
        """Check one formula."""
        self._parts = 0
        self._part(path, latent, 1)
        if self._parts > self._limits.parts:
            self._violations.add(path, f"has more than {self._limits.parts:,} parts")

    def _part(self, path: str, latent: Latent, depth: int) -> None:
        self._parts += 1
        if self._parts > self._limits.parts:
            return
        if depth > self._limits.depth:
            self._violations.add(path, f"is deeper than {self._limits.depth} levels")
            return
        kind = latent.WhichOneof("value")
        if kind is None:
            self._violations.add(path, "must be given")
            return
        for inside, what in _CHECKS[kind](latent, self._record.latent_size):
            self._violations.add(f"{path}.{kind}{inside}", what)
        if kind == "direction":
            self._direction(f"{path}.direction", latent.direction)
        for inside, part in parts_of(latent).items():
            self._part(f"{path}.{inside}", part, depth + 1)

    def _direction(self, path: str, name: str) -> None:
        if name not in self.directions:
            values = self._saved.vectors(self._record, [name]).get(name)
            self.directions[name] = None if values is None else tuple(values)
        if self.directions[name] is None:
            self._violations.add(path, f"the model has no direction {shown(name)}")


Found = Iterator[tuple[str, str]]


def _sample(latent: Latent, _: int) -> Found:
    if not 0 <= latent.sample.index <= MAX_INDEX:
        yield ".index", f"must not be negative, as {latent.sample.index:,} is"


def _values(latent: Latent, size: int) -> Found:
    values = latent.values.values
    if len(values) != size:
        yield ".values", f"must be {size:,} numbers, as in every latent of this model, not {len(values):,}"
    for index, value in enumerate(values):
        yield from _finite(f".values[{index}]", value)


def _mean(latent: Latent, _: int) -> Found:
    if not latent.mean.latents:
        yield ".latents", "must hold at least one latent"


def _sum(latent: Latent, _: int) -> Found:
    if not latent.sum.terms:
        yield ".terms", "must hold at least one term"
    for index, term in enumerate(latent.sum.terms):
        yield from _finite(f".terms[{index}].weight", term.weight)


def _truncate(latent: Latent, _: int) -> Found:
    if not 0 <= latent.truncate.share <= 1:
        yield ".share", f"must be from 0 to 1, not {latent.truncate.share:,}"


def _finite(path: str, value: float) -> Found:
    if not math.isfinite(value):
        yield path, f"must be a number, not {value}"


_CHECKS: Mapping[str, Callable[[Latent, int], Found]] = {
    "sample": _sample,
    "values": _values,
    "mean": _mean,
    "sum": _sum,
    "lerp": lambda latent, _: _finite(".t", latent.lerp.t),
    "slerp": lambda latent, _: _finite(".t", latent.slerp.t),
    "direction": lambda *_: iter(()),
    "jitter": lambda latent, _: _finite(".half_width", latent.jitter.half_width),
    "truncate": _truncate,
}
