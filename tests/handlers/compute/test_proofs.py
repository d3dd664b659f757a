"""Proofs of batch sizes are made once, kept, and made anew when anything changes that may change them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from handlers.compute import proofs
from handlers.compute.batch_sizes import BatchSizes, fixed, prove
from handlers.compute.model import Model
from handlers.compute.precision import Precision
from handlers.compute.proofs import with_proven_sizes
from handlers.operations.direct import generate
from handlers.protocol.requests import Failure, Generate
from tests.support.direct import activations, classify


class Counted:
    """Proves, and counts how often."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        self._prove = prove
        monkeypatch.setattr(proofs, "prove", self)

    def __call__(self, *arguments: object, **options: object) -> BatchSizes:
        self.times += 1
        return self._prove(*arguments, **options)  # type: ignore[arg-type]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def test_a_proof_is_made_once_and_read_afterwards(generator: Model, counted: Counted, tmp_path: Path) -> None:
    first = with_proven_sizes(generator, "a", tmp_path / "proofs")
    assert with_proven_sizes(generator, "a", tmp_path / "proofs").sizes == first.sizes
    assert counted.times == 1 and first.sizes.reference in first.sizes.proven


def test_other_weights_or_settings_are_proven_anew(
    generator: Model, counted: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other: Precision = "float32" if generator.precision == "bfloat16" else "bfloat16"
    with_proven_sizes(generator, "a", tmp_path)
    with_proven_sizes(generator, "b", tmp_path)
    with_proven_sizes(dataclasses.replace(generator, sizes=fixed(4)), "a", tmp_path)
    with_proven_sizes(dataclasses.replace(generator, precision=other), "a", tmp_path)
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    with_proven_sizes(generator, "a", tmp_path)
    assert counted.times == 5


@pytest.mark.parametrize("text", ["", "{}", '{"proven": [4], "free": true}', '{"proven": [8, -1], "free": true}', "[]"])
def test_a_damaged_proof_is_made_anew(generator: Model, counted: Counted, tmp_path: Path, text: str) -> None:
    sizes = with_proven_sizes(generator, "a", tmp_path).sizes
    [path] = tmp_path.glob("*.json")
    path.write_text(text)
    assert with_proven_sizes(generator, "a", tmp_path).sizes == sizes
    assert counted.times == 2


def test_a_sample_is_the_same_alone_and_in_company_in_every_proven_size(generator: Model) -> None:
    proven = with_proven_sizes(generator, "a", None)
    [expected] = generate(generator, [Generate(3, 0, 100)])
    assert not isinstance(expected, Failure)
    requests = [Generate(3, 40, 1), Generate(7, 5, 3), Generate(3, 0, 100), Generate(3, 99, 1)]
    alone, _, whole, last = generate(proven, requests)
    assert np.array_equal(whole, expected)  # type: ignore[arg-type]
    assert np.array_equal(alone, expected[40:41]) and np.array_equal(last, expected[99:])  # type: ignore[arg-type]


def test_an_image_is_classified_the_same_at_any_place_where_rows_are_free(classifier: Model) -> None:
    proven = with_proven_sizes(classifier, "a", None)
    if not proven.sizes.free:
        pytest.skip("rows are not free on this machine: its libraries let their place decide bits")
    images = np.random.default_rng(1).integers(0, 256, (30, *classifier.image_shape), np.uint8)
    order = np.random.default_rng(2).permutation(30)
    whole, shuffled = classify(proven, images), classify(proven, images[order])
    assert np.array_equal(whole[0][order], shuffled[0])
    assert np.array_equal(classify(proven, images[4:5])[0], whole[0][4:5])


def test_every_stage_of_an_autoencoder_is_proven(neurons: Model) -> None:
    proven = with_proven_sizes(neurons, "a", None)
    images = np.random.default_rng(1).integers(0, 256, (9, *neurons.image_shape), np.uint8)
    for stage in range(1, len(neurons.unit_shapes) + 1):
        expected = activations(neurons, images, stage, ())
        assert np.array_equal(activations(proven, images, stage, ()), expected)


def leaky(rows: torch.Tensor) -> torch.Tensor:
    """Let the place of a row decide its values."""
    return rows.flatten(1)[:, :4] + torch.arange(len(rows))[:, None] * 1e-3


def sound(rows: torch.Tensor) -> torch.Tensor:
    """Let nothing but the row decide its values."""
    return rows.flatten(1)[:, :4] * 2


@pytest.mark.parametrize("way", ["forward", "reconstruct"])
def test_every_way_through_an_autoencoder_is_proven(neurons: Model, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(neurons.network, "forward", lambda rows: [sound(rows)])
    monkeypatch.setattr(neurons.network, "reconstruct", sound)
    assert with_proven_sizes(neurons, "a", None).sizes.free
    monkeypatch.setattr(neurons.network, way, (lambda rows: [leaky(rows)]) if way == "forward" else leaky)
    assert with_proven_sizes(neurons, "a", None).sizes == fixed(neurons.micro_batch)


@pytest.mark.parametrize("way", ["forward", "logits_and_features"])
def test_every_way_through_a_classifier_is_proven(classifier: Model, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(classifier.network, "forward", sound)
    monkeypatch.setattr(classifier.network, "logits_and_features", lambda rows: (sound(rows), sound(rows)))
    assert with_proven_sizes(classifier, "a", None).sizes.free
    pair = (lambda rows: (sound(rows), leaky(rows))) if way == "logits_and_features" else leaky
    monkeypatch.setattr(classifier.network, way, pair)
    assert with_proven_sizes(classifier, "a", None).sizes == fixed(classifier.micro_batch)


def test_the_sizes_that_are_tried_are_told(generator: Model, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with_proven_sizes(generator, "a", tmp_path, lambda tried, total: told.append((tried, total)))
    assert [tried for tried, _ in told] == list(range(len(told)))
    assert {total for _, total in told} == {len(told)}
    again: list[tuple[int, int]] = []
    with_proven_sizes(generator, "a", tmp_path, lambda tried, total: again.append((tried, total)))
    assert again == []
