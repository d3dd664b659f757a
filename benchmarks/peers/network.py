"""The frozen network that every server of the comparison serves: a DCGAN of width 64, weights from a seed.

Served models change; this one does not. Its statistics are calibrated, so that its images, 64 x 64 RGB, are not
all grey.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import fusion

from benchmarks.peers.protocol import IMAGE_BYTES, PASS, SHAPE, Asked, Form
from handlers.compute.latents import latents
from handlers.compute.model import prepare
from handlers.protocol.images import to_pixels
from training.config import RunConfig
from training.families import family_of
from training.networks.dcgan import Generator
from training.recipes import RECIPES
from training.runs.checkpoint import SECTIONS, State, load_run, save_config, save_state, served_weights


def write_run(folder: Path) -> Path:
    """Write the run folder of the frozen network, as `mintage pack` takes it."""
    recipe = RECIPES["dcgan64"].overridden({"kernel": 4, "generator_width": 64})
    latent_size, distribution = recipe.latent
    config = RunConfig(
        recipe=recipe.name,
        height=SHAPE[0],
        width=SHAPE[1],
        channels=SHAPE[2],
        classes=(),
        latent_size=latent_size,
        latent_distribution=distribution,
        settings=recipe,
        data_name="none: weights from a seed",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = family_of(config).served("generator")
        assert isinstance(network, Generator)
        network.output.weight.data *= 4  # so that images use most of the range
        network.calibrate_statistics(torch.from_numpy(latents(0, 0, 512, latent_size, distribution)))
    weights = {f"{SECTIONS['generator']['']}.{name}": tensor for name, tensor in network.state_dict().items()}
    save_config(folder, config)
    save_state(folder, config, weights=weights, state=State({}, images_seen=1, seconds=0.0))
    return folder


class Module:
    """The network in one of its forms, ready to answer requests (seed, first index, count).

    Args:
        run: Folder of the network.
        form: "built" as the training builds it, float32; "folded" in bfloat16, channels-last, batch norm folded; "ours"
            as Mintage's handlers compute it.
        threads: Of torch.
    """

    def __init__(self, run: Path, form: Form, threads: int) -> None:
        torch.set_num_threads(threads)
        loaded = load_run(run)
        self.config = loaded.config
        network = family_of(self.config).served("generator")
        network.load_state_dict(served_weights(loaded, "generator"))
        assert isinstance(network, Generator)
        self._network = FORMS[form](network.eval().requires_grad_(False))

    @classmethod
    def from_environment(cls) -> Module:
        """Make the module that PEER_RUN, PEER_FORM and PEER_THREADS name: each server has a command line of its own."""
        form = cast(Form, os.environ["PEER_FORM"])
        return cls(Path(os.environ["PEER_RUN"]), form, int(os.environ["PEER_THREADS"]))

    def images(self, requests: Sequence[Asked]) -> list[bytes]:
        """Answer requests together: raw uint8 [count, 64, 64, 3] for each."""
        size, distribution = self.config.latent_size, self.config.latent_distribution
        rows = torch.from_numpy(np.concatenate([latents(*request, size, distribution) for request in requests]))
        passes = [self._pass(rows[first : first + PASS]) for first in range(0, len(rows), PASS)]
        pixels = memoryview(np.concatenate(passes).data).cast("B")
        ends = [end * IMAGE_BYTES for end in accumulate(count for _, _, count in requests)]
        return [bytes(pixels[first:last]) for first, last in zip([0, *ends], ends, strict=False)]

    @torch.inference_mode()
    def _pass(self, rows: Tensor) -> NDArray[np.uint8]:
        return to_pixels(self._network(rows))


def _folded(network: Generator) -> nn.Module:
    """The usual advice for a CPU with bfloat16 units."""
    network = copy.deepcopy(network)
    layers: list[nn.Module] = []
    for layer, norm in zip([network.project, *network.hidden], network.norms, strict=True):
        layers += [fusion.fuse_conv_bn_eval(layer, cast(nn.BatchNorm2d, norm), transpose=True), nn.ReLU()]
    fused = nn.Sequential(_Maps(), *layers, network.output, nn.Tanh()).to(torch.bfloat16)
    return fused.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class _Maps(nn.Module):
    """Latents [N, Z] float32 -> maps [N, Z, 1, 1] bfloat16."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows[:, :, None, None].bfloat16()


def _ours(network: Generator) -> nn.Module:
    """What Mintage's handlers make of it."""
    prepare(network, "auto", torch.device("cpu"))
    return network


FORMS: dict[Form, Callable[[Generator], nn.Module]] = {
    "built": lambda network: network,
    "folded": _folded,
    "ours": _ours,
}
