"""Networks of every family that is rewritten, with weights and statistics that no layer leaves as they start."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from training.networks import adversarial_nets, dcgan, improved_gan, improved_gan_conv
from training.networks.probe import ProbeClassifier

SHAPE = 3, 32, 32
GENERATORS: Mapping[str, Callable[[], nn.Module]] = {
    "adversarial nets": lambda: adversarial_nets.Generator(latent_size=20, widths=(40, 30), image_shape=SHAPE),
    "dcgan": lambda: dcgan.Generator(latent_size=20, width=16, image_shape=SHAPE, kernel=4),
    "dcgan of 5 x 5": lambda: dcgan.Generator(latent_size=20, width=16, image_shape=SHAPE, activation="prelu"),
    "wide dcgan": lambda: dcgan.Generator(latent_size=20, width=128, image_shape=SHAPE, kernel=4),
    "conditional dcgan": lambda: dcgan.Generator(latent_size=20, width=16, image_shape=SHAPE, kernel=4, classes=3),
    "K+1": lambda: improved_gan.Generator(latent_size=20, widths=(40, 30), image_shape=SHAPE),
    "K+1, virtual": lambda: improved_gan.Generator(latent_size=20, widths=(40, 30), image_shape=SHAPE, norm="virtual"),
    "K+1 of convolutions": lambda: improved_gan_conv.Generator(latent_size=20, widths=(32, 16, 8), image_shape=SHAPE),
    "K+1 of convolutions, virtual": lambda: improved_gan_conv.Generator(
        latent_size=20, widths=(32, 16, 8), image_shape=SHAPE, norm="virtual"
    ),
}
CLASSIFIERS: Mapping[str, Callable[[], nn.Module]] = {
    "K+1": lambda: improved_gan.Discriminator(
        image_shape=SHAPE, widths=(40, 30), classes=4, input_noise=0.3, hidden_noise=0.5
    ),
    "K+1, minibatch discrimination": lambda: improved_gan.Discriminator(
        image_shape=SHAPE, widths=(40, 30), classes=4, input_noise=0.3, hidden_noise=0.5, minibatch_kernels=5
    ),
    "K+1 of convolutions": lambda: improved_gan_conv.Discriminator(image_shape=SHAPE, widths=(8, 12), classes=4),
    "probe": lambda: ProbeClassifier(dcgan.Discriminator(image_shape=SHAPE, width=8, kernel=4), classes=4),
    "probe, paired": lambda: ProbeClassifier(
        dcgan.Discriminator(image_shape=SHAPE, width=8, layout="paired", activation="prelu"), classes=4
    ),
}


def stirred(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network in eval mode whose scales, shifts and statistics are not 1 and 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = build().eval().requires_grad_(False)
        for name, tensor in network.state_dict().items():
            if name.endswith(("running_var", "variance", "scale")):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith(("running_mean", "mean", "bias", "shift")):
                tensor.normal_(0, 0.2)
            elif "norms" in name and name.endswith("weight"):
                tensor.uniform_(0.5, 1.5)
    return network


def inputs_of(name: str) -> list[Tensor]:
    """Latents for a generator, and labels if it is conditional."""
    generator = torch.Generator().manual_seed(3)
    latents = torch.rand((24, 20), generator=generator) * 2 - 1
    return [latents, torch.arange(24) % 3] if "conditional" in name else [latents]


def images() -> Tensor:
    return torch.rand((24, *SHAPE), generator=torch.Generator().manual_seed(4)) * 2 - 1


@pytest.fixture(params=list(GENERATORS))
def generator_name(request: pytest.FixtureRequest) -> str:
    """The name of one of GENERATORS."""
    return str(request.param)


@pytest.fixture(params=list(CLASSIFIERS))
def classifier_name(request: pytest.FixtureRequest) -> str:
    """The name of one of CLASSIFIERS."""
    return str(request.param)
