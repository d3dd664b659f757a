"""The models that ship with the project, packed where a stack can load them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MODELS = Path(__file__).resolve().parents[2] / "models"
KINDS = ("generator", "classifier")


def pack_missing(archives: Path) -> str:
    """Pack each shipped run whose archives are not there yet.

    Args:
        archives: the stack's archive folder; made if missing.
    Returns: what MINTAGE_LOAD_MODELS must be for the stack to load them: models `digits-generator` and
        `digits-classifier` of the run `models/digits-ssgan`. Empty in an installation without that folder.
    """
    return ",".join(f"{archive.stem}={archive.name}" for archive in _archives(archives))


def _archives(folder: Path) -> Iterator[Path]:
    for run in sorted(path.parent for path in MODELS.glob("*-ssgan/checkpoint.safetensors")):
        for kind in KINDS:
            archive = folder / f"{run.name.removesuffix('-ssgan')}-{kind}.mar"
            if not archive.exists():
                from handlers.archive import pack

                pack(run, kind, archive)  # type: ignore[arg-type] # a kind
            yield archive
