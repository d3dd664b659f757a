"""Latents as messages: what a formula is made of, other indices for its samples, and its text.

`mintage.formulas` reads the text again and has its grammar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mintage.v1 import latents_pb2
from mintage.v1.latents_pb2 import Latent

FUNCTIONS = ("mean", "lerp", "slerp", "jitter", "truncate")
MAX_SEED, MAX_INDEX = 2**64 - 1, 2**63 - 1


def sample(seed: int, index: int) -> Latent:
    """Return the latent of a sample of a seed."""
    return Latent(sample=latents_pb2.SampleLatent(seed=seed, index=index))


def interpolation(function: str, start: Latent, end: Latent, t: float) -> Latent:
    """Return a point between two latents; `function` is `lerp` or `slerp`."""
    latent = Latent()
    between = latent.lerp if function == "lerp" else latent.slerp
    start_of(between).CopyFrom(start)
    between.to.CopyFrom(end)
    between.t = t
    return latent


def start_of(between: latents_pb2.LatentInterpolation) -> Latent:
    """Return the field `from`, whose name is a word of Python."""
    start: Latent = getattr(between, "from")
    return start


def parts_of(latent: Latent) -> dict[str, Latent]:
    """Return the latents inside a formula, in their order, by their paths; none inside samples, values and names."""
    kind = latent.WhichOneof("value")
    match kind:
        case "mean":
            return {f"mean.latents[{index}]": each for index, each in enumerate(latent.mean.latents)}
        case "sum":
            return {f"sum.terms[{index}].latent": term.latent for index, term in enumerate(latent.sum.terms)}
        case "lerp" | "slerp":
            between = latent.lerp if kind == "lerp" else latent.slerp
            return {f"{kind}.from": start_of(between), f"{kind}.to": between.to}
        case "jitter":
            return {"jitter.latent": latent.jitter.latent}
        case "truncate":
            return {"truncate.latent": latent.truncate.latent}
    return {}


def inside(latent: Latent) -> Sequence[Latent]:
    """Return the latents inside a formula, in their order: those of `parts_of` without their paths."""
    match latent.WhichOneof("value"):
        case "sample" | "values" | "direction":
            return ()
        case "slerp":
            return start_of(latent.slerp), latent.slerp.to
        case "sum":
            return [term.latent for term in latent.sum.terms]
    return list(parts_of(latent).values())


def part_count(latent: Latent) -> int:
    """Return how many parts a formula has, itself included."""
    return 1 + sum(map(part_count, inside(latent)))


def samples_of(latent: Latent) -> list[latents_pb2.SampleLatent]:
    """Return the samples in a formula, in their order."""
    if latent.WhichOneof("value") == "sample":
        return [latent.sample]
    return [found for part in inside(latent) for found in samples_of(part)]


def shifted(latent: Latent, by: int) -> Latent:
    """Return a formula in which the index of every sample is larger by a number."""
    copy = Latent()
    copy.CopyFrom(latent)
    for found in samples_of(copy) if by else ():
        found.index += by
    return copy


@dataclass(frozen=True, slots=True)
class Path:
    """A way through latents, frame by frame.

    Attributes:
        through: The latents, at least two.
        frames_per_leg: From each latent to the next, at least 1.
        function: How to go, `slerp` or `lerp`.
        closed: Whether it returns to the first latent, whose frame is not repeated.
    """

    through: Sequence[Latent]
    frames_per_leg: int
    function: str = "slerp"
    closed: bool = False

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.through) * self.frames_per_leg if self.closed else self._last + 1

    def latent(self, frame: int) -> Latent:
        """Return the formula of a frame; where the way meets one of its latents, that is it."""
        leg, step = divmod(frame, self.frames_per_leg)
        start, end = (self.through[each % len(self.through)] for each in (leg, leg + 1))
        return interpolation(self.function, start, end, step / self.frames_per_leg) if step else start

    @property
    def _last(self) -> int:
        return (len(self.through) - 1) * self.frames_per_leg


def text_of(latent: Latent) -> str:
    """Write a formula; every sample has its seed, so the text means the same whatever seed a reader assumes.

    Raises:
        ValueError: if a part is missing, or a number is not finite.
    """
    write = _WRITERS.get(latent.WhichOneof("value") or "")
    if write is None:
        raise ValueError("a part of the formula is missing")
    return write(latent)


def number_text(value: float) -> str:
    """Write a number in the fewest digits that mean it.

    Raises:
        ValueError: if it is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"a formula cannot hold {value}")
    return repr(value).removesuffix(".0")


def _sum_text(latent: Latent) -> str:
    if not latent.sum.terms:
        raise ValueError("a sum of the formula has no terms")
    alone, text = len(latent.sum.terms) == 1, ""
    for term in latent.sum.terms:
        weight, body = number_text(abs(term.weight)), text_of(term.latent)
        if term.latent.WhichOneof("value") == "sum":
            body = f"({body})"
        negative = math.copysign(1, term.weight) < 0
        sign = (" - " if negative else " + ") if text else ("-" if negative else "")
        bare = weight == "1" and (negative or not alone)  # `1 * #5` is a sum, `#5` is none
        text += sign + (body if bare else f"{weight} * {body}")
    return text


def _between_text(function: str, between: latents_pb2.LatentInterpolation) -> str:
    return f"{function}({text_of(start_of(between))}, {text_of(between.to)}, {number_text(between.t)})"


_WRITERS: Mapping[str, Callable[[Latent], str]] = {
    "sample": lambda latent: f"{latent.sample.seed}#{latent.sample.index}",
    "values": lambda latent: f"[{', '.join(map(number_text, latent.values.values))}]",
    "direction": lambda latent: latent.direction,
    "mean": lambda latent: f"mean({', '.join(map(text_of, latent.mean.latents))})",
    "sum": _sum_text,
    "lerp": lambda latent: _between_text("lerp", latent.lerp),
    "slerp": lambda latent: _between_text("slerp", latent.slerp),
    "jitter": lambda latent: (
        f"jitter({text_of(latent.jitter.latent)}, {latent.jitter.seed}, {number_text(latent.jitter.half_width)})"
    ),
    "truncate": lambda latent: f"truncate({text_of(latent.truncate.latent)}, {number_text(latent.truncate.share)})",
}
