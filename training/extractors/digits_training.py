"""Trains the feature extractor for digits.

python -m training.extractors.digits_training models/digit-features     # about a minute on one CPU core
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from training.batches import to_tensor
from training.data import LabelledImages, load
from training.errors import DataError
from training.extractors.digits import (
    CONFIG_FILE,
    FEATURES,
    SMALLEST,
    WEIGHTS_FILE,
    DigitFeatures,
    DigitNetwork,
    FeaturesConfig,
)
from training.randomness import stream
from training.runs.card import CARD_FILE
from training.runs.files import write_atomically

EPOCHS = 15  # passes over the training images; about a minute of one CPU core
BATCH = 100  # images per training step
MICRO_BATCH = 100  # images per forward pass in use
RATE = 2e-3  # Adam's initial learning rate, falling linearly to 0
FEATURE_DROPOUT = 0.25  # share of features dropped in training
NORMALISING = 2000  # images that the features' mean square is measured on
SHIFT = 2  # px; largest shift of a training image, within the margin of MNIST's digits


def train_digit_features(
    data: LabelledImages,
    folder: Path,
    *,
    test: LabelledImages,
    seed: int = 1,
    epochs: int = EPOCHS,
    report: Callable[[int, float], None] = lambda *_: None,
) -> DigitFeatures:
    """Train an extractor and write its folder; the same seed, data, torch and threads give the same weights.

    Args:
        data: the training images, at least one batch.
        folder: created if missing.
        test: images that the accuracy is measured on; they are not trained on.
        seed: of every random choice.
        epochs: passes over the training images.
        report: called with the number of epochs done and the last one's mean loss.

    Raises:
        DataError: if there are fewer images than a batch, or they are too small for the network.
    """
    if len(data) < BATCH or min(data.shape[:2]) < SMALLEST:
        raise DataError(
            f"{data.name} has {len(data)} images of {list(data.shape)} (H, W, C); the extractor is trained on at least "
            f"{BATCH} of at least {SMALLEST} x {SMALLEST}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "weights").initial_seed())
        network = DigitNetwork(image_shape=data.shape, classes=len(data.classes))
    adam = torch.optim.Adam(network.parameters(), lr=RATE)
    steps = epochs * (len(data) // BATCH)
    rates = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / steps)
    for epoch in range(epochs):
        random = stream(seed, "epoch", images_seen=epoch * len(data))
        order = torch.randperm(len(data), generator=random).numpy()
        losses = []
        for start in range(0, len(data) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            images = shifted(to_tensor(data.images[chosen]), random)
            features = network.features(images)
            kept = torch.rand(features.shape, generator=random) >= FEATURE_DROPOUT
            logits = network.output(features * kept / (1 - FEATURE_DROPOUT))
            loss = functional.cross_entropy(logits, torch.from_numpy(data.labels[chosen]))
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            rates.step()
            losses.append(loss.item())
        report(epoch + 1, math.fsum(losses) / len(losses))
    normalise(network, data)
    return _written(network, folder, data=data, test=test, seed=seed, epochs=epochs)


@torch.no_grad()
def normalise(network: DigitNetwork, data: LabelledImages) -> None:
    """Scale the features to a mean square of 1 on the first training images, and keep the logits unchanged.

    Otherwise their scale, and that of their distances, would be arbitrary.
    """
    scale = network.features(to_tensor(data.images[:NORMALISING])).square().mean().sqrt()
    network.hidden.weight.div_(scale)  # ReLU(x / scale) = ReLU(x) / scale
    network.hidden.bias.div_(scale)
    network.output.weight.mul_(scale)


def shifted(images: Tensor, random: torch.Generator) -> Tensor:
    """Shift each image [N, C, H, W] at random by up to SHIFT pixels, filling with -1."""
    count, _, height, width = images.shape
    down, right = torch.randint(0, 2 * SHIFT + 1, (2, count), generator=random)
    padded = functional.pad(images, (SHIFT,) * 4, value=-1.0)
    rows = (torch.arange(height) + down[:, None])[:, None, :, None]  # [N, 1, H, 1]
    columns = (torch.arange(width) + right[:, None])[:, None, None, :]  # [N, 1, 1, W]
    numbers = torch.arange(count)[:, None, None, None]
    channels = torch.arange(images.shape[1])[None, :, None, None]
    return padded[numbers, channels, rows, columns]


def _written(
    network: DigitNetwork, folder: Path, *, data: LabelledImages, test: LabelledImages, seed: int, epochs: int
) -> DigitFeatures:
    """Measure an extractor and write its folder, the configuration last."""
    content = save({name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()})
    height, width, channels = data.shape
    settings: dict[str, Any] = {
        "height": height,
        "width": width,
        "channels": channels,
        "classes": data.classes,
        "micro_batch": MICRO_BATCH,
        "seed": seed,
        "epochs": epochs,
        "data_name": data.name,
        "data_images": len(data),
        "data_sha256": data.sha256(),
        "test_images": len(test),
        "torch": torch.__version__,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    unmeasured = DigitFeatures(network, FeaturesConfig(**settings, test_accuracy=0.0))
    correct = unmeasured(test.images).probabilities.argmax(axis=1) == test.labels
    config = FeaturesConfig(**settings, test_accuracy=float(correct.mean()))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / WEIGHTS_FILE, content)
    write_atomically(folder / CARD_FILE, _card(config, folder).encode())
    write_atomically(folder / CONFIG_FILE, config.to_json().encode())
    return DigitFeatures(network, config)


def _card(config: FeaturesConfig, folder: Path) -> str:
    """Return the text of card.md."""
    return f"""# A feature extractor for grey digits

A convolutional classifier of {config.height} x {config.width} images and {len(config.classes)} classes. Its last \
hidden layer gives {FEATURES} features, for Frechet and
kernel distance, precision and recall; its probabilities give the classifier score.

| | |
| --- | --- |
| Test accuracy | {100 * config.test_accuracy:.2f} % of {config.test_images} test images |
| Data | {config.data_name}: {config.data_images} training images, sha256 `{config.data_sha256[:16]}` |
| Trained | {config.epochs} passes, seed {config.seed}, images moved by up to {SHIFT} px, torch {config.torch} |
| Identity | sha256 `{config.sha256}` |

Made by

```
python -m training.extractors.digits_training {folder} \\
  --data {config.data_name} --seed {config.seed} --epochs {config.epochs}
```

## Limits

- Scores by this extractor compare generators of such digits with each other, and with nothing that was scored by
  another one: they are neither FID, KID nor Inception score.
- It was trained on the training images, and sees them a little differently than others: compare with the test images.
- It saw digits only. Whatever else it is shown, it describes as digits.
"""


def main() -> None:
    """Train an extractor from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.extractors.digits_training", description=__doc__.splitlines()[0]
    )
    parser.add_argument("folder", type=Path, help="folder to write, such as models/digit-features")
    parser.add_argument("--data", default="digits", help="`digits`, or a folder of grey images with a test split")
    parser.add_argument("--seed", type=int, default=1, help="seed of every random choice")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="passes over the training images")
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # more do not help so small a network, and their number would change the last bits
    data, test = load(chosen.data, "train"), load(chosen.data, "test")
    extractor = train_digit_features(
        data,
        chosen.folder,
        test=test,
        seed=chosen.seed,
        epochs=chosen.epochs,
        report=lambda epoch, loss: print(f"pass {epoch} of {chosen.epochs}: loss {loss:.4f}", flush=True),  # noqa: T201
    )
    print(f"test accuracy {100 * extractor.config.test_accuracy:.2f} %, sha256 {extractor.sha256}")  # noqa: T201


if __name__ == "__main__":
    main()
