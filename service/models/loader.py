"""Loading, unloading and scaling models: first the model server changes and answers, then the record is written.

Each operation holds the model's lock over all API processes, so two never overlap. It runs to its end even if its
caller leaves; `service.models.changes` tells how far it is. What a crash leaves half done, `sweep` finds: a backend
name that no record names.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import structlog
from mintage.limits import STARTING_S

from service.backend.model_server import ModelServer
from service.errors import FailedPrecondition, Internal, MintageError, NotFound, Unavailable
from service.models.archives import checking, keeping
from service.models.backends import Backends
from service.models.changes import Changes, Progress
from service.models.pins import NoPins, Pins
from service.models.records import ModelRecord, backend_name
from service.models.registry import Registry
from service.models.retired import RetiredModels

T = TypeVar("T")

BACK_S = 10.0  # for ending workers again that have not started

_BACKEND_NAME = re.compile(r"([a-z0-9-]{1,63})-[0-9a-f]{12}", re.ASCII)

log = structlog.get_logger(__name__)


class Loader:
    """Changes what is loaded.

    Args:
        server: Where the models are.
        registry: What should be loaded.
        response_timeout_s: Watchdog: a worker that is silent for longer is started again.
        pins: Which models jobs need.
        starting_s: In which all workers of a load or a scaling start and answer a first request.
    """

    def __init__(
        self,
        server: ModelServer,
        registry: Registry,
        *,
        response_timeout_s: float,
        pins: Pins | None = None,
        starting_s: float = STARTING_S,
    ) -> None:
        self._server = server
        self._registry = registry
        self._pins = pins or NoPins()
        self.retired = RetiredModels(registry.archives)
        self.changes = Changes(registry.archives)
        self._starting_s = starting_s
        self._backends = Backends(
            server, registry, self.retired, response_timeout_s=response_timeout_s, starting_s=starting_s
        )
        self._tasks: set[asyncio.Task[Any]] = set()

    async def load(self, name: str, archive: str, workers: int) -> ModelRecord:
        """Load an archive under a name; replace another digest of that name once the new one answers.

        Raises:
            NotFound: if the archive folder has no such file.
            FailedPrecondition: if the archive cannot be served.
            Unavailable: if the model server does not answer.
        """
        return await asyncio.shield(self.begin_load(name, archive, workers))

    def begin_load(self, name: str, archive: str, workers: int) -> asyncio.Task[ModelRecord]:
        """As `load`, but return at once; the change is in `changes` from now on.

        Raises:
            NotFound: if the archive folder has no such file.
        """
        self._registry.archive(archive)
        progress = self.changes.begin(name, archive=archive, workers=workers)
        return self._to_the_end(self._load(name, archive, workers, progress))

    async def unload(self, name: str) -> None:
        """Unload a model; the model server keeps it while jobs need it.

        Raises:
            NotFound: if no model of that name is loaded.
        """
        await asyncio.shield(self._to_the_end(self._unload(name)))

    async def scale(self, name: str, workers: int) -> ModelRecord:
        """Give a model another number of worker processes.

        Raises:
            NotFound: if no model of that name is loaded.
            FailedPrecondition: if the new workers cannot start, or do not in time; then it has as many as before.
            Unavailable: if the model server does not answer, or lost the model, which is being loaded again.
        """
        return await asyncio.shield(self.begin_scale(name, workers))

    def begin_scale(self, name: str, workers: int) -> asyncio.Task[ModelRecord]:
        """As `scale`, but return at once; the change is in `changes` from now on.

        Raises:
            NotFound: if no model of that name is loaded.
        """
        self._registry.find(name)
        progress = self.changes.begin(name, archive="", workers=workers)
        return self._to_the_end(self._scale(name, workers, progress))

    async def restore(self, record: ModelRecord) -> None:
        """Load a model again that the model server has lost; does nothing while another process works on it.

        Raises:
            NotFound, FailedPrecondition, Unavailable: as `load`.
        """
        with self._registry.try_lock(record.name) as held:
            if not held or not self._is_wanted(record):
                return
            await asyncio.to_thread(self._keep_again, record)
            started = await self._backends.start(record.name, record.archive, record.digest, record.workers)
            restored = dataclasses.replace(started, load_time=record.load_time)
            if restored != record and not self.retired.find(record.backend_name):
                self._registry.write(restored)  # another device or torch version than before
            self._registry.answered(restored)
            log.info("model restored", model=record.name, digest=record.digest)

    async def restart(self, record: ModelRecord) -> bool:
        """Unload a model that stopped answering, so that it is restored; returns False if a process works on it."""
        with self._registry.try_lock(record.name) as held:
            if held:
                await self._backends.stop(record.backend_name)
            return held

    async def release(self, record: ModelRecord) -> None:
        """Unload a retired model that no job needs any more; as `restore`, only if no process works on it."""
        with self._registry.try_lock(record.name) as held:
            if not held or self.retired.find(record.backend_name) is None:
                return
            entry = self._registry.entry(record.name)
            if entry is not None and entry.record is not None and entry.record.backend_name == record.backend_name:
                self.retired.remove(record)
                return
            await self._release_unless_needed(record)

    async def sweep(self, loaded: Iterable[str]) -> None:
        """Unload backend names of ours that no record names, unless a process is loading that model now."""
        for found in loaded:
            match = _BACKEND_NAME.fullmatch(found)
            if match is None or self._backends.is_recorded(match[1], found):
                continue
            with self._registry.try_lock(match[1]) as held:
                if held and not self._backends.is_recorded(match[1], found):
                    log.info("unrecorded model unloaded", backend=found)
                    await self._backends.stop(found)

    async def close(self) -> None:
        """Cancel running operations; nothing half-loaded stays."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _load(self, name: str, archive: str, workers: int, progress: Progress) -> ModelRecord:
        async with self.changes.made(progress), self._registry.lock(name):
            progress.reached("copying")
            path = self._registry.archive(archive)
            await asyncio.to_thread(checking.check, path)
            digest = await asyncio.to_thread(keeping.keep, path)
            entry = self._registry.entry(name)
            old = entry.record if entry is not None else None
            same = old if old is not None and old.digest == digest else self.retired.find(backend_name(name, digest))
            record = await self._backends.start(
                name, archive, digest, same.workers if same else workers, progress.reached
            )
            if old is not None and old.digest == digest:
                self._registry.answered(old)
                return old
            if old is not None:
                self.retired.write(old)
            await self._adopt(record)
            self.retired.remove(record)
            if old is not None:
                await self._release_unless_needed(old)
            return record

    async def _unload(self, name: str) -> None:
        async with self._registry.lock(name):
            entry = self._registry.entry(name)
            old = entry.record if entry is not None else None
            if old is not None:
                self.retired.write(old)
            self._registry.remove(name)
            self.changes.forget(name)
            log.info("model unloaded", model=name)
            if old is not None:
                await self._release_unless_needed(old)

    async def _scale(self, name: str, workers: int, progress: Progress) -> ModelRecord:
        async with self.changes.made(progress), self._registry.lock(name):
            old = self._registry.find(name)
            try:
                async with asyncio.timeout(self._starting_s) as limit:
                    progress.reached("starting")
                    await self._server.scale(old.backend_name, workers, timeout_s=self._starting_s)
                    progress.reached("answering")
                    await self._server.wait_until_ready(old.backend_name, self._starting_s)
            except (TimeoutError, FailedPrecondition, Internal) as error:
                late = isinstance(error, TimeoutError)
                if late and not limit.expired():
                    raise
                await self._scale_back(old)
                if isinstance(error, MintageError) and error.reason != "MODEL_START_FAILED":
                    raise
                within = f" within {self._starting_s:g} s" if late else ""
                text = f"not all {workers} workers of models/{name} started{within}: it has {old.workers} as before"
                text += "; the model server's log says more"
                raise FailedPrecondition(text, reason="MODEL_START_FAILED") from None
            except NotFound:
                raise Unavailable(f"models/{name} is being loaded again", reason="MODEL_NOT_READY") from None
            except Unavailable as error:
                if error.reason == "MODEL_SERVER_FAILED":  # it may have lost workers: the reconciler loads it again
                    await self._backends.stop(old.backend_name)
                raise
            record = dataclasses.replace(old, workers=workers)
            self._registry.write(record)
            self._registry.answered(record)
            log.info("model scaled", model=name, workers=workers)
            return record

    async def _scale_back(self, record: ModelRecord) -> None:
        """End the workers that are too many, the last ones first; the model server would start them again and again."""
        try:
            await self._server.scale(record.backend_name, record.workers, timeout_s=BACK_S)
        except MintageError as error:
            log.warning("workers not ended", model=record.name, error=error.message)

    async def _adopt(self, record: ModelRecord) -> None:
        try:
            self._registry.write(record)
        except BaseException:
            await self._backends.drop(record)
            raise
        self._registry.answered(record)
        log.info("model loaded", model=record.name, digest=record.digest, archive=record.archive)

    def _keep_again(self, record: ModelRecord) -> None:
        """Find a model's archive by its file name if its kept copy is gone."""
        if not keeping.kept(self._registry.archives, record.digest).exists():
            found = keeping.keep(self._registry.archive(record.archive))
            if found != record.digest:
                self._backends.forget(found)

    async def _release_unless_needed(self, record: ModelRecord) -> None:
        """Unload a retired model, unless jobs need it or that is not known; then the reconciler asks again.

        A creation pins its model, then looks whether that is still the one of its name; a load writes the new record,
        then looks for pins. So one of the two always sees the other.
        """
        needed = await self._pins.needed()
        if needed is None or record.backend_name in needed:
            log.info("model kept for jobs", model=record.name, digest=record.digest)
            return
        self.retired.remove(record)
        await self._backends.drop(record)

    def _is_wanted(self, record: ModelRecord) -> bool:
        """Whether a record is still the one of its name, or retired."""
        entry = self._registry.entry(record.name)
        return (entry is not None and entry.record == record) or self.retired.find(record.backend_name) is not None

    def _to_the_end(self, operation: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin an operation that continues when its caller is cancelled."""
        task = asyncio.create_task(operation)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a caller who is still there gets it from `shield`
