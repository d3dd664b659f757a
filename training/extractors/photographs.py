"""Features of photographs, for scores without outside weights: what our autoencoder sees, and coarse colours.

    extractor = PhotographFeatures.load(Path("models/face-neuron"))
    seen = extractor(images)                           # seen.features [N, 108], no probabilities

Images are brought to the network's size, 32 x 32 of the shipped one, whose features are

- the units of its top stage, which see the whole image: 32;
- the mean of each map of its first stage in each quarter of the image: 16 maps x 4;
- the mean of each colour in each quarter: 3 x 4. The network looks at contrast alone and would miss a tint.

The network learnt from faces and photographs of objects, without labels. Its features are few and coarse: they rank
runs of one kind of photographs, and are not those of Inception. Each group is divided by a constant, so that all count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from training.batches import to_tensor
from training.data.image import fitted
from training.errors import ScoreError
from training.extractors.extractor import ExtractorOutput, must_be_images, one_thread
from training.neurons.activations import LoadedRun, load_autoencoder_run
from training.runs.checkpoint import WEIGHTS_FILE
from training.scores.names import FORMULAS, ScoreNames

VERSION = "photographs 1"  # of what is computed from the network; part of the extractor's identity
QUARTERS = 2  # per side
MICRO_BATCH = 64  # images per forward pass
# The deviation of each group's features over 4,000 faces and photographs of objects, rounded.
TOP_SCALE, FIRST_SCALE, COLOUR_SCALE = 0.84, 0.22, 0.30


class PhotographFeatures:
    """An autoencoder's units as features of photographs of any size; see `load`."""

    def __init__(self, trained: LoadedRun, sha256: str) -> None:
        self._trained = trained
        self._sha256 = sha256

    @classmethod
    def load(cls, run: Path) -> PhotographFeatures:
        """Load the autoencoder of a run folder.

        Raises:
            RunError: if the folder is missing or damaged.
            RecipeError: if its recipe trains no autoencoder.
            ScoreError: if it does not see colour.
        """
        trained = load_autoencoder_run(run)
        if trained.config.channels != 3:
            raise ScoreError(f"{run} sees no colours; features of photographs need an autoencoder of colour images")
        weights = hashlib.sha256((run / WEIGHTS_FILE).read_bytes()).hexdigest()
        return cls(trained, hashlib.sha256(f"{VERSION} {weights}".encode()).hexdigest())

    @property
    def sha256(self) -> str:
        """Identity: of the weights' file, and of what is computed from them."""
        return self._sha256

    @property
    def names(self) -> ScoreNames:
        """Names of the formulas: these weights are this project's own."""
        return FORMULAS

    @property
    def image_shape(self) -> None:
        """None: images of any size, grey or colour, are accepted."""
        return None

    @property
    def features(self) -> int:
        """F: units of the top stage, quarters of the maps of the first, and of the colours."""
        shapes = self._trained.network.unit_shapes
        return int(np.prod(shapes[-1])) + QUARTERS**2 * (shapes[0][0] + 3)

    @property
    def classes(self) -> int:
        """0: it knows no classes, so there is no classifier score."""
        return 0

    @property
    def facts(self) -> dict[str, Any]:
        """The network, ours, and what it learnt from."""
        config = self._trained.config
        return {"network": f"Mintage's {config.recipe} ({VERSION})", "data": config.portable().data_name}

    def treatment(self, image_shape: tuple[int, int, int]) -> str:
        """Return the preprocessing of images (H, W, C): cropping and resizing, and grey to three channels."""
        height, width, channels = image_shape
        config = self._trained.config
        grey = ", grey repeated in 3 channels" if channels == 1 else ""
        if (height, width) == (config.height, config.width):
            return f"none{grey}"
        return f"{width}x{height} to {config.width}x{config.height}, centre crop, Lanczos{grey}"

    def __call__(self, images: NDArray[np.uint8], *, report: Callable[[int], None] = lambda _: None) -> ExtractorOutput:
        """Extract features in micro-batches of one size, the last one padded, so that results do not depend on N.

        Args:
            images: uint8 [N, H, W, C], N >= 1, C 1 or 3.
            report: called with the number of images just done.

        Raises:
            ScoreError: if the images are malformed.
        """
        must_be_images(images)
        features = np.empty((len(images), self.features), np.float32)
        with one_thread():
            for start in range(0, len(images), MICRO_BATCH):
                rows = slice(start, min(start + MICRO_BATCH, len(images)))
                features[rows] = self._micro_batch(images[rows])
                report(rows.stop - rows.start)
        return ExtractorOutput(features, np.empty((len(images), 0), np.float32))

    @torch.inference_mode()
    def _micro_batch(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features [n, F] of at most a micro-batch of images."""
        config = self._trained.config
        filled = np.zeros((MICRO_BATCH, config.height, config.width, 3), np.uint8)
        for row, image in enumerate(images):
            plain = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
            filled[row] = fitted(plain, size=(config.height, config.width), channels=3)
        pixels = to_tensor(filled)
        stages = self._trained.network(pixels)
        groups = (
            stages[-1].flatten(1) / TOP_SCALE,
            _quarters(stages[0]) / FIRST_SCALE,
            _quarters(pixels) / COLOUR_SCALE,
        )
        return torch.cat(groups, dim=1)[: len(images)].numpy()


def _quarters(maps: Tensor) -> Tensor:
    """Return the mean of maps [N, M, H, W] in each quarter of the image, [N, 4 M]."""
    return functional.adaptive_avg_pool2d(maps, QUARTERS).flatten(1)
