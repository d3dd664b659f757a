"""The image that stimulates a unit most among those that are as likely as photographs.

A unit that pools and normalises says little about the signs of edges and about contrast, so that the optimum over all
images (`training.neurons.stimuli`) looks like noise.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.batches import to_tensor
from training.distortions import distorted
from training.networks.sparse_autoencoder import SparseAutoencoder
from training.neurons.stimuli import STARTS, STEPS, Stimulus, ascent_in, completed, unit_length
from training.progress import Report
from training.randomness import stream

COMPONENTS = 120  # principal components of photographs
MOVES, SHIFT, SCALE = 4, 1.5, 0.08  # that the activation is the mean over: number, px, share of the size


def natural_stimulus(
    network: SparseAutoencoder,
    images: NDArray[np.uint8],
    *,
    stage: int,
    unit: int,
    sign: int = 1,
    starts: int = STARTS,
    steps: int = STEPS,
    seed: int = 0,
    report: Report = lambda _: None,
) -> Stimulus:
    """Find the stimulus among images made of photographs' principal components, each in its usual strength.

    The image is the mean photograph plus components whose whitened coordinates lie on a sphere of the radius that those
    of photographs have on average: a Gaussian prior, of which 1 / frequency^2 is the stationary case. What is raised is
    the mean activation over small moves and changes of size, so that nothing depends on single pixels.

    Args:
        network: the unit's network.
        images: uint8 [N, H, W, C] of photographs, such as those that do not show the concept.
        stage: see `optimal_stimulus`, as the others.
        unit: see `optimal_stimulus`.
        sign: see `optimal_stimulus`.
        starts: see `ascend`.
        steps: see `ascend`.
        seed: see `ascend`.
        report: see `ascend`.
    """

    def activation(shown: Tensor) -> Tensor:
        moved = [
            distorted(shown, stream(seed, "stimulus/moves", images_seen=move), shift=SHIFT, rotation=0, scale=SCALE)
            for move in range(MOVES)
        ]
        units: Tensor = network(torch.cat(moved))[stage - 1].flatten(1)[:, unit]
        return units.view(MOVES, -1).mean(dim=0)

    device = next(network.parameters()).device
    render = Components(images, device)
    ascent = ascent_in(
        activation,
        render.shape,
        render,
        sign=sign,
        name="components",
        starts=starts,
        steps=steps,
        seed=seed,
        device=device,
    )
    return completed(ascent, report)


class Components(nn.Module):
    """Maps a direction [S, K, 1, 1] to the mean of images plus sqrt(K) times as many deviations of their components."""

    def __init__(self, images: NDArray[np.uint8], device: torch.device | str) -> None:
        super().__init__()
        rows = to_tensor(images).flatten(1).double()
        self._image_shape = (images.shape[3], *images.shape[1:3])
        self._mean = rows.mean(dim=0)
        _, deviations, directions = torch.linalg.svd(rows - self._mean, full_matrices=False)
        kept = min(COMPONENTS, len(directions))
        self._mean = self._mean.float().to(device)
        self._components = (deviations[:kept, None] * directions[:kept] * (kept / len(rows)) ** 0.5).float().to(device)
        self.shape = kept, 1, 1  # of a direction

    def forward(self, parameters: Tensor) -> Tensor:
        """Map parameters [S, K, 1, 1] to images [S, C, H, W]."""
        images: Tensor = self._mean + unit_length(parameters).flatten(1) @ self._components
        return images.view(-1, *self._image_shape)
