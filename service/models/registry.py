"""Which models should be loaded, and whether they answer. The record of each is a file beside its archive.

`{archives}/loaded/{model}.json` says what should be loaded: written whole or not at all, read again when it changes,
shared by every API process. Whether a model answers is each process's own knowledge, updated by its reconciler.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import structlog

from service.backend.protocol.description import Kind
from service.errors import FailedPrecondition, NotFound, Unavailable
from service.models.archives.pushed import of_run
from service.models.changes import Changes
from service.models.durable_files import sync_folder
from service.models.records import ModelRecord, read_record, write_record
from service.validation import ARCHIVE, MODEL_NAME

State = Literal["loading", "ready", "failed"]

LOCK_POLL_S = 0.05  # flock cannot be awaited; operations under the lock take seconds

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Condition:
    """Whether a model answers, as far as this process knows; `answered_at` is on the monotonic clock."""

    state: State
    message: str = ""
    answered_at: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Entry:
    """One model as it should be and as it is; without a record its file is damaged."""

    name: str
    record: ModelRecord | None
    condition: Condition


_FRESH = Condition("loading", "waits for its first inference")
_DAMAGED = Condition("failed", "its record is damaged; load the model again, or unload it")


class Registry:
    """The records below one archive folder, and this process's knowledge of each model's condition."""

    def __init__(self, archives: Path) -> None:
        self.archives = archives
        self._folder = archives / "loaded"
        self._changes = Changes(archives)  # as any process wrote them down
        self._conditions: dict[str, Condition] = {}
        self._withdrawn: dict[str, frozenset[int]] = {}
        self.notice = ""  # what is to be known of every model that answers
        self._read: dict[str, tuple[tuple[int, int, int], ModelRecord | None]] = {}

    def names(self) -> list[str]:
        """Names of the models that should be loaded, sorted."""
        return sorted(p.stem for p in self._folder.glob("*.json") if MODEL_NAME.fullmatch(f"models/{p.stem}"))

    def entries(self) -> list[Entry]:
        """Every model that should be loaded, in order of the names."""
        found = (self.entry(name) for name in self.names())
        return [entry for entry in found if entry is not None]

    def entry(self, name: str) -> Entry | None:
        """One model that should be loaded; None if there is none of that name."""
        try:
            record = self._record(name)
        except FileNotFoundError:
            return None
        return Entry(name, record, _DAMAGED if record is None else self.condition(record))

    def find(self, name: str, kind: Kind | None = None) -> ModelRecord:
        """The record of a model, ready or not.

        Raises:
            NotFound: if no model of that name is loaded.
            Unavailable: if it is being loaded for the first time.
            FailedPrecondition: if it is of another kind, or its record is damaged.
        """
        entry = self.entry(name)
        if entry is None:
            change = self._changes.last(name)
            if change is not None and change.under_way:
                watched = f"`mintage models watch {name}` shows when it is ready"
                text = f"models/{name} is still being loaded ({change.stage}); {watched}"
                raise Unavailable(text, reason="MODEL_NOT_READY")
            raise NotFound(f"no model models/{name} is loaded", reason="MODEL_NOT_FOUND")
        if entry.record is None:
            raise FailedPrecondition(f"models/{name}: {_DAMAGED.message}", reason="MODEL_RECORD_DAMAGED")
        if kind is not None and entry.record.kind != kind:
            raise FailedPrecondition(
                f"models/{name} is of kind {entry.record.kind}, not {kind}", reason="WRONG_MODEL_KIND"
            )
        return entry.record

    def ready(self, name: str, kind: Kind) -> ModelRecord:
        """The record of a model that answers.

        Raises:
            NotFound, FailedPrecondition: as `find`.
            Unavailable: if it does not answer now, or is being loaded.
        """
        record = self.find(name, kind)
        condition = self.condition(record)
        if condition.state != "ready":
            raise Unavailable(f"models/{name} is not ready: {condition.message}", reason="MODEL_NOT_READY")
        return record

    def discriminator_of(self, generator: ModelRecord) -> ModelRecord:
        """The record of the discriminator that was trained against a generator, which answers.

        Raises:
            FailedPrecondition: if it is not loaded; the message says how to load it.
            Unavailable: if it does not answer now.
        """
        found = self._of_run(generator, ("discriminator",))
        if found is not None:
            return self.ready(found.name, found.kind)
        what = f"the discriminator of models/{generator.name} is not loaded"
        text = f"{what}: {self._how_to_load(generator)}; or set pixels_only (mintage explore invert --pixels-only)"
        raise FailedPrecondition(text, reason="NO_DISCRIMINATOR", metadata={"run_digest": generator.run_digest})

    def instead_of(self, generator: ModelRecord, kinds: Sequence[Kind]) -> str:
        """Which model to ask in place of a generator, one of some kinds, or how to load its discriminator."""
        found = self._of_run(generator, kinds)
        if found is not None:
            return f"ask models/{found.name}, of the same run"
        return f"ask its discriminator: {self._how_to_load(generator)}"

    def _of_run(self, generator: ModelRecord, kinds: Sequence[Kind]) -> ModelRecord | None:
        """The first model of a generator's run that is of one of some kinds."""
        records = (entry.record for entry in self.entries())
        return next((r for r in records if r and r.run_digest == generator.run_digest and r.kind in kinds), None)

    def _how_to_load(self, generator: ModelRecord) -> str:
        """How to load the discriminator of a generator: its archive, if the folder has one."""
        archive = of_run(self.archives, "discriminator", generator.run_digest)
        if archive is None:
            return "`mintage pack RUN --kind discriminator --load`, of the same RUN, packs and loads it"
        return f"`mintage models load {archive.removesuffix('.mar')} {archive}` loads it"

    def condition(self, record: ModelRecord) -> Condition:
        """Whether a model answers, as far as this process knows."""
        return self._conditions.get(record.backend_name, _FRESH)

    def answered(self, record: ModelRecord) -> None:
        """Note that a real inference succeeded just now."""
        self._conditions[record.backend_name] = Condition("ready", self._warning(record), time.monotonic())

    def withdrew(self, record: ModelRecord, sizes: Collection[int]) -> None:
        """Note batch sizes that a worker of a model found to give other bits and uses no more."""
        known = self.withdrawn(record)
        if not set(sizes) <= known:
            self._withdrawn[record.backend_name] = known | set(sizes)
            log.error("batch sizes withdrawn", model=record.name, sizes=sorted(sizes))

    def withdrawn(self, record: ModelRecord) -> frozenset[int]:
        """The batch sizes that workers of a model have withdrawn, as far as this process knows."""
        return self._withdrawn.get(record.backend_name, frozenset())

    def _warning(self, record: ModelRecord) -> str:
        withdrawn = self.withdrawn(record)
        if not withdrawn:
            return self.notice
        sizes = ", ".join(map(str, sorted(withdrawn)))
        warning = f"batch sizes {sizes} gave other bits and are used no more; the model server's log says more"
        return f"{self.notice}; {warning}" if self.notice else warning

    def mark(self, record: ModelRecord, state: State, message: str) -> None:
        """Note that a model does not answer, and why."""
        known = self.condition(record)
        if (known.state, known.message) != (state, message):
            write = log.warning if state == "failed" else log.info
            write("model", model=record.name, state=state, message=message)
        self._conditions[record.backend_name] = Condition(state, message, known.answered_at)

    def archive(self, file_name: str) -> Path:
        """Path of an archive.

        Raises:
            NotFound: if the archive folder has no such file.
        """
        path = self.archives / file_name
        if not ARCHIVE.fullmatch(file_name) or not path.is_file():
            raise NotFound(f"the archive folder has no {file_name}", reason="ARCHIVE_NOT_FOUND")
        return path

    def write(self, record: ModelRecord) -> None:
        """Record durably that a model should be loaded.

        Raises:
            FailedPrecondition: if the file cannot be written.
        """
        write_record(self._folder / f"{record.name}.json", record)

    def remove(self, name: str) -> None:
        """Record durably that a model need not be loaded.

        Raises:
            NotFound: if no such record exists.
        """
        try:
            (self._folder / f"{name}.json").unlink()
        except FileNotFoundError:
            raise NotFound(f"no model models/{name} is loaded", reason="MODEL_NOT_FOUND") from None
        except OSError as error:
            text = f"the record of models/{name} cannot be removed: {error.strerror}; remove {name}.json in loaded/"
            raise FailedPrecondition(text, reason="RECORD_NOT_REMOVED") from error
        sync_folder(self._folder)

    @contextlib.asynccontextmanager
    async def lock(self, name: str) -> AsyncIterator[None]:
        """Hold the lock, over all processes, under which a model is loaded, unloaded or restored."""
        while True:
            with self.try_lock(name) as held:
                if held:
                    yield
                    return
            await asyncio.sleep(LOCK_POLL_S)

    @contextlib.contextmanager
    def try_lock(self, name: str) -> Iterator[bool]:
        """As `lock`, but yields False at once if another process holds it.

        A lock leaves no file behind unless the model is recorded.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f".{name}.lock"
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            if not _is_still(path, file):  # its last holder removed it
                yield False
                return
            try:
                yield True
            finally:
                if not (self._folder / f"{name}.json").exists():
                    path.unlink(missing_ok=True)

    def _record(self, name: str) -> ModelRecord | None:
        """Read a record, from memory if its file is as it was; None if it is damaged."""
        path = f"{self._folder}/{name}.json"  # a Path would cost every call more than the rest of this
        stat = os.stat(path)  # noqa: PTH116
        version = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        known = self._read.get(name)
        if known is None or known[0] != version:
            known = self._read[name] = (version, read_record(name, Path(path)))
        return known[1]


def _is_still(path: Path, file: IO[str]) -> bool:
    """Whether an open file is the one that has the name now."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
