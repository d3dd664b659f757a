"""What goes wrong with models and processes: one thing after the other, drawn at random, each in the history."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import grpc
import psutil
from mintage._client.channels import OPTIONS

from tests.soak.history import History
from tests.soak.serving.callers import LOADING_S, Callers
from tests.soak.serving.house import BROKEN, GUEST_ARCHIVE, SERVED, SWAPPED, House, thaw
from tests.soak.serving.questions import Question, request_of

PAUSE_S = (0.5, 5.0)
RESTART_S = 40.0  # of quiet after TorchServe was killed, so that it is seen how long it takes
EVERY = tuple(SERVED)


class Chaos:
    """Makes faults and changes until it is told to stop, then heals everything."""

    def __init__(self, house: House, callers: Callers, history: History, seed: int) -> None:
        self._house = house
        self._callers = callers
        self._history = history
        self._random = random.Random(f"chaos {seed}")
        self._stop = threading.Event()
        self._frozen: list[psutil.Process] = []
        self._archives = itertools.cycle(reversed(SWAPPED))
        self.counts: Counter[str] = Counter()
        self.last = ""
        faults: list[tuple[int, Callable[[], None]]] = [
            (6, self.swap),
            (4, self._scale),
            (3, self._come_and_go),
            (2, self._load_broken),
            (4, self._freeze_worker),
            (2, self._freeze_worker_for_a_moment),
            (4, self._kill_worker),
            (2, self._kill_api),
            (1, self._kill_torchserve),
            (3, self._fill_disk),
        ]
        self._faults = [fault for weight, fault in faults for _ in range(weight)]

    def run(self) -> None:
        """Make faults until `stop`; each kind once, in some order, before they are drawn."""
        kinds = list(dict.fromkeys(self._faults))
        self._random.shuffle(kinds)
        while not self._stop.wait(self._random.uniform(*PAUSE_S)):
            (kinds.pop() if kinds else self._random.choice(self._faults))()
        thaw(self._frozen)

    def stop(self) -> None:
        """Let the fault that is going on be the last one."""
        self._stop.set()

    def swap(self) -> None:
        """Replace the model `swap`."""
        self._change("swap", "LoadModel", name="models/swap", archive=next(self._archives))

    def _scale(self) -> None:
        model, workers = self._random.choice(("gen", "judge")), self._random.randint(1, 2)
        self._change(f"scale to {workers}", "ScaleModel", name=f"models/{model}", workers=workers)

    def _come_and_go(self) -> None:
        self._change("load", "LoadModel", name="models/guest", archive=GUEST_ARCHIVE, return_immediately=True)
        self._change("watch", "WatchModel", name="models/guest")
        self._change("unload", "UnloadModel", name="models/guest")

    def _load_broken(self) -> None:
        self._change("load broken", "LoadModel", name="models/swap", archive=BROKEN)

    def _freeze_worker(self) -> None:
        model = self._random.choice(EVERY)
        with self._fault("SIGSTOP of a worker", (model,)):
            self._frozen += (hit := self._hit(model, signal.SIGSTOP))
        if hit and self._random.random() < 0.5:
            self._change("scale frozen", "ScaleModel", name=f"models/{model}", workers=1)

    def _freeze_worker_for_a_moment(self) -> None:
        model = self._random.choice(EVERY)
        with self._fault("SIGSTOP of a worker, then SIGCONT", (model,)):
            hit = self._hit(model, signal.SIGSTOP)
            self._stop.wait(self._random.uniform(0.5, 6.0))
            thaw(hit)

    def _kill_worker(self) -> None:
        model = self._random.choice(EVERY)
        with self._fault("SIGKILL of a worker", (model,)):
            self._hit(model, signal.SIGKILL)

    def _kill_api(self) -> None:
        with self._fault("SIGKILL of the API", EVERY):
            os.killpg(self._house.pid("api"), signal.SIGKILL)

    def _kill_torchserve(self) -> None:
        with self._fault("SIGKILL of TorchServe", EVERY):
            os.killpg(self._house.pid("torchserve"), signal.SIGKILL)
        self._stop.wait(RESTART_S)

    def _fill_disk(self) -> None:
        with self._fault("full disk", EVERY):
            try:
                self._house.disk.fill(self._house.pid("api"))
                self._change("load on a full disk", "LoadModel", name="models/guest", archive=GUEST_ARCHIVE)
                self._stop.wait(self._random.uniform(1.0, 4.0))
            finally:
                self._house.disk.free(self._house.pid("api"))

    @contextlib.contextmanager
    def _fault(self, what: str, models: Sequence[str]) -> Iterator[None]:
        """Count a fault; `models` are those that may answer with an error for a while."""
        self.counts[what] += 1
        self.last = f"{what} {models[0] if len(models) == 1 else ''}".strip()
        self._history.add("chaos", what, "invoke", models=list(models))
        yield
        self._history.add("chaos", what, "ok", models=list(models))

    def _hit(self, model: str, number: signal.Signals) -> list[psutil.Process]:
        """Send a signal to one worker of a model; returns it."""
        processes = self._house.workers(model)
        hit = self._random.sample(processes, 1) if processes else []
        for process in hit:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
        return hit

    def _change(self, what: str, method: str, **fields: object) -> None:
        """Have the API change a model; whether it does is not the promise, but how it answers is."""
        self.counts[what] += 1
        self.last = what
        name = f"/mintage.v1.ModelService/{method}"
        with grpc.insecure_channel(self._house.address, options=[*OPTIONS, ("grpc.enable_http_proxy", 0)]) as channel:
            self._callers.call(channel, f"chaos: {what}", Question(name, request_of(name, fields)), LOADING_S)
