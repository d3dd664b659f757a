"""Whatever a model answers, the caller gets sound values or a named error."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from service.backend.protocol import messages
from service.errors import FailedPrecondition, Internal, InvalidArgument, MintageError

FACTS = {
    "status": "ok",
    "message": "",
    "device_class": "cpu",
    "torch_version": "2.13.0",
    "numerics": 1,
    "precision": "float32",
}
DESCRIPTION = {
    "kind": "generator",
    "height": 2,
    "width": 3,
    "channels": 1,
    "classes": ["a", "b"],
    "latent_size": 4,
    "micro_batch": 8,
    "recipe": "ssgan-digits",
    "run_digest": "c" * 64,
}
SHAPE = (4, 2, 3, 1)


def answer(header: dict[str, Any] | None = None, /, **tensors: np.ndarray) -> bytes:
    text = np.frombuffer(json.dumps({**FACTS, **(header or {})}).encode(), np.uint8)
    return save({"header": text, **tensors})


def images(shape: tuple[int, ...] = SHAPE, dtype: Any = np.uint8) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def test_sound_images_are_read() -> None:
    made = messages.read_images(answer(images=images()), SHAPE)
    assert np.array_equal(made.images, images())
    assert (made.device_class, made.torch_version, made.numerics) == ("cpu", "2.13.0", 1)


def test_answers_of_one_layout_are_each_read_and_each_checked_whole() -> None:
    for turn in range(3):  # the layout is known from the second one on
        made = messages.read_images(answer({"numerics": turn + 1}, images=images() + np.uint8(turn)), SHAPE)
        assert np.array_equal(made.images, images() + turn)
        assert made.numerics == turn + 1
    for other in (answer(images=images()) + b"\0", answer(images=images())[:-1]):
        with pytest.raises(Internal):
            messages.read_images(other, SHAPE)


@given(garbage=st.binary(max_size=200))
def test_garbage_is_an_internal_error(garbage: bytes) -> None:
    with pytest.raises(Internal):
        messages.read_images(garbage, SHAPE)


@given(length=st.integers(0, len(answer(images=images())) - 1))
def test_a_truncated_answer_is_an_internal_error(length: int) -> None:
    with pytest.raises(Internal):
        messages.read_images(answer(images=images())[:length], SHAPE)


@pytest.mark.parametrize(
    "damaged",
    [
        answer(),
        answer(images=images((3, 2, 3, 1))),
        answer(images=images((4, 3, 2, 1))),
        answer(images=images((24,))),
        answer(images=images(dtype=np.float32)),
        answer({"device_class": None}, images=images()),
        answer({"torch_version": ""}, images=images()),
        answer({"numerics": "1"}, images=images()),
        answer({"status": None}, images=images()),
        answer({"status": "perhaps"}, images=images()),
        save({"images": images()}),
        save({"images": images(), "header": np.zeros(3, np.uint8)}),
        save({"images": images(), "header": np.frombuffer(b"[]", np.uint8)}),
    ],
)
def test_an_answer_that_is_not_exactly_right_is_an_internal_error(damaged: bytes) -> None:
    with pytest.raises(Internal):
        messages.read_images(damaged, SHAPE)


@pytest.mark.parametrize(
    ("status", "kind"), [("invalid", InvalidArgument), ("error", Internal), ("refused", FailedPrecondition)]
)
def test_a_status_becomes_the_error_that_it_stands_for(status: str, kind: type[MintageError]) -> None:
    blob = answer({"status": status, "message": "count must be at most 9"})
    for read in (
        lambda: messages.read_images(blob, SHAPE),
        lambda: messages.read_classifications(blob, (4, 2)),
        lambda: messages.read_description(blob),
        lambda: messages.read_canary(blob),
    ):
        with pytest.raises(kind, match="count must be at most 9"):
            read()


def classified(rows: list[list[float]], generated: list[float] | None = None, dtype: Any = np.float32) -> bytes:
    tensors = {"probabilities": np.array(rows, dtype)}
    if generated is not None:
        tensors["generated"] = np.array(generated, dtype)
    return answer(**tensors)


def test_sound_classifications_are_read() -> None:
    found = messages.read_classifications(classified([[0.25, 0.75], [1, 0]], [0.5, 0]), (2, 2))
    assert found.probabilities.tolist() == [[0.25, 0.75], [1, 0]]
    assert found.generated is not None and found.generated.tolist() == [0.5, 0]


def test_a_model_may_not_know_what_is_generated() -> None:
    assert messages.read_classifications(classified([[1, 0]]), (1, 2)).generated is None


@pytest.mark.parametrize(
    "damaged",
    [
        classified([[np.nan, 0.5]]),
        classified([[np.inf, 0]]),
        classified([[-0.5, 1.5]]),
        classified([[0.5, 0.4]]),
        classified([[0.5, 0.5], [0.5, 0.5]]),
        classified([[1.0]]),
        classified([[0.5, 0.5]], dtype=np.float64),
        classified([[0.5, 0.5]], [np.nan]),
        classified([[0.5, 0.5]], [1.5]),
        classified([[0.5, 0.5]], [0.5, 0.5]),
        answer(),
    ],
)
def test_numbers_that_are_no_probabilities_are_an_internal_error(damaged: bytes) -> None:
    with pytest.raises(Internal):
        messages.read_classifications(damaged, (1, 2))


def test_a_description_is_read() -> None:
    found = messages.read_description(answer(DESCRIPTION))
    assert (found.kind, found.classes, found.latent_size, found.micro_batch) == ("generator", ("a", "b"), 4, 8)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "teapot"},
        {"height": 0},
        {"width": "3"},
        {"channels": True},
        {"classes": "ab"},
        {"classes": [1, 2]},
        {"latent_size": -1},
        {"micro_batch": None},
        {"batch_sizes": 8},
        {"batch_sizes": [0]},
        {"recipe": ""},
        {"run_digest": None},
        {"layers": [[1, 2]]},
        {"layers": [[1, 2, 0]]},
    ],
)
def test_a_description_that_is_not_sound_is_an_internal_error(change: dict[str, Any]) -> None:
    with pytest.raises(
        Internal, match="teapot" if "kind" in change else "layers|width" if "layers" in change else next(iter(change))
    ):
        messages.read_description(answer({**DESCRIPTION, **change}))
