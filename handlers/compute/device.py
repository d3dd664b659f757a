"""The device of a model, and the settings that make it compute the same bytes each time."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import torch

from handlers.compute.precision import Precision, cpu_units


def make_deterministic() -> None:
    """Configure this process so that equal inputs in equal positions give equal bits.

    One thread, deterministic algorithms, no TF32. Call it before the first computation.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    use_one_thread()
    torch.set_deterministic_debug_mode("error")  # as use_deterministic_algorithms, which imports torch._inductor: 3.8 s
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 - unknown to mypy; 2 % of a pass
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False


def use_one_thread() -> None:
    """Have what the calling thread computes computed in it alone; torch keeps this number for each thread."""
    torch.set_num_threads(1)


def choose(gpu: int | None) -> torch.device:
    """Return the GPU that TorchServe assigned, or the CPU if there is none."""
    return torch.device("cuda", gpu) if gpu is not None and torch.cuda.is_available() else torch.device("cpu")


def device_class(device: torch.device, precision: Precision) -> str:
    """Return the device class; equal bytes are promised only within a class.

    A GPU's class is its model. A CPU's is its vendor, its vector instructions and its units for bfloat16, by which the
    math libraries pick their kernels. The precision comes last: `cpu-authenticamd-avx512-bf16-bfloat16`,
    `cpu-authenticamd-avx2-float32`.
    """
    if device.type == "cuda":
        return f"cuda-{_slug(torch.cuda.get_device_name(device))}-{precision}"
    instructions = torch.backends.cpu.get_cpu_capability().lower()
    return "-".join(["cpu", _slug(_cpu_vendor()), instructions, *cpu_units(), precision])


def works(device: torch.device) -> bool:
    """Return whether the device still computes; after some CUDA errors a process cannot use it again."""
    try:
        return bool(torch.ones(1, device=device).sum().item() == 1)
    except RuntimeError:
        return False


def _cpu_vendor() -> str:
    """Return the processor's vendor if Linux reports it, else its architecture."""
    try:
        found = re.search(r"^vendor_id\s*:\s*(\S+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
