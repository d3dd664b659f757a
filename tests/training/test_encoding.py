"""An encoder finds the latents that images were drawn from, resumes to the bit, and belongs to one generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.fakes import blobs, small_dcgan_recipe, small_encoder_recipe
from training.compute.acceleration import Acceleration
from training.config import RunConfig
from training.encoding import guesses, of_generator, packed, unpacked
from training.errors import RecipeError, RunError
from training.families.encoder import EncoderFamily
from training.families.encoder_training import EncoderTraining, GeneratedImages
from training.loop.loop import train
from training.runs.checkpoint import load_run, run_digest

Z = 4


class Linear(nn.Module):
    """A generator whose pixels are sums of latents; labels turn the image round."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(Z, 28 * 28, generator=torch.Generator().manual_seed(1)) / 8
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        pixels = latents @ self.weight
        if labels is not None:
            pixels = pixels * (1 - 2 * labels[:, None])
        return pixels.view(-1, 1, 28, 28)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small products take longer in several threads where other tests run beside."""
    torch.set_num_threads(1)


def begun(*, classes: int = 0) -> EncoderTraining:
    conditional = "yes" if classes else "no"
    recipe = small_encoder_recipe(latent_size=Z, conditional=conditional, images=16 * 260)
    data = GeneratedImages(
        images=np.zeros((8, 28, 28, 1), np.uint8),
        labels=np.arange(8) % classes if classes else np.full(8, -1),
        classes=tuple("ab"[:classes]),
        latents=np.zeros((8, Z), np.float32),
        generator=Linear().eval(),
    )
    family = EncoderFamily(RunConfig.of(recipe, data))
    torch.manual_seed(1)
    return EncoderTraining(family.config, recipe, family.encoder(), data, Acceleration())


@pytest.mark.parametrize("classes", [0, 2])
def test_planted_latents_of_a_linear_generator_are_found(classes: int) -> None:
    training = begun(classes=classes)
    assert training.advance()["loss"] > 0.9  # of the latents' variance
    for _ in range(250):
        training.advance()
    training.calibrate()
    encoder = training._average.network
    planted = torch.rand(20, Z, generator=torch.Generator().manual_seed(9)) * 2 - 1
    labels = [torch.arange(20) % classes] if classes else []
    with torch.no_grad():
        guessed = encoder(Linear()(planted, *labels), *labels)
    assert float((guessed - planted).square().mean()) * 3 < 0.05


def test_a_resumed_training_equals_a_straight_one() -> None:
    straight, first = begun(), begun()
    for _ in range(4):
        straight.advance()
    first.advance()
    first.advance()
    second = begun()
    second.restore(first.state(), first.images_seen)
    second.advance()
    second.advance()
    for name, tensor in straight.weights().items():
        assert torch.equal(tensor, second.weights()[name]), name


def test_an_encoder_of_a_run_is_trained_measured_packed_and_read_again(tmp_path: Path) -> None:
    train(small_dcgan_recipe(), blobs(side=32), tmp_path / "dcgan")
    recipe, data = of_generator(small_encoder_recipe(), tmp_path / "dcgan")
    assert (recipe.latent_size, recipe.generator) == (5, "dcgan") and len(data) == len(data.latents)
    summary = train(recipe, data, tmp_path / "encoder")
    assert summary.ended == "finished" and (tmp_path / "encoder" / "samples" / "latest.png").exists()
    found = guesses(tmp_path / "encoder", data)
    assert -1 < found.found < 1 and 0 < found.pixel_error < 255

    digest = run_digest(load_run(tmp_path / "dcgan"))
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(packed(tmp_path / "encoder", generator_digest=digest))
    assert path.read_bytes() == packed(tmp_path / "encoder", generator_digest=digest)
    images = torch.zeros(2, 1, 32, 32)
    assert unpacked(path, generator_digest=digest)(images).shape == (2, 5)
    with pytest.raises(RunError, match="not of this run"):
        unpacked(path, generator_digest="0" * 64)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match="damaged"):
        unpacked(path, generator_digest=digest)


def test_what_generates_nothing_has_no_encoder(tmp_path: Path) -> None:
    train(small_dcgan_recipe(), blobs(side=32), tmp_path / "dcgan")
    recipe, data = of_generator(small_encoder_recipe(images=16), tmp_path / "dcgan")
    train(recipe, data, tmp_path / "encoder")
    with pytest.raises(RecipeError, match="trains no generator"):
        of_generator(small_encoder_recipe(), tmp_path / "encoder")
    with pytest.raises(RunError, match="holds no encoder"):
        packed(tmp_path / "dcgan", generator_digest="")
