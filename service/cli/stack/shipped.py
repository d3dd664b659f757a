"""The models that ship with the project, packed where a stack can load them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from service.models.archives import is_current

if TYPE_CHECKING:
    from training.recipes import Kind

MODELS = Path(__file__).resolve().parents[3] / "models"
# The name under which each is served, the run folder it comes from, and which of its networks.
SHIPPED: tuple[tuple[str, str, Kind], ...] = (
    ("digits-generator", "digits-generator", "generator"),
    ("digits-classifier", "digits-ssgan", "classifier"),
    ("faces-generator", "faces-dcgan", "generator"),
    ("face-neuron", "face-neuron", "neurons"),
)


def pack_missing(archives: Path) -> str:
    """Pack each shipped model whose archive is missing, or was packed by another version.

    Args:
        archives: the stack's archive folder; made if missing.
    Returns: what MINTAGE_LOAD_MODELS must be for the stack to load them. Empty in an installation without `models/`.
    """
    return ",".join(f"{archive.stem}={archive.name}" for archive in _archives(archives))


def _archives(folder: Path) -> Iterator[Path]:
    for name, run, kind in SHIPPED:
        if not (MODELS / run).is_dir():
            continue
        archive = folder / f"{name}.mar"
        if not (archive.exists() and is_current(archive)):
            from handlers.archive import pack

            pack(MODELS / run, kind, archive)
        yield archive
