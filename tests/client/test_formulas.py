"""Formulas: what is written is read again, ranges make frames, and what is wrong is found where it stands."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mintage import latents
from mintage.formulas import FormulaError, parse, text_of
from mintage.v1 import latents_pb2
from mintage.v1.latents_pb2 import Latent

numbers = st.floats(allow_nan=False, allow_infinity=False)
seeds = st.integers(0, 2**64 - 1)
names = st.from_regex(r"[a-z][a-z0-9_-]{0,62}", fullmatch=True).filter(lambda name: name not in latents.FUNCTIONS)
leaves = st.one_of(
    st.builds(latents.sample, seeds, st.integers(0, 2**63 - 1)),
    st.lists(numbers, min_size=1, max_size=4).map(lambda of: Latent(values=latents_pb2.LatentValues(values=of))),
    names.map(lambda name: Latent(direction=name)),
)


def summed(terms: list[tuple[float, Latent]]) -> Latent:
    made = [latents_pb2.LatentSum.Term(weight=weight, latent=latent) for weight, latent in terms]
    return Latent(sum=latents_pb2.LatentSum(terms=made))


def compound(inner: st.SearchStrategy[Latent]) -> st.SearchStrategy[Latent]:
    weights = st.one_of(numbers, st.sampled_from([1.0, -1.0, 0.0, -0.0]))
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda of: Latent(mean=latents_pb2.LatentList(latents=of))),
        st.lists(st.tuples(weights, inner), min_size=1, max_size=3).map(summed),
        st.builds(latents.interpolation, st.sampled_from(["lerp", "slerp"]), inner, inner, numbers),
        st.builds(
            lambda latent, seed, width: Latent(
                jitter=latents_pb2.LatentJitter(latent=latent, seed=seed, half_width=width)
            ),
            *(inner, seeds, numbers),
        ),
        st.builds(
            lambda latent, share: Latent(truncate=latents_pb2.LatentTruncation(latent=latent, share=share)),
            *(inner, numbers),
        ),
    )


@given(st.recursive(leaves, compound, max_leaves=12))
def test_what_is_written_is_read_as_the_same_message(latent: Latent) -> None:
    [read] = parse(text_of(latent), seed=99)
    assert read.SerializeToString(deterministic=True) == latent.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("#12", "5#12"),
        (" mean( #1,#2 )-7#3 ", "mean(5#1, 5#2) - 7#3"),
        ("#5 + turn * 2", "5#5 + 2 * turn"),
        ("turn-left - #1", "turn-left - 5#1"),
        ("-#1", "-5#1"),
        ("-7#1", "-7#1"),
        ("- 2 * #1", "-2 * 5#1"),
        ("-2*-3*#1/4", "1.5 * 5#1"),
        ("#1 / 4", "0.25 * 5#1"),
        ("(#1)", "5#1"),
        ("(#1 + #2) * 0.5", "0.5 * (5#1 + 5#2)"),
        ("2 * (3 * #1)", "2 * (3 * 5#1)"),
        ("(#1 - #2) - (#3 - #4)", "(5#1 - 5#2) - (5#3 - 5#4)"),
        ("lerp(#1, #2, 1/4 + .5)", "lerp(5#1, 5#2, 0.75)"),
        ("jitter(#1, 18446744073709551615, 1e-3)", "jitter(5#1, 18446744073709551615, 0.001)"),
        ("truncate(slerp(#1, #2, -1), 1.)", "truncate(slerp(5#1, 5#2, -1), 1)"),
        ("[1, -2.5, 1/4]", "[1, -2.5, 0.25]"),
    ],
)
def test_a_formula_may_be_written_in_many_ways(text: str, same: str) -> None:
    [read] = parse(text, seed=5)
    assert text_of(read) == same


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("slerp(7#1, 7#2, 0:1:3)", ["slerp(7#1, 7#2, 0)", "slerp(7#1, 7#2, 0.5)", "slerp(7#1, 7#2, 1)"]),
        ("#5 + turn * -2:2:3", ["0#5 - 2 * turn", "0#5 + 0 * turn", "0#5 + 2 * turn"]),
        ("7#8:14:3", ["7#8", "7#11", "7#14"]),
        ("jitter(#1, 3:2:2, 0:1:2)", ["jitter(0#1, 3, 0)", "jitter(0#1, 2, 1)"]),
        ("#5 - 2:4:2 * turn", ["0#5 - 2 * turn", "0#5 - 4 * turn"]),
    ],
)
def test_a_range_makes_frames(text: str, frames: list[str]) -> None:
    assert [text_of(latent) for latent in parse(text)] == frames


def test_the_last_frame_of_a_range_is_its_end_exactly() -> None:
    frames = parse("truncate(#1, 0.1:0.7:7)")
    assert [frames[0].truncate.share, frames[-1].truncate.share] == [0.1, 0.7]


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("", 1, "expected a latent or a number, not the end"),
        ("#1 +", 5, "expected a latent or a number, not the end"),
        ("#1 #2", 4, "expected an operator or the end, not '#'"),
        ("#1 * #2", 6, "two latents cannot be multiplied"),
        ("2 / #2", 5, "nothing can be divided by a latent"),
        ("#1 + 2", 6, "a number and a latent cannot be added"),
        ("3", 1, "expected a latent, not a number"),
        ("#1 / 0", 6, "division by zero"),
        ("#1 * 1e999", 6, "the number is too large"),
        ("#1 * 1e300 * 1e300", 14, "the number is too large"),
        ("mean()", 6, "expected a latent or a number, not ')'"),
        ("mean(#1", 8, "expected ')', not the end"),
        ("slerp(#1, #2)", 13, "expected ',', not ')'"),
        ("slerp(#1, #2, #3)", 15, "expected a number, not a latent"),
        ("slurp(#1, #2, 0)", 1, "there is no function 'slurp', only mean, lerp, slerp, jitter, truncate"),
        ("mean", 5, "expected '(' behind 'mean', not the end"),
        ("#1.5", 2, "an index must be a whole number up to 9223372036854775807, not '1.5'"),
        ("18446744073709551616#1", 1, "a seed must be a whole number up to 18446744073709551615"),
        ("#1 & #2", 4, "'&' has no meaning here"),
        ("Turn", 1, "'T' has no meaning here"),
        ("#1 * 0:1:1", 10, "a range has at least 2 frames, not 1"),
        ("#1 * 0:1:5000", 10, "the number of frames must be a whole number up to 4096"),
        ("#1 * 0:1:3 + #2 * 0:1:4", 23, "all ranges of a formula have as many frames: 3, not 4"),
        ("#0:4:4", 2, "an index must be whole in every frame, but 4 from 0 to 4 are not"),
        ("(" * 70 + "#1" + ")" * 70, 65, "it is nested more than 64 deep"),
        ("-" * 10_000 + "#1", 65, "it is nested more than 64 deep"),
        ("a" * 64, 1, "a name has at most 63 characters"),
    ],
)
def test_what_is_wrong_is_found_where_it_stands(text: str, column: int, what: str) -> None:
    with pytest.raises(FormulaError) as failure:
        parse(text)
    assert failure.value.column == column
    assert what in str(failure.value) and f"column {column}: " in str(failure.value)


@given(st.text(alphabet="#12mean()lrsp,+-*/:.[]e 0", max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except FormulaError:
        return
    assert all(text_of(latent) for latent in found)


@pytest.mark.parametrize(
    "latent", [Latent(), Latent(sum=latents_pb2.LatentSum()), latents.interpolation("lerp", Latent(), Latent(), 0.5)]
)
def test_a_formula_with_a_part_missing_has_no_text(latent: Latent) -> None:
    with pytest.raises(ValueError, match=r"missing|no terms"):
        text_of(latent)


def test_numbers_that_are_not_finite_have_no_text() -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="cannot hold"):
            text_of(summed([(value, latents.sample(0, 1))]))


def test_a_shift_moves_every_sample_and_nothing_else() -> None:
    [latent] = parse("mean(7#1, #2) + turn * 2 - jitter(slerp(#3, [1], 0.5), 8, 1)")
    assert text_of(latents.shifted(latent, 10)) == ("mean(7#11, 0#12) + 2 * turn - jitter(slerp(0#13, [1], 0.5), 8, 1)")
    assert latents.shifted(latent, 0) == latent
