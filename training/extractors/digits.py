"""Features of grey digits, for scores: a small convolutional classifier trained by this project.

    extractor = DigitFeatures.load(Path("models/digit-features"))
    seen = extractor(images)                           # seen.features [N, 64], seen.probabilities [N, 10]

The networks that score photographs were not trained on digits, so digits have their own, trained by `digits_training`.
Its sha256 is stored with every score: values under different weights must not be compared.

    models/digit-features/
    ├── features.safetensors      the weights; its sha256 is the extractor's identity
    ├── config.json               image shape, classes, micro-batch, that sha256, and what it was trained on
    └── card.md                   accuracy, data, the command
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional

from training.batches import to_tensor
from training.errors import RunError, ScoreError
from training.extractors.extractor import ExtractorOutput, one_thread
from training.scores.names import FORMULAS, ScoreNames

WEIGHTS_FILE, CONFIG_FILE = "features.safetensors", "config.json"
FEATURES = 64  # F; scores need more images than features
SMALLEST = 16  # least side of an image, px


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturesConfig:
    """The content of config.json."""

    height: int
    width: int
    channels: int
    classes: tuple[str, ...]
    micro_batch: int
    seed: int
    epochs: int
    data_name: str
    data_images: int
    data_sha256: str
    test_images: int
    test_accuracy: float  # in [0, 1]
    torch: str
    sha256: str  # of features.safetensors

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of one image on the wire, (H, W, C)."""
        return self.height, self.width, self.channels

    def to_json(self) -> str:
        """Return the text of config.json."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> FeaturesConfig:
        """Read the text of config.json; ValueError, TypeError or KeyError if it is malformed."""
        values: dict[str, Any] = json.loads(text)
        config = cls(**{**values, "classes": tuple(values["classes"])})
        if min(*config.image_shape, config.micro_batch, len(config.classes)) < 1:
            raise ValueError("a size is below 1")
        return config


class DigitNetwork(nn.Module):
    """Two convolutions and two linear layers, after LeNet-5 (LeCun et al. 1998), with ReLU and max pooling.

    Args:
        image_shape: (H, W, C), H and W >= SMALLEST.
        classes: K.
    """

    def __init__(self, *, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        height, width, channels = image_shape
        self.first = nn.Conv2d(channels, 16, 5)
        self.second = nn.Conv2d(16, 32, 5)
        self.hidden = nn.Linear(32 * _pooled(height) * _pooled(width), FEATURES)
        self.output = nn.Linear(FEATURES, classes)

    def features(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to features [N, F], all >= 0; after training their mean square is 1."""
        units = functional.max_pool2d(functional.relu(self.first(images)), 2)  # [N, 16, 12, 12] of digits
        units = functional.max_pool2d(functional.relu(self.second(units)), 2)  # [N, 32, 4, 4]
        return functional.relu(self.hidden(units.flatten(1)))


class DigitFeatures:
    """A trained extractor; see `load`."""

    def __init__(self, network: DigitNetwork, config: FeaturesConfig) -> None:
        self.config = config
        self._network = network.eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: Path) -> DigitFeatures:
        """Load an extractor from its folder.

        Raises:
            RunError: if a file is missing or damaged, or the weights' digest differs from the configuration's.
        """
        try:
            config = FeaturesConfig.from_json((folder / CONFIG_FILE).read_text(encoding="utf-8"))
            content = (folder / WEIGHTS_FILE).read_bytes()
        except OSError as error:
            raise RunError(f"{folder} holds no feature extractor: {error.strerror}: {error.filename}") from None
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{folder / CONFIG_FILE} is damaged or from another version ({error!r})") from None
        if hashlib.sha256(content).hexdigest() != config.sha256:
            raise RunError(f"{folder / WEIGHTS_FILE} is not the file whose sha256 {CONFIG_FILE} names")
        network = DigitNetwork(image_shape=config.image_shape, classes=len(config.classes))
        try:
            network.load_state_dict(load(content))
        except (RuntimeError, SafetensorError) as error:
            raise RunError(
                f"{folder / WEIGHTS_FILE} does not fit the network: {' '.join(str(error).split())}"
            ) from None
        return cls(network, config)

    @property
    def sha256(self) -> str:
        """Identity of the weights: sha256 of features.safetensors."""
        return self.config.sha256

    @property
    def names(self) -> ScoreNames:
        """Names of the formulas: these weights are not publicly known."""
        return FORMULAS

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of the training images, (H, W, C)."""
        return self.config.image_shape

    @property
    def features(self) -> int:
        """F, the width of the last hidden layer."""
        return FEATURES

    @property
    def classes(self) -> int:
        """K, the number of classes."""
        return len(self.config.classes)

    @property
    def facts(self) -> dict[str, Any]:
        """Accuracy and training data."""
        return {"test_accuracy": self.config.test_accuracy, "data": self.config.data_name}

    def treatment(self, image_shape: tuple[int, int, int]) -> str:
        """Return `none`: images of another shape are refused."""
        return "none"

    def __call__(self, images: NDArray[np.uint8], *, report: Callable[[int], None] = lambda _: None) -> ExtractorOutput:
        """Extract features in micro-batches of one size, the last one padded, so that results do not depend on N.

        Args:
            images: uint8 [N, H, W, C], N >= 1.
            report: called with the number of images just done.

        Raises:
            ScoreError: if the images are not of the extractor's shape.
        """
        if images.ndim != 4 or len(images) == 0 or images.dtype != np.uint8:
            raise ScoreError(f"expected images uint8 [N, H, W, C] with N >= 1, got {images.dtype} {list(images.shape)}")
        if images.shape[1:] != self.config.image_shape:
            raise ScoreError(
                f"the extractor sees images of {list(self.config.image_shape)} (H, W, C), not of "
                f"{list(images.shape[1:])}, and nothing is resized: give images of its size, or another extractor"
            )
        features = np.empty((len(images), FEATURES), np.float32)
        probabilities = np.empty((len(images), len(self.config.classes)), np.float32)
        with one_thread():
            for start in range(0, len(images), self.config.micro_batch):
                rows = slice(start, min(start + self.config.micro_batch, len(images)))
                features[rows], probabilities[rows] = self._micro_batch(images[rows])
                report(rows.stop - rows.start)
        return ExtractorOutput(features, probabilities)

    @torch.inference_mode()
    def _micro_batch(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return features and probabilities of at most a micro-batch of images."""
        count = len(images)
        filled = np.zeros((self.config.micro_batch, *self.config.image_shape), np.uint8)
        filled[:count] = images
        features = self._network.features(to_tensor(filled))
        probabilities = self._network.output(features).softmax(dim=1)
        return features[:count].numpy(), probabilities[:count].numpy()


def _pooled(side: int) -> int:
    """Return the side after two 5 x 5 convolutions without padding, each followed by halving."""
    return ((side - 4) // 2 - 4) // 2
