"""Weights from a file: what is accepted, what is refused, and what the scores may be called."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from tests.training.networks.inception_weights import random_weights
from training.errors import RunError, ScoreError
from training.extractors import inception
from training.extractors.extractor import Extractor
from training.extractors.inception import KNOWN_SHA256, InceptionFeatures
from training.networks.inception import Inception


class Malice:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    with torch.device("meta"):
        network = Inception()
    return random_weights(network)


@pytest.fixture(scope="module")
def file(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .pth of random weights."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(weights, path)
    return path


@pytest.fixture(scope="module")
def extractor(file: Path) -> InceptionFeatures:
    return InceptionFeatures.load(file, sha256=digest(file))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pictures(count: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 9, 8, channels), dtype=np.uint8)


def test_it_sees_what_the_network_says(extractor: InceptionFeatures, weights: dict[str, Tensor]) -> None:
    images = pictures(3)
    with torch.device("meta"):
        network = Inception()
    network.load_state_dict(weights, assign=True)
    told: list[int] = []

    seen = extractor(images, report=told.append)

    with torch.inference_mode():
        features, logits = network.eval()(torch.from_numpy(images).permute(0, 3, 1, 2))
    np.testing.assert_allclose(seen.features, features.numpy(), atol=1e-4)
    np.testing.assert_allclose(seen.probabilities, logits.softmax(dim=1).numpy(), atol=1e-4)
    assert told == [3]


def test_grey_images_are_seen_as_colours_that_are_all_alike(extractor: InceptionFeatures) -> None:
    grey = pictures(1, channels=1)

    alone, repeated = extractor(grey), extractor(np.repeat(grey, 3, axis=3))

    assert np.array_equal(alone.features, repeated.features)
    assert extractor.treatment((9, 8, 1)) == "8x9 to 299x299, bilinear as in TensorFlow 1, grey repeated in 3 channels"
    assert extractor.treatment((9, 8, 3)) == "8x9 to 299x299, bilinear as in TensorFlow 1"


def test_images_are_seen_in_small_batches(extractor: InceptionFeatures, monkeypatch: pytest.MonkeyPatch) -> None:
    together, told = extractor(pictures(3)), list[int]()
    monkeypatch.setattr(inception, "MICRO_BATCH", 2)

    parts = extractor(pictures(3), report=told.append)

    np.testing.assert_allclose(parts.features, together.features, atol=1e-4)
    assert told == [2, 1]


def test_safetensors_hold_the_same_and_may_lack_the_counters(
    extractor: InceptionFeatures, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}, path)

    converted = InceptionFeatures.load(path, sha256=digest(path).upper())

    assert np.array_equal(converted(pictures(1)).features, extractor(pictures(1)).features)
    assert converted.sha256 == digest(path)


def test_well_known_names_belong_to_the_well_known_file(
    file: Path, extractor: InceptionFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert KNOWN_SHA256.startswith("6726825d")  # as its published name says
    assert extractor.names.classifier == "classifier score"
    assert not extractor.facts["known"]

    monkeypatch.setattr(inception, "KNOWN_SHA256", digest(file))

    known: Extractor = InceptionFeatures.load(file, sha256=digest(file))
    assert (known.names.classifier, known.names.frechet, known.names.kernel) == ("Inception score", "FID", "KID")
    assert known.facts["known"]


def test_another_digest_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weights": Malice(tmp_path / "ran")}, path)

    with pytest.raises(RunError, match=f"has the sha256 {digest(path)}, not {KNOWN_SHA256}.*--inception-sha256 "):
        InceptionFeatures.load(path)
    assert not (tmp_path / "ran").exists()


def test_a_trusted_digest_still_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weights": Malice(tmp_path / "ran")}, path)

    with pytest.raises(RunError, match="is damaged or holds more than weights"):
        InceptionFeatures.load(path, sha256=digest(path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_damaged_file_is_named(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights.{ending}"
    path.write_bytes(b"no weights")

    with pytest.raises(RunError, match=f"{path} is damaged"):
        InceptionFeatures.load(path, sha256=digest(path))


def test_another_ending_is_refused_with_the_line_that_converts(tmp_path: Path) -> None:
    (tmp_path / "weights.ckpt").write_bytes(b"x")

    with pytest.raises(RunError, match=r"safetensors\.torch\.save_file\(torch\.load\(.*weights_only=True"):
        InceptionFeatures.load(tmp_path / "weights.ckpt", sha256=digest(tmp_path / "weights.ckpt"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"none\.pth cannot be read: No such file"):
        InceptionFeatures.load(tmp_path / "none.pth")


def test_a_far_too_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inception, "MAX_FILE_BYTES", 3)
    (tmp_path / "weights.pth").write_bytes(b"four")

    with pytest.raises(RunError, match="holds 4 bytes, far more"):
        InceptionFeatures.load(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fc.bias", None),
        ("fc.bias", torch.zeros(1000)),
        ("fc.bias", torch.full((1008,), torch.nan)),
        ("fc.bias", "text"),
        ("AuxLogits.fc.bias", torch.zeros(1008)),
    ],
)
def test_weights_of_another_network_are_refused(
    weights: dict[str, Tensor], name: str, value: object, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save({key: tensor for key, tensor in {**weights, name: value}.items() if tensor is not None}, path)

    with pytest.raises(RunError, match=f"1 names or shapes differ, such as '{name}'"):
        InceptionFeatures.load(path, sha256=digest(path))


def test_a_file_that_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "weights.pth")

    with pytest.raises(RunError, match="holds a list, no state dict"):
        InceptionFeatures.load(tmp_path / "weights.pth", sha256=digest(tmp_path / "weights.pth"))


@pytest.mark.parametrize(
    "images", [np.zeros((0, 4, 4, 3), np.uint8), np.zeros((1, 4, 4, 2), np.uint8), np.zeros((1, 4, 4, 3), np.float32)]
)
def test_what_is_no_image_is_refused(extractor: InceptionFeatures, images: np.ndarray) -> None:
    with pytest.raises(ScoreError, match=r"expected images uint8 \[N, H, W, C\] with N >= 1 and C 1 or 3"):
        extractor(images)
