"""Loads and scalings of models as things to look at: how far each has come, and how the last one of a model ended.

The change of a model is a file, `{archives}/changes/{model}.json`, so that every API process can tell of it. The one
that makes a change touches the file while it does; a change whose file grows old has lost its process and has failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import grpc
import structlog
from pydantic import TypeAdapter, ValidationError

from service.errors import NO_SPACE, MintageError
from service.validation import MODEL_NAME

Stage = Literal["waiting", "copying", "starting", "proving", "answering", "succeeded", "failed"]
STAGES: tuple[Stage, ...] = get_args(Stage)
ENDED = ("succeeded", "failed")

TOUCH_S = 2.0  # between two signs that a change is still being made
ORPHANED_S = 15.0  # without such a sign, after which nobody makes it: longer than a busy machine holds a process up
KEPT_S = 3600.0  # after its end: whoever asked has looked by then

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """A load, or a scaling where `archive` is empty; times count seconds since 1970, 0 until they have come."""

    model: str
    archive: str
    workers: int
    start_time: float
    stage: Stage = "waiting"
    sizes_tried: int = 0
    sizes_total: int = 0
    end_time: float = 0.0
    error_code: int = 0
    error_reason: str = ""
    error_message: str = ""

    @property
    def under_way(self) -> bool:
        """Whether it has not ended."""
        return self.stage not in ENDED


_CHANGE = TypeAdapter(Change)


class Progress:
    """A change that this process makes."""

    def __init__(self, folder: Path, change: Change) -> None:
        self.change = change
        self._folder = folder
        self._write()

    def reached(self, stage: Stage, sizes_tried: int = 0, sizes_total: int = 0) -> None:
        """Note how far it has come."""
        self._become(replace(self.change, stage=stage, sizes_tried=sizes_tried, sizes_total=sizes_total))

    def succeeded(self) -> None:
        """Note its good end."""
        self._become(replace(self.change, stage="succeeded", end_time=time.time()))

    def failed(self, error: BaseException) -> None:
        """Note its bad end."""
        code, reason, message = _told(error)
        ended = replace(self.change, stage="failed", end_time=time.time(), error_code=code.value[0])
        self._become(replace(ended, error_reason=reason, error_message=message))

    def touch(self) -> None:
        """Give a sign that it is still being made."""
        with contextlib.suppress(OSError):
            os.utime(self._folder / f"{self.change.model}.json")

    def _become(self, change: Change) -> None:
        if change != self.change:
            self.change = change
            self._write()

    def _write(self) -> None:
        """Write the file whole; on a full disk only this process knows how far the change has come."""
        path = self._folder / f"{self.change.model}.json"
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(asdict(self.change)), encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            log.warning("a change of a model is not written down", model=self.change.model, error=str(error))
            with contextlib.suppress(OSError):
                temporary.unlink()


class Changes:
    """The changes below one archive folder."""

    def __init__(self, archives: Path) -> None:
        self._folder = archives / "changes"
        self._mine: dict[str, list[Progress]] = {}

    def begin(self, model: str, *, archive: str, workers: int) -> Progress:
        """Begin a change, which waits until `made` makes it."""
        self._mine = {name: kept for name, made in self._mine.items() if (kept := _without_old(made))}
        progress = Progress(self._folder, Change(model, archive, workers, time.time()))
        self._mine.setdefault(model, []).append(progress)
        return progress

    @contextlib.asynccontextmanager
    async def made(self, progress: Progress) -> AsyncIterator[None]:
        """Make a change inside: give signs of it, and note how it ends."""
        touching = asyncio.create_task(_touch(progress))
        try:
            yield
        except BaseException as error:
            progress.failed(error)
            raise
        else:
            progress.succeeded()
        finally:
            touching.cancel()

    def last(self, model: str) -> Change | None:
        """The change of a model that is under way, or else the last one; None if there is none, or it was long ago."""
        mine = _without_old(self._mine.get(model, []))
        under_way = [each.change for each in mine if each.change.under_way]
        if under_way:
            return next((change for change in under_way if change.stage != "waiting"), under_way[0])
        written = self._read(self._folder / f"{model}.json")
        known = [each.change for each in mine] + ([written] if written else [])
        return max(known, key=lambda change: change.start_time, default=None)

    def under_way(self) -> list[Change]:
        """Every change that has not ended, in order of the models' names."""
        written = {path.stem for path in self._folder.glob("*.json") if MODEL_NAME.fullmatch(f"models/{path.stem}")}
        found = (self.last(name) for name in sorted(written | set(self._mine)))
        return [change for change in found if change is not None and change.under_way]

    def forget(self, model: str) -> None:
        """Forget the changes of a model that was unloaded."""
        self._mine.pop(model, None)
        (self._folder / f"{model}.json").unlink(missing_ok=True)

    def _read(self, path: Path) -> Change | None:
        """Read a change; one that is old is removed, one that cannot be read does not count."""
        try:
            changed_at = path.stat().st_mtime
            change = _CHANGE.validate_json(path.read_bytes(), strict=True)
        except (OSError, ValidationError):
            return None
        age_s = time.time() - changed_at
        if age_s > KEPT_S:
            with contextlib.suppress(OSError):
                path.unlink()
        if change.model != path.stem or age_s > KEPT_S:
            return None
        if change.under_way and age_s > ORPHANED_S:
            message = "the API process that made this change is gone; ask again"
            code = int(grpc.StatusCode.UNAVAILABLE.value[0])
            return replace(
                change,
                stage="failed",
                end_time=changed_at,
                error_code=code,
                error_reason="CHANGE_LOST",
                error_message=message,
            )
        return change


def _without_old(made: Iterable[Progress]) -> list[Progress]:
    """Leave out changes that ended long ago."""
    return [each for each in made if each.change.under_way or time.time() - each.change.end_time <= KEPT_S]


async def _touch(progress: Progress) -> None:
    while True:
        await asyncio.sleep(TOUCH_S)
        progress.touch()


def _told(error: BaseException) -> tuple[grpc.StatusCode, str, str]:
    """Code, reason and text of what ended a change, as the caller of LoadModel hears them."""
    if isinstance(error, MintageError):
        return error.code, error.reason, error.message
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_SPACE", "a disk of the server is full"
    if isinstance(error, asyncio.CancelledError):
        return grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", "the server shut down meanwhile; ask again"
    log.error("a change of a model failed", exc_info=error)
    return grpc.StatusCode.INTERNAL, "INTERNAL", "internal error; the server's log says more"
