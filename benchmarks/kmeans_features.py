"""The k-means features that stand beside DCGAN's in its table 1: python benchmarks/kmeans_features.py cifar10.

One layer as Coates, Ng and Lee 2011 describe it ("An analysis of single-layer networks in unsupervised feature
learning", AISTATS): patches of 6 x 6 pixels, their contrast normalised and whitened, k-means centres of them, the
"triangle" activation max(0, mean distance - distance) at every place, summed over the four quarters of the image. 1,200
centres give the 4,800 features of Radford et al. 2015, table 1, which has 80.6 % for them. The labels are learned by
the probe's own machines, cost chosen on a tenth of the training images; nothing is chosen on test images. Needs the
extra `neurons` (scikit-learn).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

if __name__ == "__main__":  # this file's folder, where training.py would shadow the package of its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.data import load
from training.neurons.linear import kmeans
from training.probe.fitting import LabelledFeatures, fit_probe, hold_out

SIDE = 6  # of a patch, pixels
PATCHES = 400_000  # that whitening and centres are learned from, as in the authors' code
CONTRAST, WHITENING = 10.0, 0.1  # added to variances of patches in [0, 255] and of their components; the authors' too
BATCH = 50  # images at once
COSTS = tuple(10.0**power for power in range(0, 7))  # the authors take 100 for unscaled features, which is 480,000 here


class Centres:
    """Whitening and centres, learned from patches of images uint8 [N, H, W, C]."""

    def __init__(self, images: NDArray[np.uint8], count: int, seed: int) -> None:
        patches = _normalised(_drawn(images, np.random.default_rng(seed)))
        self.mean = patches.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov((patches - self.mean).t()))
        self.whitening = vectors @ torch.diag((values + WHITENING).rsqrt()) @ vectors.t()
        whitened = (patches - self.mean) @ self.whitening
        self.centres = torch.from_numpy(kmeans(count, seed=seed).fit(whitened.numpy()).cluster_centers_)

    def features(self, images: NDArray[np.uint8]) -> Tensor:
        """Map images uint8 [N, H, W, C] to features float32 [N, 4 * centres]."""
        found = torch.empty(len(images), 4 * len(self.centres))
        for start in range(0, len(images), BATCH):
            found[start : start + BATCH] = self._of(torch.from_numpy(images[start : start + BATCH].copy()))
        return found

    def _of(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).float()
        places = pixels.shape[2] - SIDE + 1, pixels.shape[3] - SIDE + 1
        patches = functional.unfold(pixels, SIDE).transpose(1, 2)  # [N, places, C * 36]
        whitened = (_normalised(patches.flatten(0, 1)) - self.mean) @ self.whitening
        distances = torch.cdist(whitened, self.centres)
        active = (distances.mean(1, keepdim=True) - distances).clamp_min_(0)
        maps = active.view(len(images), *places, -1)
        middle = places[0] // 2, places[1] // 2
        rows, columns = (slice(0, middle[0]), slice(middle[0], None)), (slice(0, middle[1]), slice(middle[1], None))
        return torch.cat([maps[:, row, column].sum((1, 2)) for row in rows for column in columns], 1)


def _drawn(images: NDArray[np.uint8], random: np.random.Generator) -> Tensor:
    """Draw patches float32 [PATCHES, C * 36], channels first, as `unfold` has them."""
    count, height, width, _ = images.shape
    which = random.integers(0, count, PATCHES)
    top, left = random.integers(0, height - SIDE + 1, PATCHES), random.integers(0, width - SIDE + 1, PATCHES)
    offsets = np.arange(SIDE)
    rows, columns = top[:, None, None] + offsets[:, None], left[:, None, None] + offsets
    patches = images[which[:, None, None], rows, columns]  # [PATCHES, 6, 6, C]
    return torch.from_numpy(patches).permute(0, 3, 1, 2).flatten(1).float()


def _normalised(patches: Tensor) -> Tensor:
    """Give patches [M, D] mean 0 and about unit variance each."""
    centred = patches - patches.mean(1, keepdim=True)
    return centred / (centred.square().sum(1, keepdim=True) / (patches.shape[1] - 1) + CONTRAST).sqrt()


def main() -> None:
    """Learn centres and machines, and print the share of test images that they get right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="images with labels and a part for testing, such as a folder of CIFAR-10")
    parser.add_argument("--centres", type=int, default=1200, help="of k-means; 4 features each (default 1200)")
    parser.add_argument("--limit", type=int, help="take so many images of each part, for a quick look")
    parser.add_argument("--seed", type=int, default=1, help="of patches, centres and the held-out part (default 1)")
    options = parser.parse_args()
    begin = time.monotonic()
    data, test = (load(options.data, split=split, limit=options.limit) for split in ("train", "test"))
    classes = len(data.classes)
    fitted, held = hold_out(data.labels, classes=classes, seed=options.seed)
    order = np.concatenate([fitted, held])
    centres = Centres(data.images[fitted], options.centres, options.seed)
    say(f"{options.centres} centres after {time.monotonic() - begin:.0f} s")
    examples = LabelledFeatures(centres.features(data.images[order]), torch.from_numpy(data.labels[order]))
    tested = LabelledFeatures(centres.features(test.images), torch.from_numpy(test.labels))
    say(f"{examples.features.shape[1]:,} features of every image after {time.monotonic() - begin:.0f} s")
    probe = fit_probe(
        examples, classes=classes, validation=len(held), costs=COSTS, report=lambda _: say("a machine more")
    )
    for trial in probe.trials:
        say(f"C = {trial.cost:g}, standardised: {trial.standardised}: {trial.accuracy:.1%}")
    say(f"C = {probe.chosen.cost:g}, standardised: {probe.chosen.standardised}")
    print(f"validation {probe.chosen.accuracy:.1%} of {len(held):,}, test {tested.accuracy(probe.machines[0]):.1%}")
    say(f"{time.monotonic() - begin:.0f} s, {torch.get_num_threads()} threads")


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
