"""The feature extractor: its training, its folder, and what it says of images."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.fakes import blobs
from training.batches import to_tensor
from training.data import load
from training.errors import DataError, RunError, ScoreError
from training.extractors.digits import CONFIG_FILE, FEATURES, WEIGHTS_FILE, DigitFeatures, DigitNetwork
from training.extractors.digits_training import normalise, shifted, train_digit_features
from training.extractors.extractor import Extractor

SHIPPED = Path(__file__).parents[3] / "models" / "digit-features"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of an extractor that was trained on three hundred blobs."""
    folder = tmp_path_factory.mktemp("features") / "blobs"
    train_digit_features(blobs(300, side=16), folder, test=blobs(30, side=16, seed=1), epochs=10)
    return folder


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_the_shipped_extractor_knows_the_digits_and_is_small() -> None:
    extractor, test = DigitFeatures.load(SHIPPED), load("digits", "test")

    correct = (extractor(test.images).probabilities.argmax(axis=1) == test.labels).mean()

    assert correct > 0.98
    assert correct == pytest.approx(extractor.config.test_accuracy, abs=0.0011)  # another CPU rounds otherwise
    assert extractor.config.data_sha256 == load("digits", "train").sha256()
    assert (SHIPPED / WEIGHTS_FILE).stat().st_size < 1_000_000


def test_it_learns(folder: Path) -> None:
    test = blobs(30, side=16, seed=2)
    extractor: Extractor = DigitFeatures.load(folder)

    seen = extractor(test.images)

    assert (seen.probabilities.argmax(axis=1) == test.labels).mean() > 0.9
    assert seen.features.shape == (30, FEATURES)
    assert (seen.features >= 0).all()
    np.testing.assert_allclose(seen.probabilities.sum(axis=1), 1, rtol=1e-5)


def test_features_have_a_mean_square_of_one_and_the_logits_do_not_notice(folder: Path) -> None:
    data = blobs(300, side=16)
    seen = DigitFeatures.load(folder)(data.images)
    network = DigitNetwork(image_shape=data.shape, classes=3)
    logits = network.output(network.features(to_tensor(data.images)))

    normalise(network, data)

    assert (seen.features.astype(float) ** 2).mean() == pytest.approx(1, rel=1e-4)
    torch.testing.assert_close(network.output(network.features(to_tensor(data.images))), logits)
    assert network.features(to_tensor(data.images)).square().mean().item() == pytest.approx(1, rel=1e-4)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    data, test = blobs(300, side=16), blobs(30, side=16, seed=1)

    again = train_digit_features(data, tmp_path / "again", test=test, epochs=10)
    other = train_digit_features(data, tmp_path / "other", test=test, epochs=10, seed=2)

    assert again.sha256 == DigitFeatures.load(folder).sha256
    assert other.sha256 != again.sha256


def test_its_identity_is_the_digest_of_the_weights_and_stands_on_the_card(folder: Path) -> None:
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()

    assert DigitFeatures.load(folder).sha256 == digest
    assert digest in (folder / "card.md").read_text()


def test_what_it_says_of_an_image_does_not_depend_on_the_others(folder: Path) -> None:
    extractor, images = DigitFeatures.load(folder), blobs(250, side=16).images

    together, alone = extractor(images), extractor(images[:1])

    assert together.features[0].tobytes() == alone.features[0].tobytes()
    assert together.probabilities[0].tobytes() == alone.probabilities[0].tobytes()


def test_progress_is_told_in_images(folder: Path) -> None:
    told: list[int] = []

    DigitFeatures.load(folder)(blobs(250, side=16).images, report=told.append)

    assert told == [100, 100, 50]


def test_images_are_moved_without_being_changed() -> None:
    image = torch.full((200, 1, 16, 16), -1.0)
    image[:, :, 7:9, 7:9] = 1.0

    moved = shifted(image, torch.Generator().manual_seed(0))

    places = {tuple((one[0] > 0).nonzero()[0].tolist()) for one in moved}
    assert places == {(row, column) for row in range(5, 10) for column in range(5, 10)}
    assert (moved > 0).sum() == 200 * 4


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((3, 28, 28, 1), np.uint8), r"sees images of \[16, 16, 1\] \(H, W, C\), not of \[28, 28, 1\]"),
        (np.zeros((3, 16, 16, 1), np.float32), "got float32"),
        (np.zeros((16, 16, 1), np.uint8), r"expected images uint8 \[N, H, W, C\]"),
        (np.zeros((0, 16, 16, 1), np.uint8), "with N >= 1"),
    ],
)
def test_images_that_it_cannot_see_are_refused(folder: Path, images: np.ndarray, message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        DigitFeatures.load(folder)(images)


@pytest.mark.parametrize(("count", "side"), [(99, 16), (100, 15)])
def test_too_few_or_too_small_training_images_are_refused(count: int, side: int, tmp_path: Path) -> None:
    data = blobs(count, side=side)

    with pytest.raises(DataError, match="trained on at least 100 of at least 16 x 16"):
        train_digit_features(data, tmp_path / "x", test=data)
    assert not (tmp_path / "x").exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=f"{tmp_path / 'none'} holds no feature extractor"):
        DigitFeatures.load(tmp_path / "none")


def test_changed_weights_are_noticed(copy: Path) -> None:
    content = bytearray((copy / WEIGHTS_FILE).read_bytes())
    content[-1] ^= 1
    (copy / WEIGHTS_FILE).write_bytes(content)

    with pytest.raises(RunError, match=f"is not the file whose sha256 {CONFIG_FILE} names"):
        DigitFeatures.load(copy)


def test_weights_of_another_network_are_refused(copy: Path) -> None:
    values = json.loads((copy / CONFIG_FILE).read_text())
    (copy / CONFIG_FILE).write_text(json.dumps({**values, "height": 28}))

    with pytest.raises(RunError, match="does not fit the network"):
        DigitFeatures.load(copy)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"height": 3}', "null"])
def test_a_damaged_configuration_is_refused(copy: Path, text: str) -> None:
    (copy / CONFIG_FILE).write_text(text)

    with pytest.raises(RunError, match="is damaged or from another version"):
        DigitFeatures.load(copy)


def test_sizes_below_one_are_refused(copy: Path) -> None:
    values = json.loads((copy / CONFIG_FILE).read_text())
    (copy / CONFIG_FILE).write_text(json.dumps({**values, "micro_batch": 0}))

    with pytest.raises(RunError, match="is damaged"):
        DigitFeatures.load(copy)
