"""What of a folder goes to the hub: a run as it is exported, or all that a sample job wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from service.cli.console import fail

CARD = "README.md"
OF_A_JOB = ("plan.json", "manifest.json", CARD)  # that has ended
MAX_FILES = 10_000  # the hub's own advice for one folder


@dataclass(frozen=True, slots=True)
class Contents:
    """A repository to be.

    Attributes:
        kind: The hub's word for what it is.
        card: Its README.md.
        files: The other files, by their path in it.
    """

    kind: Literal["model", "dataset"]
    card: str
    files: Mapping[str, Path]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return len(self.card.encode()) + sum(path.stat().st_size for path in self.files.values())


def contents_of(folder: Path, repository: str, scratch: Path) -> Contents:
    """Return what a folder becomes on the hub.

    Args:
        folder: a run folder, or the folder of a sample job.
        repository: owner/name.
        scratch: an empty folder, into which a run is exported that can still be trained further.
    """
    return _job(folder) if (folder / OF_A_JOB[0]).exists() else _run(folder, repository, scratch)


def _run(folder: Path, repository: str, scratch: Path) -> Contents:
    from training.export import LATEST_SAMPLES, export
    from training.runs.card import CARD_FILE
    from training.runs.checkpoint import STATE_FILE, load_run
    from training.runs.hub_card import hub_card
    from training.runs.metrics import METRICS_FILE

    run = load_run(folder)
    if not (folder / CARD_FILE).exists():
        fail(f"{folder} has no {CARD_FILE} yet; the training writes it with its checkpoint")
    if any((folder / name).exists() for name in (STATE_FILE, METRICS_FILE)):
        folder = export(folder, scratch / "export")
    files = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    files.pop(CARD, None)
    card = (folder / CARD_FILE).read_text(encoding="utf-8")
    samples = LATEST_SAMPLES if LATEST_SAMPLES in files else None
    return Contents("model", hub_card(run, card, repository=repository, samples=samples), files)


def _job(folder: Path) -> Contents:
    for name in OF_A_JOB:
        if not (folder / name).exists():
            fail(f"{folder} has no {name}: only a sample job that has ended has what the hub needs")
    files = {path.relative_to(folder).as_posix(): path for path in _files(folder, hidden=True)}
    if len(files) > MAX_FILES:
        fail(
            f"{folder} has {len(files):,} files, and the hub advises against more than {MAX_FILES:,}; "
            "make the images in the format webdataset or parquet"
        )
    del files[CARD]
    return Contents("dataset", (folder / CARD).read_text(encoding="utf-8"), files)


def _files(folder: Path, *, hidden: bool = False) -> Iterator[Path]:
    """Yield the files below a folder in the order of their names; links and what is hidden only if asked for."""
    for path in sorted(folder.rglob("*")):
        seen = hidden or not any(part.startswith(".") for part in path.relative_to(folder).parts)
        if seen and path.is_file() and not path.is_symlink():
            yield path
