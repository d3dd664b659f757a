"""What the clients do: they create jobs of a few recipes, watch them, and steer them at random."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mintage.client import Client
from mintage.errors import ApiError
from mintage.retries import Retries
from mintage.v1 import jobs_pb2

from tests.soak.checker import TERMINAL
from tests.soak.history import History
from tests.soak.house import House, file_facts

PATIENT = Retries(attempts=40, max_pause_s=1.0, restart_attempts=80)
CLIENTS = ("ada", "bob", "cleo")
MAX_OPEN = 10
RATES = (0.0, 25.0, 50.0)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides a job's bytes. A score recipe scores a job of its source."""

    count: int
    shard_size: int
    seed: int
    format: str = "webdataset"
    scores: bool = False

    @property
    def name(self) -> str:
        """Name in the history."""
        kind = "score of " if self.scores else ""
        return f"{kind}{self.count} in {self.shard_size}, seed {self.seed}, {self.format}"


SAMPLES = (
    Recipe(24, 4, 1),
    Recipe(60, 7, 2),
    Recipe(200, 20, 3),
    Recipe(400, 100, 2**64 - 1),
    Recipe(60, 10, 4, "png"),
    Recipe(48, 12, 5, "parquet"),
    Recipe(48, 16, 6, "npz"),
)
SCORES = tuple(Recipe(r.count, r.shard_size, r.seed, r.format, scores=True) for r in SAMPLES)


def state_name(job: jobs_pb2.Job) -> str:
    """A job's state, without its prefix."""
    return jobs_pb2.Job.State.Name(job.state).removeprefix("STATE_")


def job_facts(job: jobs_pb2.Job) -> dict[str, Any]:
    """What the history keeps of a job."""
    progress = job.progress
    names = ("images_done", "images_committed", "shards_done", "shards_failed", "shards_total", "attempts")
    return {"job": job.name, "state": state_name(job), **{name: getattr(progress, name) for name in names}}


class Jobs:
    """The jobs that exist as far as the clients know. One that is scored is never deleted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recipes: dict[str, Recipe] = {}
        self._states: dict[str, str] = {}
        self._sources: set[str] = set()

    def add(self, name: str, recipe: Recipe) -> None:
        """Note a new job."""
        with self._lock:
            self._recipes[name] = recipe
            self._states.setdefault(name, "QUEUED")

    def saw(self, name: str, state: str) -> None:
        """Note a job's state."""
        with self._lock:
            if name in self._recipes:
                self._states[name] = state

    def remove(self, name: str) -> bool:
        """Take a job out that shall be deleted, unless it is a source."""
        with self._lock:
            if name in self._sources:
                return False
            self._states.pop(name, None)
            return self._recipes.pop(name, None) is not None

    def source(self, name: str) -> Recipe | None:
        """Take a job as a source; None if it is gone."""
        with self._lock:
            recipe = self._recipes.get(name)
            if recipe is not None:
                self._sources.add(name)
            return recipe

    def named(self, *states: str) -> list[str]:
        """Jobs in one of these states; all of them without any."""
        with self._lock:
            return sorted(name for name, state in self._states.items() if not states or state in states)

    def recipe(self, name: str) -> Recipe:
        """A job's recipe."""
        with self._lock:
            return self._recipes[name]

    def open(self) -> int:
        """How many are unfinished."""
        with self._lock:
            return sum(state not in TERMINAL for state in self._states.values())


class Workload:
    """The clients: a thread each, and a thread for each watch."""

    def __init__(self, house: House, history: History, seed: int) -> None:
        self._house = house
        self._history = history
        self._seed = seed
        self._stop = threading.Event()
        self._numbers = itertools.count(1)
        self._threads: list[threading.Thread] = []
        self.jobs = Jobs()
        self.errors: list[str] = []

    def start(self) -> None:
        """Let all clients begin."""
        for name in CLIENTS:
            self._thread(self._live, name, random.Random(f"{name} {self._seed}"))

    def stop(self) -> None:
        """Let clients end what they are at; watches go on to the ends of their jobs."""
        self._stop.set()

    def join(self, timeout_s: float) -> None:
        """Wait for every client and every watch."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def client(self, name: str = "soak") -> Client:
        """A client that waits as long as a restart takes."""
        return Client(self._house.engine.settings.api_address, retries=PATIENT, timeout_s=60.0, name=name)

    def get(self, client: Client, process: str, job: str) -> jobs_pb2.Job | None:
        """Look at a job."""
        asked_s = self._history.now()
        with contextlib.suppress(ApiError):
            seen = client.job(job)
            self._history.add(process, "get", "ok", asked_s=asked_s, **job_facts(seen))
            self.jobs.saw(job, state_name(seen))
            return seen
        return None

    def steer(self, process: str, operation: str, job: str, call: Callable[[str], Any]) -> bool:
        """Ask something of a job; tells whether that took effect."""
        self._history.add(process, operation, "invoke", job=job)
        try:
            call(job)
        except ApiError as error:
            kind, code = outcome(error)
            self._history.add(process, operation, kind, job=job, code=code)
            return False
        self._history.add(process, operation, "ok", job=job)
        return True

    def watch(self, process: str, job: str) -> None:
        """Watch a job to its end."""
        name = f"watch-{next(self._numbers)}"
        self._history.add(process, "watch", "invoke", job=job, watch=name)
        state = ""
        try:
            with self.client(process) as client:
                for seen in client.watch(job):
                    state = state_name(seen)
                    self._history.add(process, "seen", "ok", watch=name, **job_facts(seen))
                    self.jobs.saw(job, state)
        except ApiError as error:
            self._history.add(process, "watch", "fail", job=job, watch=name, error=str(error))
            return
        if state == "SUCCEEDED":
            folder = self._house.outputs / "jobs" / job.removeprefix("jobs/")
            self._history.add(process, "sealed", "ok", job=job, files=file_facts(folder))
        self._history.add(process, "watch", "ok", job=job, watch=name)

    def _thread(self, act: Callable[..., None], *arguments: Any) -> None:
        def run() -> None:
            try:
                act(*arguments)
            except Exception as error:  # the soak fails by it, but goes on
                self.errors.append(f"{act.__name__} {arguments}: {type(error).__name__}: {error}")

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _live(self, process: str, chance: random.Random) -> None:
        with self.client(process) as client:
            while not self._stop.wait(chance.uniform(0.05, 0.6)):
                acts = [self._create] * 4 + [self._score] + [self._look] * 2 + [self._steer] * 4 + [self._delete]
                chance.choice(acts)(client, process, chance)

    def _create(self, client: Client, process: str, chance: random.Random) -> None:
        """Create a job; sometimes twice at once, or again with other parameters."""
        if self.jobs.open() >= MAX_OPEN:
            return
        recipe, request_id = chance.choice(SAMPLES), f"{process}-{next(self._numbers)}"
        options = {"max_images_per_second": chance.choice(RATES), "priority": chance.randint(-3, 3)}
        other = chance.choice(SAMPLES)
        calls = [recipe] + [recipe] * (chance.random() < 0.3) + [other] * (chance.random() < 0.1)
        with self._at_once(len(calls)) as begin:
            for each in calls:
                begin(self._create_sample, process, each, request_id, options)
        if chance.random() < 0.7:
            for name in self.jobs.named("QUEUED")[-1:]:
                self._thread(self.watch, process, name)

    def _create_sample(self, process: str, recipe: Recipe, request_id: str, options: dict[str, Any]) -> None:
        with self.client(process) as client:
            self._created(
                process,
                recipe,
                request_id,
                lambda: client.create_sample_job(
                    "digits",
                    recipe.count,
                    shard_size=recipe.shard_size,
                    seed=recipe.seed,
                    format=recipe.format,
                    request_id=request_id,
                    **options,
                ),
            )

    def _score(self, client: Client, process: str, chance: random.Random) -> None:
        """Score a job that has succeeded."""
        done = self.jobs.named("SUCCEEDED")
        if not done or self.jobs.open() >= MAX_OPEN:
            return
        source = chance.choice(done)
        recipe = self.jobs.source(source)
        if recipe is not None and not recipe.scores:
            request_id = f"{process}-{next(self._numbers)}"
            scored = Recipe(recipe.count, recipe.shard_size, recipe.seed, recipe.format, scores=True)
            call = lambda: client.create_score_job("judge", source, request_id=request_id)  # noqa: E731
            self._created(process, scored, request_id, call)

    def _created(self, process: str, recipe: Recipe, request_id: str, call: Callable[[], jobs_pb2.Job]) -> None:
        facts = {"request_id": request_id, "recipe": recipe.name}
        self._history.add(process, "create", "invoke", **facts)
        try:
            job = call()
        except ApiError as error:
            kind, code = outcome(error)
            self._history.add(process, "create", kind, code=code, **facts)
            return
        self._history.add(process, "create", "ok", job=job.name, **facts)
        self.jobs.add(job.name, recipe)

    def _look(self, client: Client, process: str, chance: random.Random) -> None:
        for job in chance.sample(known := self.jobs.named(), min(3, len(known))):
            self.get(client, process, job)

    def _steer(self, client: Client, process: str, chance: random.Random) -> None:
        acts = {
            "pause": (client.pause, ("RUNNING", "QUEUED")),
            "resume": (client.resume, ("PAUSED",)),
            "cancel": (client.cancel, ("RUNNING", "QUEUED", "PAUSED")),
            "retry": (client.retry, ("FAILED", "PARTIALLY_SUCCEEDED")),
        }
        operation = chance.choice(["pause", "pause", "resume", "resume", "resume", "cancel", "retry", "retry"])
        call, states = acts[operation]
        jobs = self.jobs.named(*states)
        if jobs:
            job = chance.choice(jobs)
            self.steer(process, operation, job, call)
            self.get(client, process, job)

    def _delete(self, client: Client, process: str, chance: random.Random) -> None:
        jobs = self.jobs.named()
        if len(jobs) > MAX_OPEN and self.jobs.remove(job := chance.choice(jobs)):
            self.steer(process, "delete", job, lambda name: client.delete(name, force=True))

    @contextlib.contextmanager
    def _at_once(self, count: int) -> Iterator[Callable[..., None]]:
        """Begin calls in threads of their own, all together, and wait for them."""
        barrier, threads = threading.Barrier(count), []

        def begin(act: Callable[..., None], *arguments: Any) -> None:
            def run() -> None:
                barrier.wait(10)
                act(*arguments)

            threads.append(threading.Thread(target=run, daemon=True))
            threads[-1].start()

        yield begin
        for thread in threads:
            thread.join()


def outcome(error: ApiError) -> tuple[Any, str]:
    """Whether a call that failed had no effect, or nobody knows; and its status."""
    code = error.code.name
    known = code in ("INVALID_ARGUMENT", "ALREADY_EXISTS", "FAILED_PRECONDITION", "NOT_FOUND")
    return ("fail" if known else "info"), code
