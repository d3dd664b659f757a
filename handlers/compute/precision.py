"""The precision of a model's products: what its archive asks for, and what a device makes of that."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]
PrecisionChoice = Literal["auto", "float32", "bfloat16"]  # as it stands in an archive

CPU_UNITS = {"avx512_bf16": "bf16", "amx_bf16": "amx"}  # flags of Linux -> their names in a device class


def resolved(choice: PrecisionChoice, device: torch.device, *, plain: bool) -> Precision:
    """Return the precision that a model is computed in.

    Args:
        choice: the archive's; `auto` is bfloat16 where the device has units for it.
        device: that computes.
        plain: whether the network is served as it was trained, which is in float32.
    """
    if choice == "auto":
        return "bfloat16" if not plain and has_bfloat16_units(device) else "float32"
    return choice


def has_bfloat16_units(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 natively; emulation is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(cpu_units())


@functools.cache
def cpu_units() -> tuple[str, ...]:
    """Names of this processor's units for bfloat16: `bf16`, `amx`."""
    try:
        found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    except OSError:
        found = None
    flags = set(found[1].split()) if found else set()
    return tuple(name for flag, name in CPU_UNITS.items() if flag in flags)
