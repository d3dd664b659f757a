"""Keeps every recorded model loaded and answering: a control loop in each API process.

Each model is reconciled in its own task, so one that hangs delays no other. The model server starts empty; what it
lost is registered again; while it does not answer, its models are asked all the same. A model is ready while a real
inference has succeeded in the last few seconds: a caller's, or else the reconciler's own canary. Worker processes that
hang are ended at once (`service.backend.liveness`); a model that is silent for longer, for whatever reason, is unloaded
and loaded again, unless the model server is starting a worker of it, which may be slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from mintage.limits import STARTING_S

from service.backend.model_server import ModelServer
from service.backend.protocol import messages
from service.errors import DeadlineExceeded, MintageError, ResourceExhausted
from service.models.loader import Loader
from service.models.pins import NoPins, Pins
from service.models.records import ModelRecord
from service.models.registry import Registry
from service.validation import ARCHIVE, MODEL_NAME, Violations, shown

PERIOD_S = 1.0  # between two passes; listing models costs the model server almost nothing
_SILENT_SERVER = "answers, but cannot be changed now: the model server does not answer"
STARTS = max(2, os.cpu_count() or 1)  # models that are restored at once
TURN_S = 60.0  # for which one may keep the next from it: two took so long where others took three quarters of a machine
MAX_PAUSE_S = 60.0  # between two attempts at a model that keeps failing: soon enough after a repair

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Attempts:
    """When something that keeps failing may be tried again: after 1, 2, 4, ..., 60 seconds."""

    pause_s: float = PERIOD_S
    not_before: float = float("-inf")

    def due(self) -> bool:
        return time.monotonic() >= self.not_before

    def failed(self) -> None:
        self.not_before = time.monotonic() + self.pause_s
        self.pause_s = min(MAX_PAUSE_S, 2 * self.pause_s)


@dataclass(slots=True)
class _Watch:
    """What the reconciler remembers about one backend name."""

    attempts: _Attempts = field(default_factory=_Attempts)
    silent_since: float | None = None
    unneeded_since: float | None = None


class Reconciler:
    """Reconciles the model server with the recorded models.

    Args:
        server: Where the models are.
        registry: What should be loaded; is told whether it answers.
        loader: Restores models.
        wanted: Archives by model name, loaded when no such model is recorded.
        canary_period_s: An inference older than this is followed by a canary.
        list_timeout_s: A model server that does not list its models within this time does not answer.
        canary_timeout_s: Longest time of a canary, which queues among all the requests of a model.
        restart_after_s: A loaded model that has been silent for this long is unloaded and loaded again.
        max_start_s: The same while the model server starts a worker of it, which a busy machine makes slow.
        starts: Models that are restored at once: more would share the processors, and all come back late.
        turn_s: How long a model that is being restored may keep the next from it.
        pins: Which models jobs need; these are reconciled too.
        release_after_s: A retired model that no job has needed for this long is unloaded.
    """

    def __init__(
        self,
        server: ModelServer,
        registry: Registry,
        loader: Loader,
        *,
        wanted: Mapping[str, str] | None = None,
        canary_period_s: float = 2.0,
        list_timeout_s: float = 5.0,
        canary_timeout_s: float = 10.0,
        restart_after_s: float = 30.0,
        max_start_s: float = STARTING_S,
        starts: int = STARTS,
        turn_s: float = TURN_S,
        pins: Pins | None = None,
        release_after_s: float = 60.0,
    ) -> None:
        self._server = server
        self._registry = registry
        self._loader = loader
        self._canary_period_s = canary_period_s
        self._list_timeout_s = list_timeout_s
        self._canary_timeout_s = canary_timeout_s
        self._restart_after_s = restart_after_s
        self._turns, self._turn_s = asyncio.Semaphore(starts), turn_s
        self._max_start_s = max_start_s
        self._pins = pins or NoPins()
        self._release_after_s = release_after_s
        self._watches: dict[str, _Watch] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._loads = {name: _Attempts() for name in wanted or {}}
        self._archives = dict(wanted or {})
        self.server_answers = False

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of wanted models that are not loaded yet."""
        return tuple(self._archives)

    async def run(self) -> None:
        """Reconcile until cancelled."""
        while True:
            try:
                await self.reconcile_once()
            except Exception:
                log.exception("the reconciler failed")
            await asyncio.sleep(PERIOD_S)

    async def reconcile_once(self) -> None:
        """Compare once, and start whatever must be done; `join` waits for it."""
        try:
            async with asyncio.timeout(self._list_timeout_s):
                loaded = frozenset(await self._server.list_models())
        except (MintageError, TimeoutError) as error:
            if self.server_answers:
                log.warning("the model server does not answer", error=repr(error))
            self._ask_models_alone()
            return
        self.server_answers, self._registry.notice = True, ""
        for entry in self._registry.entries():
            if entry.record is not None:
                self._archives.pop(entry.name, None)
                self._begin(entry.name, self._repair(entry.record, loaded))
                self._begin(f"/hung/{entry.name}", self._end_hung(entry.record, loaded))
        await self._begin_retired(loaded)
        for name, archive in self._archives.items():
            self._begin(name, self._load_wanted(name, archive))
        self._begin("/sweep", self._loader.sweep(loaded))

    async def _begin_retired(self, loaded: Collection[str]) -> None:
        """Reconcile the models that are kept for jobs alone, also while it is unknown whether they are needed."""
        retired = self._loader.retired.records()
        needed = await self._pins.needed() if retired else None
        for record in retired:
            watch = self._watches.setdefault(record.backend_name, _Watch())
            if needed is None or record.backend_name in needed:
                watch.unneeded_since = None
            else:
                watch.unneeded_since = watch.unneeded_since or time.monotonic()
            release = watch.unneeded_since and time.monotonic() - watch.unneeded_since >= self._release_after_s
            work = self._loader.release(record) if release else self._repair(record, loaded)
            self._begin(f"/retired/{record.backend_name}", work)
            self._begin(f"/hung/{record.backend_name}", self._end_hung(record, loaded))

    async def join(self) -> None:
        """Wait for everything that `reconcile_once` started."""
        await asyncio.gather(*self._tasks.values())

    async def close(self) -> None:
        """Cancel everything."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Work on a model in a task of its own, unless its last one is still running."""
        running = self._tasks.get(name)
        if running is not None and not running.done():
            work.close()
            return
        self._tasks = {key: task for key, task in self._tasks.items() if not task.done()}
        self._tasks[name] = asyncio.create_task(_logged(name, work))

    def _ask_models_alone(self) -> None:
        """Find out which models answer while the model server does not: one that hangs has not taken them along."""
        self.server_answers, self._registry.notice = False, _SILENT_SERVER
        records = [entry.record for entry in self._registry.entries() if entry.record is not None]
        for record in records:
            watch = self._watches.setdefault(record.backend_name, _Watch())
            self._begin(record.name, self._canary(record, watch))

    async def _repair(self, record: ModelRecord, loaded: Collection[str]) -> None:
        watch = self._watches.setdefault(record.backend_name, _Watch())
        try:
            if record.backend_name not in loaded:
                await self._restore(record, watch)
            elif self._needs_canary(record):
                await self._canary(record, watch)
        except Exception:
            self._registry.mark(record, "failed", "internal error; the log says more")
            raise

    def _needs_canary(self, record: ModelRecord) -> bool:
        condition = self._registry.condition(record)
        return condition.state != "ready" or time.monotonic() - condition.answered_at >= self._canary_period_s

    async def _restore(self, record: ModelRecord, watch: _Watch) -> None:
        if not watch.attempts.due():
            return
        self._registry.mark(record, "loading", "is being loaded into the model server")
        try:
            async with self._turn():
                await self._loader.restore(record)
        except MintageError as error:
            watch.attempts.failed()
            self._registry.mark(record, "failed", error.message)
        else:
            watch.attempts, watch.silent_since = _Attempts(), None

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for a turn to start workers, and keep it for as long as that takes, or `turn_s` at most."""
        await self._turns.acquire()
        kept = contextlib.ExitStack()
        kept.callback(self._turns.release)
        timer = asyncio.get_running_loop().call_later(self._turn_s, kept.close)
        try:
            yield
        finally:
            timer.cancel()
            kept.close()

    async def _canary(self, record: ModelRecord, watch: _Watch) -> None:
        start = time.monotonic()
        try:
            answer = await self._server.predict(
                record.backend_name, messages.canary_request(), timeout_s=self._canary_timeout_s
            )
            self._registry.withdrew(record, messages.read_canary(answer))
        except MintageError as error:
            others_were_answered = self._registry.condition(record).answered_at > start
            busy = isinstance(error, DeadlineExceeded | ResourceExhausted) and others_were_answered
            if not busy:
                await self._note_silence(record, watch, error)
        else:
            watch.silent_since = None
            self._registry.answered(record)

    async def _end_hung(self, record: ModelRecord, loaded: Collection[str]) -> None:
        """End the processes of a model that hang, or restart the model if that cannot be done from here."""
        if record.backend_name not in loaded:
            return
        while (health := await self._server.end_hung(record.backend_name)).silent:
            pass  # a second has passed meanwhile, and it will be heard or ended after a few
        if health.ended == health.present > 0:
            self._registry.mark(record, "failed", "its worker hung and was ended; another one starts")
        if health.beyond_reach and await self._loader.restart(record):
            log.warning("model restarted", model=record.name, hung=health.beyond_reach)

    async def _note_silence(self, record: ModelRecord, watch: _Watch, error: MintageError) -> None:
        if not self.server_answers:  # and so cannot start it again
            self._registry.mark(record, "failed", "the model server does not answer")
            return
        now = time.monotonic()
        self._registry.mark(record, "failed", error.message)
        watch.silent_since = watch.silent_since or now
        silent_s = now - watch.silent_since
        if silent_s < self._restart_after_s or (silent_s < self._max_start_s and await self._is_starting(record)):
            return
        if await self._loader.restart(record):
            log.warning("model restarted", model=record.name, silent_s=round(silent_s))
            watch.silent_since = None

    async def _is_starting(self, record: ModelRecord) -> bool:
        """Whether the model server starts a worker of a model: to unload the model would only begin that anew."""
        try:
            return await self._server.is_starting(record.backend_name)
        except MintageError:  # the next pass knows more
            return True

    async def _load_wanted(self, name: str, archive: str) -> None:
        attempts = self._loads[name]
        if not attempts.due():
            return
        try:
            await self._loader.load(name, archive, workers=1)
        except MintageError as error:
            attempts.failed()
            log.error("model not loaded", model=name, archive=archive, error=error.message)
        else:
            self._archives.pop(name, None)


def parse_wanted(text: str) -> dict[str, str]:
    """Read the setting load_models, NAME=ARCHIVE.mar separated by commas.

    Raises:
        InvalidArgument: naming each part that is wrong.
    """
    wanted: dict[str, str] = {}
    violations = Violations()
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, archive = part.partition("=")
        if not MODEL_NAME.fullmatch(f"models/{name}") or not ARCHIVE.fullmatch(archive):
            violations.add("MINTAGE_LOAD_MODELS", f"{shown(part)} is not NAME=ARCHIVE.mar with NAME of a-z, 0-9 and -")
        wanted[name] = archive
    violations.check()
    return wanted


async def _logged(name: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("the reconciler failed", model=name)
