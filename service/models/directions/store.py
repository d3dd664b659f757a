"""Saved directions: `{archives}/directions/{digest}/{name}.json`, written whole or not at all, shared by API processes.

A direction belongs to one archive, named by its digest: the same numbers mean something else to other weights. A file
that cannot be read is renamed to `{name}.json.damaged` and reported in the log; the others are not affected.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from service.errors import NO_SPACE, AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted
from service.models.durable_files import sync_folder, write_whole
from service.models.records import ModelRecord
from service.validation import DIRECTION

MAX_DIRECTIONS = 1000  # of one archive

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Direction:
    """A vector in a latent space; `mintage/v1/latents.proto` has the meaning of each field.

    Attributes:
        values: As many as the generator's latent size.
        description: How it was found, for people.
        accuracy: On held-out samples, if it was fitted to answers.
        strength: Share of the largest variance, if it comes from weights.
        name: '' if it was not saved.
        create_time: Seconds since 1970; 0 if it was not saved.
    """

    values: tuple[float, ...]
    description: str = ""
    accuracy: float | None = None
    strength: float | None = None
    name: str = ""
    create_time: float = 0.0


class SavedDirections:
    """The directions below one archive folder. Its methods read and write small files, and block meanwhile."""

    def __init__(self, archives: Path) -> None:
        self._folder = archives / "directions"

    def names(self, record: ModelRecord) -> list[str]:
        """Names of a generator's directions, sorted; files that are none are left out."""
        found = (path.stem for path in self._of(record).glob("*.json"))
        return sorted(name for name in found if DIRECTION.fullmatch(name))

    def read(self, record: ModelRecord, names: Iterable[str]) -> dict[str, Direction]:
        """Return those of the named directions that exist and can be read."""
        found = {name: self._read(record, name) for name in names if DIRECTION.fullmatch(name)}
        return {name: direction for name, direction in found.items() if direction is not None}

    def find(self, record: ModelRecord, name: str) -> Direction:
        """Return one direction.

        Raises:
            NotFound: if the model has none of that name.
        """
        found = self.read(record, [name])
        if name not in found:
            raise _not_found(record, name)
        return found[name]

    def vectors(self, record: ModelRecord, names: Iterable[str]) -> dict[str, list[float]]:
        """Return the numbers of those of the named directions that exist: what formulas mean by their names."""
        return {name: list(direction.values) for name, direction in self.read(record, names).items()}

    def save(self, record: ModelRecord, direction: Direction, *, replace_existing: bool) -> Direction:
        """Save a direction under its name, durably, and return it as it was saved.

        Raises:
            AlreadyExists: if the name has other values and `replace_existing` is not set.
            ResourceExhausted: if the model has too many, or the disk is full.
            FailedPrecondition: if the file cannot be written.
        """
        with self._locked(record):
            known = self._read(record, direction.name)
            if known is not None and not replace_existing:
                if known.values == direction.values:
                    return known
                text = f"models/{record.name} has a direction {direction.name} already; replace it, or choose a name"
                raise AlreadyExists(text, reason="DIRECTION_EXISTS")
            if known is None and len(self.names(record)) >= MAX_DIRECTIONS:
                text = f"models/{record.name} has {MAX_DIRECTIONS:,} directions, the most that are kept; delete some"
                raise ResourceExhausted(text, reason="TOO_MANY_DIRECTIONS")
            saved = replace(direction, create_time=time.time())
            self._write(record, saved)
            return saved

    def delete(self, record: ModelRecord, name: str) -> None:
        """Delete a direction, durably.

        Raises:
            NotFound: if the model has none of that name.
            FailedPrecondition: if the file cannot be removed.
        """
        try:
            self._path(record, name).unlink()
        except FileNotFoundError:
            raise _not_found(record, name) from None
        except OSError as error:
            raise _not_changed(record, name, error) from error
        sync_folder(self._of(record))

    def _read(self, record: ModelRecord, name: str) -> Direction | None:
        """Read a direction; None if there is none, or none that can be read, whose file is set aside."""
        path = self._path(record, name)
        try:
            direction = _DIRECTION.validate_json(path.read_bytes(), strict=True)
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            self._set_aside(path, str(error))
            return None
        if direction.name != name or len(direction.values) != record.latent_size or not _is_finite(direction):
            self._set_aside(path, "a field has an impossible value")
            return None
        return direction

    def _set_aside(self, path: Path, problem: str) -> None:
        log.error("damaged direction", file=str(path), problem=problem)
        with contextlib.suppress(OSError):  # another process did it, or the folder is read-only
            path.replace(path.with_name(f"{path.name}.damaged"))

    def _write(self, record: ModelRecord, direction: Direction) -> None:
        try:
            write_whole(self._path(record, direction.name), _DIRECTION.dump_json(direction, indent=2))
        except OSError as error:
            raise _not_changed(record, direction.name, error) from error

    @contextlib.contextmanager
    def _locked(self, record: ModelRecord) -> Iterator[None]:
        """Hold the lock, over all processes, under which directions of one archive are added: their number is bounded.

        Raises:
            FailedPrecondition: if there can be no folder for them.
        """
        folder = self._of(record)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
        except OSError as error:
            raise _not_changed(record, folder.name, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _of(self, record: ModelRecord) -> Path:
        return self._folder / record.digest

    def _path(self, record: ModelRecord, name: str) -> Path:
        return self._of(record) / f"{name}.json"


_DIRECTION = TypeAdapter(Direction)


def _is_finite(direction: Direction) -> bool:
    return all(map(math.isfinite, direction.values))


def _not_found(record: ModelRecord, name: str) -> NotFound:
    return NotFound(f"models/{record.name} has no direction {name}", reason="DIRECTION_NOT_FOUND")


def _not_changed(record: ModelRecord, name: str, error: OSError) -> ResourceExhausted | FailedPrecondition:
    if error.errno in NO_SPACE:
        return ResourceExhausted(f"no space for the direction {name} of models/{record.name}", reason="NO_SPACE")
    text = f"the direction {name} of models/{record.name} cannot be written or removed: {error.strerror}"
    return FailedPrecondition(text, reason="DIRECTION_NOT_WRITTEN")
