"""Counter-based latents: sample i of a seed has one latent, whatever batch it belongs to.

The raw 64-bit words are those of Philox4x64 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") with
key = seed. A sample of Z numbers owns K = ceil(Z / 4) counters of four words each: sample i owns the counters i K + 1
to (i + 1) K, so no two samples of a seed share a word. NumPy guarantees its raw words, but not its
distributions. So words are mapped to numbers by our own formulas, of operations that IEEE 754 rounds exactly only (+ -
* / and square root): every machine computes the same latents.
"""

from __future__ import annotations

import threading
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Distribution = Literal["uniform01", "uniform11", "normal"]
Float64s = NDArray[np.float64]

CENTRES: dict[Distribution, float] = {"uniform01": 0.5, "uniform11": 0.0, "normal": 0.0}  # the means
DEVIATIONS: dict[Distribution, float] = {"uniform01": 12**-0.5, "uniform11": 3**-0.5, "normal": 1.0}  # standard ones

_WORDS_PER_COUNTER = 4  # of Philox4x64
_NOISE_COUNTER = 2**192  # samples have counters below 2**63 K
_TERMS_OF_LOG = 12  # |t| <= 0.172: the next term of the series is below 2**-60 of the first


class _Words(threading.local):
    """A Philox per thread, put in its place for each request: a new one draws entropy first, which costs 6 us more."""

    def __init__(self) -> None:
        self.generator = np.random.Philox(key=0)
        self._state = self.generator.state  # with no words left over

    def place(self, seed: int, counter: int) -> None:
        """Continue after a counter from 0 to 2**256 - 1."""
        self._state["state"] = {
            "counter": np.frombuffer(counter.to_bytes(32, "little"), "<u8"),
            "key": np.array([seed, 0], np.uint64),
        }
        self.generator.state = self._state


_WORDS = _Words()


def latents(seed: int, first_index: int, count: int, size: int, distribution: Distribution) -> NDArray[np.float32]:
    """Return the latents of samples first_index to first_index + count - 1.

    Args:
        seed: 0 to 2**64 - 1.
        first_index: >= 0.
        count: number of samples, >= 0.
        size: Z, numbers per latent, >= 1.
        distribution: `uniform01` on [0, 1], `uniform11` on [-1, 1], or standard `normal`.

    Returns: float32 [count, size].

    Raises:
        ValueError: if an argument is out of range.
    """
    if not 0 <= seed < 2**64 or first_index < 0 or count < 0 or size < 1:
        raise ValueError(f"seed {seed}, first_index {first_index}, count {count} or size {size} is out of range")
    if distribution not in get_args(Distribution):
        raise ValueError(f"distribution {distribution!r} is none of {', '.join(get_args(Distribution))}")
    return numbers_of(raw_words(seed, first_index, count, size), distribution).astype(np.float32)


def raw_words(seed: int, first_index: int, count: int, size: int, first_counter: int = 0) -> NDArray[np.uint64]:
    """Return the raw words [count, size] of consecutive samples; the last 4 K - size of each sample are discarded."""
    counters = -(-size // _WORDS_PER_COUNTER)
    # NumPy adds 1 to the counter before it computes the first words.
    _WORDS.place(seed, first_counter + first_index * counters)
    words = _WORDS.generator.random_raw(count * counters * _WORDS_PER_COUNTER)
    return words.reshape(count, counters * _WORDS_PER_COUNTER)[:, :size]


def numbers_of(words: NDArray[np.uint64], distribution: Distribution) -> Float64s:
    """Map words to numbers of a distribution; latents are these, rounded to float32."""
    if distribution == "normal":
        return normal_numbers(words)
    uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53  # all multiples of 2**-53 in [0, 1)
    return uniform if distribution == "uniform01" else 2 * uniform - 1


def noise(seed: int, size: int) -> Float64s:
    """Return uniform noise on [-1, 1), float64 [size]; its counters are of no sample of any seed."""
    numbers: Float64s = numbers_of(raw_words(seed, 0, 1, size, _NOISE_COUNTER), "uniform11")[0]
    return numbers


def normal_numbers(words: NDArray[np.uint64]) -> Float64s:
    """Map words to standard normal numbers, by the inverse distribution function.

    Wichura 1988, algorithm AS 241 (PPND16), relative error about 1e-16: three rational functions, one for the middle
    and two for the tails.
    """
    p = ((words >> np.uint64(12)) + 0.5) * 2.0**-52  # odd multiples of 2**-53: never 0, never 1
    q = p - 0.5
    normal = q * _ratio(0.180625 - q * q, _MIDDLE)
    tail = np.abs(q) > 0.425
    r = np.sqrt(-_log(np.minimum(p[tail], 1 - p[tail])))
    size = np.where(r <= 5, _ratio(r - 1.6, _TAIL), _ratio(r - 5, _FAR_TAIL))
    normal[tail] = np.copysign(size, q[tail])
    return normal


def _ratio(x: Float64s, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> Float64s:
    """Return the quotient of two polynomials, with coefficients from the highest power down."""
    numerator, denominator = (polynomial(x, powers) for powers in coefficients)
    quotient: Float64s = numerator / denominator
    return quotient


def polynomial(x: Float64s, powers: tuple[float, ...]) -> Float64s:
    """Return a polynomial, with coefficients from the highest power down."""
    total = np.full_like(x, powers[0])
    for coefficient in powers[1:]:
        total *= x
        total += coefficient
    return total


def _log(x: Float64s) -> Float64s:
    """Return the natural logarithm of positive numbers, rounded equally on all machines, unlike np.log.

    x = m 2**e with m in [sqrt(1/2), sqrt(2)), and ln m = 2 artanh(t) with t = (m - 1) / (m + 1).
    """
    mantissa, exponent = np.frexp(x)
    low = mantissa < 0.7071067811865476
    mantissa = np.where(low, 2 * mantissa, mantissa)
    t = (mantissa - 1) / (mantissa + 1)
    series = polynomial(t * t, tuple(1 / (2 * n + 1) for n in reversed(range(_TERMS_OF_LOG))))
    logarithm: Float64s = 2 * t * series + (exponent - low) * 0.6931471805599453
    return logarithm


# Numerator and denominator of AS 241, from the highest power down.
_MIDDLE = (
    (
        2.5090809287301226727e3,
        3.3430575583588128105e4,
        6.7265770927008700853e4,
        4.5921953931549871457e4,
        1.3731693765509461125e4,
        1.9715909503065514427e3,
        1.3314166789178437745e2,
        3.3871328727963666080e0,
    ),
    (
        5.2264952788528545610e3,
        2.8729085735721942674e4,
        3.9307895800092710610e4,
        2.1213794301586595867e4,
        5.3941960214247511077e3,
        6.8718700749205790830e2,
        4.2313330701600911252e1,
        1.0,
    ),
)
_TAIL = (
    (
        7.74545014278341407640e-4,
        2.27238449892691845833e-2,
        2.41780725177450611770e-1,
        1.27045825245236838258e0,
        3.64784832476320460504e0,
        5.76949722146069140550e0,
        4.63033784615654529590e0,
        1.42343711074968357734e0,
    ),
    (
        1.05075007164441684324e-9,
        5.47593808499534494600e-4,
        1.51986665636164571966e-2,
        1.48103976427480074590e-1,
        6.89767334985100004550e-1,
        1.67638483018380384940e0,
        2.05319162663775882187e0,
        1.0,
    ),
)
_FAR_TAIL = (
    (
        2.01033439929228813265e-7,
        2.71155556874348757815e-5,
        1.24266094738807843860e-3,
        2.65321895265761230930e-2,
        2.96560571828504891230e-1,
        1.78482653991729133580e0,
        5.46378491116411436990e0,
        6.65790464350110377720e0,
    ),
    (
        2.04426310338993978564e-15,
        1.42151175831644588870e-7,
        1.84631831751005468180e-5,
        7.86869131145613259100e-4,
        1.48753612908506148525e-2,
        1.36929880922735805310e-1,
        5.99832206555887937690e-1,
        1.0,
    ),
)
