"""Formulas come to what is written, in float64, and each of their parts is computed once."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.compute.formulas import MIN_SINE, Evaluated, angle_between, arcsine, evaluate, sine, sines
from handlers.compute.latents import Distribution, latents, noise
from handlers.errors import RequestError
from handlers.protocol.formulas import (
    Formulas,
    Jitter,
    Lerp,
    Mean,
    Part,
    SampleLatent,
    Slerp,
    Sum,
    Truncate,
    Vector,
    read_formulas,
)

A, B = (3.0, 0.0, 4.0), (0.0, -5.0, 0.0)


def of(*parts: Part, distribution: Distribution = "normal", size: int = 3) -> Evaluated:
    """The last of these parts."""
    return evaluate(Formulas(parts, (len(parts) - 1,)), size, distribution)


@pytest.mark.parametrize("distribution", ["uniform01", "uniform11", "normal"])
def test_a_sample_has_the_latent_of_generate(distribution: Distribution) -> None:
    indices = [(7, 3), (7, 4), (7, 5), (2**64 - 1, 2**63 - 1), (7, 3)]
    parts = tuple(SampleLatent(seed, index) for seed, index in indices)
    found = evaluate(Formulas(parts, (0, 1, 2, 3, 4)), 100, distribution)
    for numbers, (seed, index) in zip(found.numbers, indices, strict=True):
        assert np.array_equal(numbers.astype(np.float32), latents(seed, index, 1, 100, distribution)[0])
    assert found.numbers.dtype == np.float64
    assert not np.array_equal(found.numbers, found.numbers.astype(np.float32)), "not rounded before the end"
    assert found.first_samples == (3, 4, 5, 2**63 - 1, 3)


def test_means_sums_and_lines_are_what_they_say() -> None:
    a, b = Vector(A), Vector(B)
    assert of(a, b, Mean((0, 1))).numbers.tolist() == [[1.5, -2.5, 2.0]]
    assert of(a, b, Sum((2.0, -0.5), (0, 1))).numbers.tolist() == [[6.0, 2.5, 8.0]]
    assert of(a, b, Lerp((0, 1), 0.25)).numbers.tolist() == [[2.25, -1.25, 3.0]]
    assert of(a, Truncate((0,), 0.5)).numbers.tolist() == [[1.5, 0.0, 2.0]]
    assert of(a, Truncate((0,), 0.5), distribution="uniform01").numbers.tolist() == [[1.75, 0.25, 2.25]]


def test_sums_are_added_in_the_order_in_which_they_are_written() -> None:
    huge, one = Vector((1e17,)), Vector((1.0,))
    assert of(huge, one, Sum((1.0, -1.0, 1.0), (0, 0, 1)), size=1).numbers.item() == 1.0
    assert of(huge, one, Sum((1.0, 1.0, -1.0), (0, 1, 0)), size=1).numbers.item() == 0.0


def test_an_arc_begins_and_ends_at_its_ends_and_halves_the_angle() -> None:
    a, b = Vector(A), Vector(B)
    found = [of(a, b, Slerp((0, 1), t)).numbers[0] for t in (0.0, 1.0, 0.5)]
    assert np.allclose(found[0], A, atol=1e-15) and np.allclose(found[1], B, atol=1e-15)
    assert np.allclose(found[2], (np.array(A) + B) * math.sqrt(0.5), rtol=1e-15)


@given(st.integers(0, 2**32), st.integers(2, 200), st.floats(-3, 4))
def test_an_arc_between_equal_norms_keeps_the_norm(seed: int, size: int, t: float) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, size))
    a, b = 7 * a / np.linalg.norm(a), 7 * b / np.linalg.norm(b)
    if math.sin(angle_between(a, b)) < 0.01:
        return
    [found] = of(Vector(tuple(a)), Vector(tuple(b)), Slerp((0, 1), t), size=size).numbers
    assert np.linalg.norm(found) == pytest.approx(7, rel=1e-12)


@pytest.mark.parametrize("b", [A, (-3.0, 0.0, -4.0), (0.0, 0.0, 0.0), (3.0, MIN_SINE, 4.0)])
def test_an_arc_of_no_angle_or_half_a_circle_is_a_line(b: tuple[float, float, float]) -> None:
    arc, line = (of(Vector(A), Vector(b), kind((0, 1), 0.25)).numbers.tolist() for kind in (Slerp, Lerp))
    assert arc == line


@given(st.floats(-1e3, 1e3))
def test_the_sine_is_the_sine(x: float) -> None:
    assert sine(x) == pytest.approx(math.sin(x), abs=1e-12 if abs(x) > 7 else 1e-15)


@given(st.lists(st.floats(), min_size=1, max_size=20))
def test_many_sines_have_the_bits_of_each(values: list[float]) -> None:
    with np.errstate(invalid="ignore"):
        assert [x.hex() for x in sines(np.array(values)).tolist()] == [sine(x).hex() for x in values]


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=9), st.sampled_from([Lerp, Slerp]), st.sampled_from([A, B]))
def test_the_frames_of_a_walk_have_the_bits_of_each_alone(
    ts: list[float], kind: type[Lerp | Slerp], end: tuple[float, float, float]
) -> None:
    ends = Vector((1.0, 2.0, 3.0)), Vector(end)
    together = evaluate(Formulas((*ends, *(kind((0, 1), t) for t in ts)), tuple(range(2, 2 + len(ts)))), 3, "normal")
    alone = [of(*ends, kind((0, 1), t)).numbers[0] for t in ts]
    assert np.array_equal(together.numbers, alone)


@given(st.floats(0, 0.75))
def test_the_arcsine_is_the_arcsine(x: float) -> None:
    assert arcsine(x) == pytest.approx(math.asin(x), rel=1e-15, abs=1e-300)


def test_trigonometry_has_these_bits_on_every_machine() -> None:
    assert [sine(x).hex() for x in (0.1, 1.0, 2.0, 4.0, 1e6)] == [
        "0x1.98eaecb8bcb2cp-4",
        "0x1.aed548f090ceep-1",
        "0x1.d18f6ead1b445p-1",
        "-0x1.837b9dddc1eafp-1",
        "-0x1.6664b255ececep-2",
    ]
    assert [arcsine(x).hex() for x in (0.1, 0.5, 0.7)] == [
        "0x1.9a49276037884p-4",
        "0x1.0c152382d7366p-1",
        "0x1.8d00e692afd95p-1",
    ]
    assert [angle_between(np.array(A), np.array(b)).hex() for b in ((1.0, 2.0, 3.0), (-1.0, 2.0, -3.0))] == [
        "0x1.47f28a62a2012p-1",
        "0x1.402312ab9a514p+1",
    ]


def test_an_angle_has_its_digits_where_the_cosine_has_none() -> None:
    a = np.array([1.0, 0.0])
    assert angle_between(a, np.array([1.0, 1e-9])) == pytest.approx(1e-9, rel=1e-15)
    assert angle_between(a, np.array([0.0, -2.0])) == pytest.approx(math.pi / 2, rel=1e-15)
    assert angle_between(a, np.array([-1.0, 1e-3])) == pytest.approx(math.pi - math.atan(1e-3), rel=1e-15)


def test_jitter_is_uniform_noise_of_its_seed_in_no_sample() -> None:
    found = of(Vector((1.0,) * 10_000), Jitter((0,), 8, 0.25), size=10_000).numbers[0] - 1
    assert -0.25 <= found.min() < -0.249 and 0.249 < found.max() <= 0.25
    assert abs(found.mean()) < 0.005 and found.std() == pytest.approx(0.25 / math.sqrt(3), rel=0.02)
    assert np.array_equal(found, (1 + 0.25 * noise(8, 10_000)) - 1)
    samples = latents(8, 0, 4, 10_000, "uniform11")
    assert np.abs(np.corrcoef([found, *samples])[0, 1:]).max() < 0.05


def test_the_class_is_that_of_the_first_sample() -> None:
    sample, other, values = SampleLatent(1, 5), SampleLatent(1, 6), Vector(A)
    assert of(values).first_samples == (0,)
    assert of(values, sample, other, Sum((1.0, 1.0, 1.0), (0, 2, 1))).first_samples == (6,)
    assert of(values, sample, other, Mean((1, 2)), Jitter((3,), 1, 1.0), Lerp((0, 4), 0.0)).first_samples == (5,)


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(RequestError, match="a vector has 2 numbers, a latent of this model 3"):
        of(Vector((1.0, 2.0)))


@pytest.mark.parametrize(
    "parts",
    [
        (Vector((1e39, 0.0, 0.0)),),
        (Vector((1e308, 0.0, 0.0)), Sum((10.0, -10.0), (0, 0))),
        (Vector((1e308, 1e308, 0.0)), Vector(A), Slerp((0, 1), 0.5)),
        (Vector(A), Vector(B), Slerp((0, 1), 1.7e308)),
    ],
)
def test_numbers_that_do_not_fit_are_refused(parts: tuple[Part, ...]) -> None:
    with pytest.raises(RequestError, match=r"latents\[1\] has a number that is too large"):
        evaluate(Formulas((*parts, Vector(A)), (len(parts), len(parts) - 1)), 3, "normal")


def test_the_sum_of_products_is_exact_before_it_is_rounded() -> None:
    a = np.array([1e8, 1.0, -1e8]) / 3
    exact = sum((Fraction(float(x)) ** 2 for x in a), Fraction(0))
    assert math.fsum(a * a) == pytest.approx(float(exact), rel=1e-15)


@pytest.mark.parametrize(
    "part",
    [
        ["sample", 2**64, 0],
        ["sample", 0, 2**63],
        ["sample", 0, -1],
        ["sample", 0.0, 1],
        ["sample", 0],
        ["vector", []],
        ["vector", ["1"]],
        ["vector", [math.nan]],
        ["mean", []],
        ["mean", [1]],
        ["mean", [-1]],
        ["mean", [True]],
        ["sum", [1.0], []],
        ["sum", [], []],
        ["sum", [math.inf], [0]],
        ["lerp", 0, 1, 0.5],
        ["slerp", 0, 0, "0.5"],
        ["jitter", 0, -1, 0.5],
        ["truncate", 1, 0.5],
        ["direction", "turn"],
        "sample",
        None,
    ],
)
def test_malformed_parts_are_refused(part: object) -> None:
    with pytest.raises(RequestError, match="part 1 is malformed"):
        read_formulas({"parts": [["sample", 0, 0], part], "latents": [0]})


@pytest.mark.parametrize("latents_", [None, [], [1], [-1], [0.0], ["0"]])
def test_latents_are_numbers_of_parts(latents_: object) -> None:
    with pytest.raises(RequestError, match="latents must be a list"):
        read_formulas({"parts": [["sample", 0, 0]], "latents": latents_})


@pytest.mark.parametrize("parts", [None, [], {}, [["sample", 0, 0]] * (2**16 + 1)])
def test_there_are_some_parts_and_not_too_many(parts: object) -> None:
    with pytest.raises(RequestError, match="parts must be a list"):
        read_formulas({"parts": parts, "latents": [0]})
