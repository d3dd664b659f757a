"""What the model server holds for us: backend names are started, proven and stopped, with copies of their archives."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable

import structlog
from mintage.limits import STARTING_S

from service.backend.model_server import ModelServer, is_silence
from service.backend.protocol.description import ModelDescription
from service.errors import AlreadyExists, FailedPrecondition, Internal, MintageError, NotFound, Unavailable
from service.models.archives import keeping
from service.models.changes import Stage
from service.models.records import ModelRecord, backend_name
from service.models.registry import Registry
from service.models.retired import RetiredModels

FOLLOW_S = 0.2  # between two looks at a proof, which takes seconds


Reached = Callable[[Stage, int, int], None]  # hears a stage, and how many sizes were tried, of how many


log = structlog.get_logger(__name__)

FIRST_REQUEST = {  # what a model made of it, by reason
    "WORKER_DIED": "worker died with",
    "MODEL_FAILED": "handler failed at",
    "MODEL_SILENT": "handler did not answer",
}


class Backends:
    """Starts and stops models on the model server.

    Args:
        server: Where the models are.
        registry: What should be loaded.
        retired: What jobs still need.
        response_timeout_s: Watchdog: a worker that is silent for longer is started again.
        starting_s: In which a model's workers start, from a cold disk too, and answer a first request.
    """

    def __init__(
        self,
        server: ModelServer,
        registry: Registry,
        retired: RetiredModels,
        *,
        response_timeout_s: float,
        starting_s: float = STARTING_S,
    ) -> None:
        self._server = server
        self._registry = registry
        self._retired = retired
        self._response_timeout_s = response_timeout_s
        self._starting_s = starting_s

    async def start(
        self, name: str, archive: str, digest: str, workers: int, reached: Reached = lambda *_: None
    ) -> ModelRecord:
        """Have the model server hold exactly this digest, and wait until it answers; a failure leaves nothing behind.

        `reached` hears how far that is.

        Raises:
            FailedPrecondition: if the archive cannot be served: no worker starts, or none answers in time.
            Unavailable: if the model server does not answer, or loses the model meanwhile; or if a model that was
                loaded before does not start in time.
        """
        backend = backend_name(name, digest)
        entry = self._registry.entry(name)
        recorded = entry is not None and entry.record is not None and entry.record.backend_name == backend
        recorded = recorded or self._retired.find(backend) is not None
        limit = asyncio.timeout(self._starting_s)
        try:
            async with limit:
                if not recorded and backend in await self._server.list_models():
                    await self.stop(backend)  # left by a crash, with an unknown number of workers
                description = await self._prove(backend, archive, digest, workers, reached)
        except BaseException as error:
            if not recorded:
                if not is_silence(error):  # then `sweep` stops what there may be
                    await self.stop(backend)
                self.forget(digest)
            if isinstance(error, TimeoutError) and limit.expired():
                raise self._late(name, archive, loaded_before=recorded) from None
            raise
        return ModelRecord(
            name=name,
            digest=digest,
            archive=archive,
            workers=workers,
            load_time=time.time(),
            **{field.name: getattr(description, field.name) for field in dataclasses.fields(description)},
        )

    def _late(self, name: str, archive: str, *, loaded_before: bool) -> MintageError:
        what = f"within {self._starting_s:g} s; the model server's log says more"
        if loaded_before:  # its archive was proven, so the machine has too much to do
            return Unavailable(f"models/{name} has not started {what}", reason="MODEL_NOT_STARTED")
        text = f"the archive {archive} cannot be served: its handler did not start, or answer a first request, {what}"
        return FailedPrecondition(text, reason="ARCHIVE_UNFIT")

    async def _prove(self, backend: str, archive: str, digest: str, workers: int, reached: Reached) -> ModelDescription:
        """Have the model server hold the backend, and wait until it answers a first request."""
        try:
            if backend not in await self._server.list_models():
                reached("starting", 0, 0)
                async with _followed(self._server, backend, reached):
                    await self._register(backend, workers, digest)
            reached("answering", 0, 0)
            return await self._wait_until_ready(backend, archive)
        except (Unavailable, Internal) as error:
            what = FIRST_REQUEST.get(error.reason)
            if what is None:
                raise
            text = f"the archive {archive} cannot be served: its {what} the first request; its log says why"
            raise FailedPrecondition(text, reason="ARCHIVE_UNFIT") from error

    async def _register(self, backend: str, workers: int, digest: str) -> None:
        path = keeping.kept(self._registry.archives, digest)
        await asyncio.to_thread(keeping.check, path, digest)
        await asyncio.to_thread(keeping.check_format, path)
        try:
            await self._server.register(
                path.name,
                backend,
                workers,
                startup_timeout_s=self._starting_s,
                response_timeout_s=self._response_timeout_s,
            )
        except AlreadyExists:
            return

    async def _wait_until_ready(self, backend: str, archive: str) -> ModelDescription:
        try:
            return await self._server.wait_until_ready(backend, self._starting_s)
        except Internal as error:
            text = f"the archive {archive} cannot be served: {error.message}"
            raise FailedPrecondition(text, reason="ARCHIVE_UNFIT") from error
        except NotFound:
            raise Unavailable("the model server lost the model while it was loaded") from None

    async def drop(self, record: ModelRecord) -> None:
        """Unload what no record names any more, once its calls are answered, and remove its archive's copy."""
        await self._server.drain(record.backend_name)
        await self.stop(record.backend_name)
        self.forget(record.digest)

    async def stop(self, backend: str) -> None:
        """Unload a backend name if it is loaded; if that fails now, `sweep` does it later."""
        try:
            await self._server.unregister(backend)
        except NotFound:
            pass
        except MintageError as error:
            log.warning("model not unloaded yet", backend=backend, error=error.message)

    def forget(self, digest: str) -> None:
        """Remove the copy of an archive that no record names."""
        entries = (entry.record for entry in self._registry.entries())
        if all(record is None or record.digest != digest for record in [*entries, *self._retired.records()]):
            keeping.forget(self._registry.archives, digest)

    def is_recorded(self, name: str, backend: str) -> bool:
        """Whether a record names this backend; a damaged record may name any."""
        entry = self._registry.entry(name)
        by_name = entry is not None and (entry.record is None or entry.record.backend_name == backend)
        return by_name or self._retired.find(backend) is not None


@contextlib.asynccontextmanager
async def _followed(server: ModelServer, backend: str, reached: Reached) -> AsyncIterator[None]:
    """Tell, while a model starts, how many of its batch sizes were tried."""

    async def follow() -> None:
        while True:
            await asyncio.sleep(FOLLOW_S)
            proof = server.proof_progress(backend)
            if proof is not None:
                reached("proving", *proof)

    following = asyncio.create_task(follow())
    try:
        yield
    finally:
        following.cancel()
