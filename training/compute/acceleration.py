"""Device, precision, memory format and compilation of a run.

Four fields of every recipe set them; `auto` depends on the machine:

| field         | `auto` means |
|---------------|--------------|
| device        | the GPU, where there is one |
| precision     | bfloat16 for the networks of GANs where the device has units for it; losses and weights stay float32 |
| memory_format | channels-last for convolutions in bfloat16 |

On a CPU without bfloat16 units channels-last does not speed up a DCGAN (measured with AVX2: between -6 and +6 %), so
`auto` changes nothing there, to the bit. With units, fully connected GANs train about twice as fast as well.
Autoencoders stay in float32: their filters are local, and the products small.

The fields are part of a run's identity (`training.runs.checkpoint.differences`), since weights depend on them as on
`threads`. `auto` is compared as a word: such a run may resume on another machine, in that machine's arithmetic.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from training.errors import RecipeError
from training.recipes import Recipe

Network = TypeVar("Network", bound=nn.Module)

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceleration:
    """How a run's networks are computed; the defaults are torch's own."""

    device: torch.device = CPU
    bfloat16: bool = False
    memory_format: torch.memory_format = torch.contiguous_format
    compiled: bool = False

    @classmethod
    def chosen(cls, recipe: Recipe, *, convolutional: bool, bfloat16_gains: bool = True) -> Acceleration:
        """Choose from a recipe's fields and this machine's capabilities.

        Args:
            recipe: what is requested.
            convolutional: whether the networks have convolutions.
            bfloat16_gains: whether the networks are faster in bfloat16 on a device with units for it.

        Raises:
            RecipeError: if the recipe requests what this machine lacks.
        """
        device = chosen_device(recipe)
        bfloat16 = _computes_in_bfloat16(recipe, device, gains=bfloat16_gains)
        last = convolutional and (
            bfloat16 if recipe.memory_format == "auto" else recipe.memory_format == "channels-last"
        )
        if recipe.compile == "yes":
            _must_compile()
        return cls(
            device=device,
            bfloat16=bfloat16,
            memory_format=torch.channels_last if last else torch.contiguous_format,
            compiled=recipe.compile == "yes",
        )

    def placed(self, network: Network) -> Network:
        """Move a network's float32 weights to the device and memory format, and return the network."""
        return network.to(self.device, memory_format=self.memory_format)  # type: ignore[call-overload, no-any-return]

    def place(self, tensor: Tensor) -> Tensor:
        """Move a tensor to the device; maps [N, C, H, W] also into the memory format."""
        moved = tensor.to(self.device)
        return moved.contiguous(memory_format=self.memory_format) if moved.ndim == 4 else moved

    def accelerated(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return a network, or a method of one, compiled and autocast as chosen; its results are float32."""
        called = torch.compile(function, dynamic=False) if self.compiled else function
        if not self.bfloat16:
            return called

        def in_bfloat16(*inputs: object) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16):
                return called(*inputs).float()

        return in_bfloat16


def chosen_device(recipe: Recipe) -> torch.device:
    """Return this process's device; of several processes on one machine, number n uses GPU n.

    Raises:
        RecipeError: if the recipe requests CUDA and there is no such GPU.
    """
    if recipe.device == "cpu" or (recipe.device == "auto" and not torch.cuda.is_available()):
        return CPU
    number, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= there:
        wanted = f"device=cuda needs {number + 1} CUDA GPUs here" if number else "device=cuda needs a CUDA GPU"
        raise RecipeError(f"{wanted}, and torch {torch.__version__} finds {there}; take device=cpu or fewer processes")
    return torch.device("cuda", number)


def is_convolutional(network: nn.Module) -> bool:
    """Return whether a network has kernels [C, C', h, w]."""
    return any(weight.ndim == 4 for weight in network.parameters())


def _computes_in_bfloat16(recipe: Recipe, device: torch.device, *, gains: bool) -> bool:
    if recipe.precision == "auto":
        return gains and _has_bfloat16_units(device)
    if recipe.precision == "bfloat16" and device.type == "cuda" and not _has_bfloat16_units(device):
        raise RecipeError("precision=bfloat16: this GPU has no bfloat16; take precision=float32")
    return recipe.precision == "bfloat16"


def _has_bfloat16_units(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 natively; emulation is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    known: dict[str, bool] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # missing in older versions of torch, where auto means float32
    return any(known.get(unit) for unit in ("amx_bf16", "avx512_bf16"))


def _must_compile() -> None:
    """Refuse to compile without a C++ compiler; torch itself would fail only during the first step.

    Raises:
        RecipeError: if there is none.
    """
    compiler = os.environ.get("CXX") or "g++"
    if shutil.which(compiler) is None:
        raise RecipeError(
            f"compile=yes needs a C++ compiler, and there is no {compiler}: install one, name it in CXX, or take "
            "compile=no"
        )
