"""The models that ship with the project, packed where a stack can load them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from service.models.archives.keeping import is_current

if TYPE_CHECKING:
    from training.recipes import Kind

MODELS = Path(__file__).resolve().parents[3] / "models"
# The name under which each is served, the run folder it comes from, and which of its networks. A discriminator is there
# if the folder was exported with it.
_SHIPPED: tuple[tuple[str, str, Kind], ...] = (
    ("digits-generator", "digits-generator", "generator"),
    ("digits-classifier", "digits-ssgan", "classifier"),
    ("digits-student", "digits-student", "classifier"),
    ("cats-generator", "cats-dcgan", "generator"),
    ("faces-generator", "faces-dcgan", "generator"),
    ("face-neuron", "face-neuron", "neurons"),
    ("digits-discriminator", "digits-generator", "discriminator"),
    ("cats-discriminator", "cats-dcgan", "discriminator"),
    ("faces-discriminator", "faces-dcgan", "discriminator"),
)
_PAIR = {"generator_average", "discriminator_average"}  # parts of the weights that a discriminator's archive holds


def shipped() -> list[tuple[str, str, Kind]]:
    """Return the name of each model that is there, the folder in `MODELS` that it comes from, and its kind."""
    return [
        (name, run, kind)
        for name, run, kind in _SHIPPED
        if (MODELS / run).is_dir() and (kind != "discriminator" or _parts(MODELS / run) >= _PAIR)
    ]


def pack_missing(archives: Path) -> str:
    """Pack each shipped model whose archive is missing, or was packed by another version.

    Args:
        archives: the stack's archive folder; made if missing.
    Returns: what MINTAGE_LOAD_MODELS must be for the stack to load them. Empty in an installation without `models/`.
        Discriminators are left to `mintage models load`: each model has a process and its memory, and few ask for them.
    """
    packed = list(_archives(archives))
    return ",".join(f"{archive.stem}={archive.name}" for archive, kind in packed if kind != "discriminator")


def _archives(folder: Path) -> Iterator[tuple[Path, Kind]]:
    for name, run, kind in shipped():
        archive = folder / f"{name}.mar"
        if not (archive.exists() and is_current(archive)):
            from handlers.archive import pack

            pack(MODELS / run, kind, archive)
        yield archive, kind


def _parts(run: Path) -> set[str]:
    """Return the parts of the weights in a run folder."""
    weights: Any = safe_open(run / "checkpoint.safetensors", "np")  # its methods carry no types
    with weights as opened:
        return {name.partition(".")[0] for name in opened.keys()}  # noqa: SIM118 - it cannot be iterated
