"""Evaluates formulas of latents, in float64 and to the same bits on every machine.

Only + - * /, square roots and remainders are used, which IEEE 754 rounds exactly, in the order in which a formula is
written. Sums over the numbers of a latent are those of `math.fsum`, which rounds once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handlers.compute.latents import CENTRES, Distribution, noise, numbers_of, polynomial, raw_words
from handlers.errors import RequestError
from handlers.protocol.formulas import Formulas, Jitter, Lerp, Mean, Part, SampleLatent, Slerp, Sum, Truncate, Vector

Float64s = NDArray[np.float64]

MIN_SINE = 1e-6  # of the angle between two latents; below, near 0 and near pi, an arc is a straight line
_TERMS_OF_SINE = 12  # x <= pi / 2: the next term of the series is below 2**-60 of the first


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What formulas come to: float64 [n, size]."""

    numbers: Float64s
    formulas: Formulas

    @property
    def first_samples(self) -> tuple[int, ...]:
        """The index of the first sample in each formula, 0 without samples."""
        first: list[int | None] = []
        for part in self.formulas.parts:
            if isinstance(part, SampleLatent):
                first.append(part.index)
            else:
                within = () if isinstance(part, Vector) else part.of
                first.append(next((first[each] for each in within if first[each] is not None), None))
        return tuple(first[latent] or 0 for latent in self.formulas.latents)


def evaluate(formulas: Formulas, size: int, distribution: Distribution) -> Evaluated:
    """Evaluate formulas, each of their parts once.

    Args:
        formulas: What to evaluate.
        size: Numbers per latent.
        distribution: Of the model's latents.

    Raises:
        RequestError: if a vector has another length, or a number of a latent is too large for float32.
    """
    found: list[Float64s] = []
    with np.errstate(over="ignore", invalid="ignore"):
        samples = _samples(formulas.parts, size, distribution)
        evaluation = _Evaluation(size, distribution, found)
        for run in _runs(formulas.parts):
            if isinstance(run[0], SampleLatent):
                found.append(samples[len(found)])
            else:
                found += evaluation.of(run)
        numbers = np.stack([found[latent] for latent in formulas.latents]) + 0.0  # -0 becomes 0
        fits = np.isfinite(numbers.astype(np.float32)).all(axis=1)
    if not fits.all():
        raise RequestError(f"latents[{int(np.argmin(fits))}] has a number that is too large")
    return Evaluated(numbers, formulas)


def _samples(parts: Sequence[Part], size: int, distribution: Distribution) -> dict[int, Float64s]:
    """Return the samples among parts by the numbers of their parts, made together."""
    runs: list[list[tuple[int, SampleLatent]]] = []  # of neighbours, whose words are drawn at once
    for number, part in enumerate(parts):
        if not isinstance(part, SampleLatent):
            continue
        if runs and runs[-1][-1][1] == SampleLatent(part.seed, part.index - 1):
            runs[-1].append((number, part))
        else:
            runs.append([(number, part)])
    if not runs:
        return {}
    words = [raw_words(run[0][1].seed, run[0][1].index, len(run), size) for run in runs]
    numbers = numbers_of(np.concatenate(words), distribution)
    return dict(zip((number for run in runs for number, _ in run), numbers, strict=True))


def _runs(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Cut parts into runs of neighbours on one line or arc, as the frames of a walk are, and single ones."""
    run: list[Part] = []
    for part in parts:
        if run and not (isinstance(part, Lerp | Slerp) and type(part) is type(run[0]) and part.of == _ends(run[0])):
            yield run
            run = []
        run.append(part)
    if run:
        yield run


def _ends(part: Part) -> tuple[int, int]:
    assert isinstance(part, Lerp | Slerp)  # noqa: S101 - the first of a run
    return part.of


class _Evaluation:
    """Evaluates parts that are made of those that were found."""

    def __init__(self, size: int, distribution: Distribution, found: Sequence[Float64s]) -> None:
        self._size = size
        self._centre = CENTRES[distribution]
        self._found = found
        self._angles: dict[tuple[int, int], tuple[float, float]] = {}

    def of(self, run: Sequence[Part]) -> list[Float64s]:
        """Evaluate parts, of which there are several only on one line or arc."""
        if len(run) == 1:
            return [self._one(run[0])]
        ends = _ends(run[0])
        t = np.array([part.t for part in run if isinstance(part, Lerp | Slerp)])
        angle, divisor = self._angle(ends) if isinstance(run[0], Slerp) else (0.0, 0.0)
        weights = [1 - t, t] if divisor < MIN_SINE else [sines(each * angle) / divisor for each in (1 - t, t)]
        start, end = (weight[:, None] * self._found[each] for weight, each in zip(weights, ends, strict=True))
        return list(start + end)

    def _one(self, part: Part) -> Float64s:
        """Evaluate a part that is no sample."""
        if isinstance(part, Vector):
            if len(part.numbers) != self._size:
                raise RequestError(f"a vector has {len(part.numbers)} numbers, a latent of this model {self._size}")
            return np.array(part.numbers, np.float64)
        if isinstance(part, Jitter):
            return self._found[part.of[0]] + part.half_width * noise(part.seed, self._size)
        if isinstance(part, Truncate):
            return self._centre + part.share * (self._found[part.of[0]] - self._centre)
        assert not isinstance(part, SampleLatent)  # noqa: S101 - those were made together
        total = self._sum(self._weights(part), part.of)
        return total / len(part.of) if isinstance(part, Mean) else total

    def _weights(self, part: Mean | Sum | Lerp | Slerp) -> Sequence[float]:
        match part:
            case Mean(of):
                return (1.0,) * len(of)
            case Sum(weights):
                return weights
            case Lerp(_, t):
                return 1 - t, t
            case Slerp(of, t):
                return self._arc(of, t)

    def _sum(self, weights: Sequence[float], of: Sequence[int]) -> Float64s:
        total = weights[0] * self._found[of[0]]
        for weight, each in zip(weights[1:], of[1:], strict=True):
            total += weight * self._found[each]
        return total

    def _angle(self, of: tuple[int, int]) -> tuple[float, float]:
        """Return the angle between two parts, and its sine."""
        if of not in self._angles:
            angle = angle_between(*(self._found[each] for each in of))
            self._angles[of] = angle, sine(angle)
        return self._angles[of]

    def _arc(self, of: tuple[int, int], t: float) -> tuple[float, float]:
        """Return the weights of the two ends of an arc."""
        angle, divisor = self._angle(of)
        if divisor < MIN_SINE:
            return 1 - t, t
        return sine((1 - t) * angle) / divisor, sine(t * angle) / divisor


def angle_between(a: Float64s, b: Float64s) -> float:
    """Return the angle between two vectors, from 0 to pi; 0 if one of them is 0.

    Half the chord between the unit vectors is the sine of half the angle (Kahan 2006), which loses no digits where
    the cosine does.
    """
    lengths = _length(a), _length(b)
    if not all(lengths):
        return 0.0
    a, b = a / lengths[0], b / lengths[1]
    if math.fsum(a * b) < 0:
        return math.pi - 2 * arcsine(_length(a + b) / 2)
    return 2 * arcsine(_length(a - b) / 2)


def sine(x: float) -> float:
    """Return sin x, equally rounded on all machines, unlike `math.sin`; NaN if x is not finite."""
    if not math.isfinite(x):
        return math.nan
    rest = math.fmod(x, 2 * math.pi)
    sign, rest = math.copysign(1, rest), abs(rest)
    if rest > math.pi:
        sign, rest = -sign, rest - math.pi
    if rest > math.pi / 2:
        rest = math.pi - rest
    return sign * rest * _horner(rest * rest, _SINE)


def sines(x: Float64s) -> Float64s:
    """Return the sines of many numbers, each with the bits that `sine` gives it."""
    rest = np.fmod(x, 2 * math.pi)  # NaN where x is not finite
    sign, rest = np.copysign(1.0, rest), np.abs(rest)
    beyond = rest > math.pi
    sign, rest = np.where(beyond, -sign, sign), np.where(beyond, rest - math.pi, rest)
    rest = np.where(rest > math.pi / 2, math.pi - rest, rest)
    found: Float64s = sign * rest * polynomial(rest * rest, _SINE)
    return found


def arcsine(x: float) -> float:
    """Return arcsin x for 0 <= x < 0.9, equally rounded on all machines.

    The rational function of fdlibm's `e_asin.c` (Sun Microsystems 1993) below 0.5, and half the angle above.
    """
    if x > 0.5:
        return math.pi / 2 - 2 * arcsine(math.sqrt((1 - x) / 2))
    square = x * x
    return x + x * (square * _horner(square, _NUMERATOR) / _horner(square, _DENOMINATOR))


def _length(a: Float64s) -> float:
    """Return the length of a vector; infinity if its square is too large."""
    try:
        return math.sqrt(math.fsum(a * a))
    except OverflowError:
        return math.inf


def _horner(x: float, powers: Sequence[float]) -> float:
    """Return a polynomial, with coefficients from the highest power down."""
    total = 0.0
    for coefficient in powers:
        total = total * x + coefficient
    return total


_SINE = tuple((-1) ** n / math.factorial(2 * n + 1) for n in reversed(range(_TERMS_OF_SINE)))
_NUMERATOR = (
    3.47933107596021167570e-05,
    7.91534994289814532176e-04,
    -4.00555345006794114027e-02,
    2.01212532134862925881e-01,
    -3.25565818622400915405e-01,
    1.66666666666666657415e-01,
)
_DENOMINATOR = (
    7.70381505559019352791e-02,
    -6.88283971605453293030e-01,
    2.02094576023350569471e00,
    -2.40339491173441421878e00,
    1.0,
)
