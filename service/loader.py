"""Loading, unloading and scaling models: the model server is changed first and proven, then the record is written.

Each operation holds the model's lock over all API processes, so two of them never meet. It goes on to its end even if
its caller leaves. What a crash leaves behind half done, `sweep` finds: a backend name that no record names.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

import structlog

from service import archives
from service.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    MintageError,
    NotFound,
    Unavailable,
)
from service.model_server import ModelServer
from service.registry import ModelRecord, Registry, backend_name

T = TypeVar("T")

STARTUP_TIMEOUT_S = 120.0
_BACKEND_NAME = re.compile(r"([a-z0-9-]{1,63})-[0-9a-f]{12}", re.ASCII)

log = structlog.get_logger(__name__)


class Loader:
    """Changes what is loaded.

    Args:
        server: Where the models are.
        registry: What should be loaded.
        response_timeout_s: Watchdog: a worker that is silent for longer is started again.
    """

    def __init__(self, server: ModelServer, registry: Registry, *, response_timeout_s: float) -> None:
        self._server = server
        self._registry = registry
        self._response_timeout_s = response_timeout_s
        self._tasks: set[asyncio.Task[Any]] = set()

    async def load(self, name: str, archive: str, workers: int) -> ModelRecord:
        """Load an archive under a name; if another digest has that name, replace it once the new one has proven itself.

        Raises:
            NotFound: if the archive folder has no such file.
            FailedPrecondition: if the archive cannot be served.
            Unavailable: if the model server does not answer.
        """
        self._registry.archive(archive)
        return await self._to_the_end(self._load(name, archive, workers))

    async def unload(self, name: str) -> None:
        """Unload a model.

        Raises:
            NotFound: if no model of that name is loaded.
        """
        await self._to_the_end(self._unload(name))

    async def scale(self, name: str, workers: int) -> ModelRecord:
        """Give a model another number of worker processes.

        Raises:
            NotFound: if no model of that name is loaded.
            FailedPrecondition: if the new workers cannot start.
            Unavailable: if the model server does not answer, or has lost the model and it is being brought back.
        """
        return await self._to_the_end(self._scale(name, workers))

    async def restore(self, record: ModelRecord) -> None:
        """Bring a model back that the model server has lost; do nothing if somebody else is at it.

        Raises:
            NotFound, FailedPrecondition, Unavailable: as `load`.
        """
        with self._registry.try_lock(record.name) as held:
            entry = self._registry.entry(record.name) if held else None
            if entry is None or entry.record != record:
                return
            await asyncio.to_thread(self._keep_again, record)
            started = await self._start(record.name, record.archive, record.digest, record.workers)
            restored = dataclasses.replace(started, load_time=record.load_time)
            if restored != record:  # another device or torch version than before
                self._registry.write(restored)
            self._registry.answered(restored)
            log.info("model restored", model=record.name, digest=record.digest)

    async def restart(self, record: ModelRecord) -> None:
        """Unload a model that has stopped answering, so that it is restored; do nothing if somebody else is at it."""
        with self._registry.try_lock(record.name) as held:
            if held:
                await self._stop(record.backend_name)

    async def sweep(self, loaded: Iterable[str]) -> None:
        """Unload backend names of ours that no record names, unless somebody is loading that model now."""
        for found in loaded:
            match = _BACKEND_NAME.fullmatch(found)
            if match is None or self._is_recorded(match[1], found):
                continue
            with self._registry.try_lock(match[1]) as held:
                if held and not self._is_recorded(match[1], found):
                    log.info("unrecorded model unloaded", backend=found)
                    await self._stop(found)

    async def close(self) -> None:
        """Break off what is going on; nothing half-loaded stays."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _load(self, name: str, archive: str, workers: int) -> ModelRecord:
        async with self._registry.lock(name):
            digest = await asyncio.to_thread(archives.keep, self._registry.archive(archive))
            entry = self._registry.entry(name)
            old = entry.record if entry is not None else None
            if old is not None and old.digest == digest:
                workers = old.workers
            record = await self._start(name, archive, digest, workers)
            if old is not None and old.digest == digest:
                self._registry.answered(old)
                return old
            await self._adopt(record)
            if old is not None:
                await self._drop(old)
            return record

    async def _unload(self, name: str) -> None:
        async with self._registry.lock(name):
            entry = self._registry.entry(name)
            self._registry.remove(name)
            log.info("model unloaded", model=name)
            if entry is not None and entry.record is not None:
                await self._drop(entry.record)

    async def _scale(self, name: str, workers: int) -> ModelRecord:
        async with self._registry.lock(name):
            old = self._registry.find(name)
            try:
                await self._server.scale(old.backend_name, workers)
                await self._server.prove(old.backend_name, STARTUP_TIMEOUT_S)
            except NotFound:
                raise Unavailable(f"models/{name} is being brought back", reason="MODEL_NOT_READY") from None
            record = dataclasses.replace(old, workers=workers)
            self._registry.write(record)
            self._registry.answered(record)
            log.info("model scaled", model=name, workers=workers)
            return record

    async def _start(self, name: str, archive: str, digest: str, workers: int) -> ModelRecord:
        """Have the model server hold exactly this digest and prove it; on failure nothing of it stays behind."""
        backend = backend_name(name, digest)
        entry = self._registry.entry(name)
        recorded = entry is not None and entry.record is not None and entry.record.backend_name == backend
        try:
            if not recorded:
                await self._stop(backend)  # left by a crash, with who knows how many workers
            if backend not in await self._server.list_models():
                await self._register(backend, workers, digest)
            description = await self._prove(backend, archive)
        except BaseException:
            if not recorded:
                await self._stop(backend)
                self._forget(digest)
            raise
        return ModelRecord(
            name=name,
            digest=digest,
            archive=archive,
            workers=workers,
            load_time=time.time(),
            **{field.name: getattr(description, field.name) for field in dataclasses.fields(description)},
        )

    async def _register(self, backend: str, workers: int, digest: str) -> None:
        path = archives.kept(self._registry.archives, digest)
        await _check_digest(path, digest)
        try:
            await self._server.register(
                path.name,
                backend,
                workers,
                startup_timeout_s=STARTUP_TIMEOUT_S,
                response_timeout_s=self._response_timeout_s,
            )
        except AlreadyExists:
            return

    async def _prove(self, backend: str, archive: str) -> Any:
        try:
            return await self._server.prove(backend, STARTUP_TIMEOUT_S)
        except Internal as error:
            text = f"the archive {archive} cannot be served: {error.message}"
            raise FailedPrecondition(text, reason="ARCHIVE_UNFIT") from error
        except NotFound:
            raise Unavailable("the model server lost the model while it was loaded") from None

    async def _adopt(self, record: ModelRecord) -> None:
        try:
            self._registry.write(record)
        except BaseException:
            await self._drop(record)
            raise
        self._registry.answered(record)
        log.info("model loaded", model=record.name, digest=record.digest, archive=record.archive)

    def _keep_again(self, record: ModelRecord) -> None:
        """Find a model's archive by its file name if its kept copy is gone."""
        if not archives.kept(self._registry.archives, record.digest).exists():
            found = archives.keep(self._registry.archive(record.archive))
            if found != record.digest:
                self._forget(found)

    async def _drop(self, record: ModelRecord) -> None:
        """Unload what no record names any more, and let go of its archive."""
        await self._stop(record.backend_name)
        self._forget(record.digest)

    def _forget(self, digest: str) -> None:
        """Remove the copy of an archive that no record names."""
        if all(entry.record is None or entry.record.digest != digest for entry in self._registry.entries()):
            archives.forget(self._registry.archives, digest)

    async def _stop(self, backend: str) -> None:
        """Unload a backend name if it is loaded; if that fails now, `sweep` does it later."""
        try:
            await self._server.unregister(backend)
        except NotFound:
            pass
        except MintageError as error:
            log.warning("model not unloaded yet", backend=backend, error=error.message)

    def _is_recorded(self, name: str, backend: str) -> bool:
        """Whether a record names this backend; a damaged record may name any."""
        entry = self._registry.entry(name)
        return entry is not None and (entry.record is None or entry.record.backend_name == backend)

    async def _to_the_end(self, operation: Coroutine[Any, Any, T]) -> T:
        """Await an operation that goes on when its caller is cancelled."""
        task = asyncio.create_task(operation)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a caller who is still there gets it from `shield`


async def _check_digest(path: Path, digest: str) -> None:
    """Make sure that a kept archive is there and whole.

    Raises:
        NotFound: if the file is gone.
        FailedPrecondition: if it is damaged.
    """
    try:
        found = await asyncio.to_thread(archives.sha256_of, path)
    except FileNotFoundError:
        raise NotFound(f"the archive folder has no {path.name}", reason="ARCHIVE_NOT_FOUND") from None
    if found != digest:
        text = f"{path.name} is damaged: its sha256 is {found[:12]}...; load the archive again"
        raise FailedPrecondition(text, reason="ARCHIVE_DAMAGED")
