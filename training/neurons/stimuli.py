"""What stimulates a unit most: test images and the optimal stimulus, Le et al. 2012, section 4.4.

The optimal stimulus is the image of unit length that maximises the unit's activation,

    x* = argmax_x  sign f(x)   subject to ||x||_2 = 1,

found by gradient ascent on the sphere with a line search: a step that does not raise the activation is halved, and one
that does lengthens the next.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.networks.sparse_autoencoder import SparseAutoencoder
from training.progress import Report
from training.randomness import stream

TOP = 48  # images, as on the paper's sheet
CONTRAST = 0.5  # root mean square of a stimulus's pixels in [-1, 1]; scales the unit sphere
LONGEST, SHORTEST = 1.0, 1e-5  # lengths of a step, relative to the parameters' norm
LONGER, SHORTER = 1.5, 0.5

STARTS, STEPS = 8, 200  # random starts, and the limit of steps from each

Form = Literal["pixels", "frequencies"]
Activation = Callable[[Tensor], Tensor]  # images [N, C, H, W] around [-1, 1] -> activations [N]


@dataclass(frozen=True, slots=True, eq=False)
class Stimulus:
    """The best of several ascents.

    Attributes:
        direction: float32 [C, H, W] of unit length.
        image: uint8 [H, W, C] for display: zero is mid grey, and the largest magnitude is white or black.
        activations: of the unit, before the first step and after each step.
    """

    direction: NDArray[np.float32]
    image: NDArray[np.uint8]
    activations: tuple[float, ...]

    @property
    def activation(self) -> float:
        """The unit's activation at the end."""
        return self.activations[-1]


Ascent = Generator[None, None, Stimulus]  # yields after each step, and returns the result


def top_stimuli(activations: NDArray[np.floating[Any]], *, sign: int = 1, count: int = TOP) -> NDArray[np.int64]:
    """Return the indices of the images with the largest `sign * activation`, the largest first; ties in their order.

    Args:
        activations: [N] of one unit.
        sign: -1 for the smallest activations.
        count: largest number of indices.
    """
    return np.argsort(-sign * activations, kind="stable")[:count]


def optimal_stimulus(
    network: SparseAutoencoder,
    *,
    stage: int,
    unit: int,
    sign: int = 1,
    form: Form = "pixels",
    starts: int = STARTS,
    steps: int = STEPS,
    seed: int = 0,
    report: Report = lambda _: None,
) -> Stimulus:
    """Find the optimal stimulus of a unit; see `ascend` for the other arguments.

    Args:
        network: the unit's network.
        stage: from 1.
        unit: index into the stage's units [M, H, W], flattened.
        sign: 1, or -1 if low activations mean the concept.
        form: see `ascend`.
        starts: see `ascend`.
        steps: see `ascend`.
        seed: see `ascend`.
        report: see `ascend`.
    """
    ascent = ascent_of(network, stage=stage, unit=unit, sign=sign, form=form, starts=starts, steps=steps, seed=seed)
    return completed(ascent, report)


def ascent_of(
    network: SparseAutoencoder,
    *,
    stage: int,
    unit: int,
    sign: int = 1,
    form: Form = "pixels",
    starts: int = STARTS,
    steps: int = STEPS,
    seed: int = 0,
) -> Ascent:
    """Return the ascent to a unit's optimal stimulus, step by step; see `optimal_stimulus` for the arguments."""
    device = next(network.parameters()).device
    return ascent_in(
        lambda images: network(images)[stage - 1].flatten(1)[:, unit],
        network.image_shape,
        _render(form, network.image_shape, device),
        sign=sign,
        name=form,
        starts=starts,
        steps=steps,
        seed=seed,
        device=device,
    )


def ascend(
    activation: Activation,
    image_shape: tuple[int, int, int],
    *,
    sign: int = 1,
    form: Form = "pixels",
    starts: int = STARTS,
    steps: int = STEPS,
    seed: int = 0,
    device: torch.device | str = "cpu",
    report: Report = lambda _: None,
) -> Stimulus:
    """Ascend from several random images at once, and return the highest result.

    Args:
        activation: what to maximise.
        image_shape: (C, H, W).
        sign: 1 to maximise, -1 to minimise.
        form: the parameters: pixels, or Fourier coefficients weighted by 1 / frequency^2, like the power of natural
            images, for smooth stimuli (after Olah et al. 2017, who weight by 1 / frequency).
        starts: number of ascents.
        steps: largest number of steps of each.
        seed: of the starts.
        device: where to compute.
        report: called with the number of steps just done.
    """
    render = _render(form, image_shape, device)
    ascent = ascent_in(
        activation, image_shape, render, sign=sign, name=form, starts=starts, steps=steps, seed=seed, device=device
    )
    return completed(ascent, report)


@torch.inference_mode(False)
def ascent_in(
    activation: Activation,
    shape: tuple[int, int, int],
    render: nn.Module,
    *,
    sign: int,
    name: str,
    starts: int,
    steps: int,
    seed: int,
    device: torch.device | str,
) -> Ascent:
    """Ascend as `ascend` says, in parameters of a shape that `render` maps to images; yields after each step.

    Args:
        activation: see `ascend`, as what is not named here.
        shape: of the parameters of one image, three numbers; their length is 1.
        render: maps parameters [S, *shape] to images [S, C, H, W] of any length.
        sign: see `ascend`.
        name: of the form; the starts of different ones differ.
        starts: see `ascend`.
        steps: see `ascend`.
        seed: see `ascend`.
        device: see `ascend`.
    """
    generator = stream(seed, f"stimulus/{name}")
    parameters = unit_length(torch.randn(starts, *shape, generator=generator)).to(device)
    lengths = torch.full((starts,), LONGEST, device=device)
    values, slopes = _risen(activation, render, parameters, sign)
    curves = [values]
    for _ in range(steps):
        tried = unit_length(parameters + lengths.view(-1, 1, 1, 1) * unit_length(slopes))
        tried_values, tried_slopes = _risen(activation, render, tried, sign)
        better = tried_values > values
        chosen = better.view(-1, 1, 1, 1)
        parameters, slopes = torch.where(chosen, tried, parameters), torch.where(chosen, tried_slopes, slopes)
        values = torch.where(better, tried_values, values)
        lengths = (lengths * torch.where(better, LONGER, SHORTER)).clamp(max=LONGEST)
        curves.append(values)
        yield
        if bool((lengths < SHORTEST).all()):
            break
    best = int(values.argmax())
    direction: NDArray[np.float32] = unit_length(render(parameters))[best].cpu().numpy()
    curve = tuple(sign * float(each[best]) for each in curves)
    return Stimulus(direction, picture(direction), curve)


def completed(ascent: Ascent, report: Report) -> Stimulus:
    """Take every step; `report` is called with the number of steps just done."""
    while True:
        try:
            next(ascent)
        except StopIteration as end:
            found: Stimulus = end.value
            return found
        report(1)


def picture(direction: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Map [C, H, W] to uint8 [H, W, C] around mid grey, with the largest magnitude at full contrast."""
    largest = float(np.abs(direction).max()) or 1.0
    levels: NDArray[np.uint8] = np.rint(127.5 + 127.5 * direction.transpose(1, 2, 0) / largest).astype(np.uint8)
    return levels


def _risen(activation: Activation, render: nn.Module, parameters: Tensor, sign: int) -> tuple[Tensor, Tensor]:
    """Return `sign * activation` [S] of the images of parameters [S, C, H, W], and its gradient in them."""
    leaves = parameters.detach().requires_grad_()
    with torch.enable_grad():
        images = unit_length(render(leaves))
        values = sign * activation(CONTRAST * images[0].numel() ** 0.5 * images)
        (slopes,) = torch.autograd.grad(values.sum(), leaves)
    return values.detach(), slopes


def unit_length(images: Tensor) -> Tensor:
    """Scale each of [S, C, H, W] to unit length."""
    lengths: Tensor = images.flatten(1).norm(dim=1)
    return images / lengths.clamp(min=1e-12).view(-1, 1, 1, 1)


def _render(form: Form, image_shape: tuple[int, int, int], device: torch.device | str) -> nn.Module:
    """Return what maps the parameters of a form to images."""
    return _Frequencies(image_shape, device) if form == "frequencies" else nn.Identity()


class _Frequencies(nn.Module):
    """Weights the frequencies of parameters by 1 / f^2, so that steps are larger in low frequencies."""

    def __init__(self, image_shape: tuple[int, int, int], device: torch.device | str) -> None:
        super().__init__()
        _, height, width = image_shape
        down, across = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
        frequency = (down[:, None].square() + across.square()).sqrt()
        self._weights = frequency.clamp(min=1 / max(height, width)).pow(-2).to(device)

    def forward(self, parameters: Tensor) -> Tensor:
        """Map parameters [S, C, H, W] to images of the same shape."""
        images: Tensor = torch.fft.irfft2(torch.fft.rfft2(parameters) * self._weights, s=parameters.shape[2:])
        return images
