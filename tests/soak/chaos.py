"""What goes wrong: one fault after the other, drawn at random, each in the history with its beginning and its end."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import grpc
import psutil
import redis

from service.jobs.messages.app import QUEUE_KEY
from tests.soak.history import History
from tests.soak.house import LEASE_S, NAMES, WORKERS, House

PAUSE_S = (0.2, 1.5)


class Chaos:
    """Makes faults until it is told to stop, then heals everything."""

    def __init__(self, house: House, history: History, seed: int) -> None:
        self._house = house
        self._history = history
        self._random = random.Random(f"chaos {seed}")
        self._stop = threading.Event()
        self.counts: Counter[str] = Counter()
        self.last = ""
        faults: list[tuple[int, Callable[[], None]]] = [
            (6, self._kill_process),
            (3, self._kill_pool_process),
            (3, self._terminate_worker),
            (3, self._freeze),
            (1, self._kill_valkey),
            (3, self._drop_messages),
            (3, self._double_messages),
            (5, self._disturb_connections),
            (2, self._model_is_away),
            (2, self._model_fails),
        ]
        self._faults = [fault for weight, fault in faults for _ in range(weight)]

    def run(self) -> None:
        """Make faults until `stop`."""
        while not self._stop.wait(self._random.uniform(*PAUSE_S)):
            self._random.choice(self._faults)()
        for proxy in self._house.proxies.values():
            proxy.heal()
        self._house.models.failures.clear()

    def stop(self) -> None:
        """Let the fault that is going on be the last one."""
        self._stop.set()

    @contextlib.contextmanager
    def _fault(self, what: str, victim: str = "", **facts: object) -> Iterator[None]:
        self.counts[what] += 1
        self.last = f"{what} {victim}".strip()
        self._history.add("chaos", what, "invoke", victim=victim, **facts)
        yield
        self._history.add("chaos", what, "ok", victim=victim)

    def _signal(self, name: str, number: signal.Signals) -> None:
        self._house.supervisor.processes[name].signal_group(number)

    def _kill_process(self) -> None:
        name = self._random.choice(NAMES)
        with self._fault("kill -9", name):
            self._signal(name, signal.SIGKILL)

    def _kill_pool_process(self) -> None:
        name = self._random.choice(WORKERS)
        with self._fault("kill -9 of a pool process", name), contextlib.suppress(psutil.Error):
            for child in psutil.Process(self._house.supervisor.processes[name].pid).children(recursive=True):
                if "spawn_main" in " ".join(child.cmdline()):
                    child.kill()

    def _terminate_worker(self) -> None:
        name = self._random.choice(WORKERS)
        with self._fault("SIGTERM", name), contextlib.suppress(ProcessLookupError):
            os.kill(self._house.supervisor.processes[name].pid, signal.SIGTERM)

    def _freeze(self) -> None:
        name, seconds = self._random.choice(NAMES), self._random.uniform(0.5, 2.5) * LEASE_S
        with self._fault("SIGSTOP and SIGCONT", name, seconds=seconds):
            self._signal(name, signal.SIGSTOP)
            self._stop.wait(seconds)
            self._signal(name, signal.SIGCONT)

    def _kill_valkey(self) -> None:
        with self._fault("kill valkey"):
            self._signal("valkey", signal.SIGKILL)
            time.sleep(0.2)
            while not self._house.valkey.answers():
                time.sleep(0.05)

    def _drop_messages(self) -> None:
        with self._fault("drop messages"), self._redis() as client:
            if self._random.random() < 0.3:
                client.delete(QUEUE_KEY)
            else:
                client.rpop(QUEUE_KEY, self._random.randint(1, 3))

    def _double_messages(self) -> None:
        with self._fault("double messages"), self._redis() as client:
            messages = list(client.lrange(QUEUE_KEY, 0, -1))
            for message in self._random.sample(messages, len(messages)):
                client.lpush(QUEUE_KEY, message)

    def _disturb_connections(self) -> None:
        roles = self._random.choice([("api",), ("dispatcher",), ("worker",), tuple(self._house.proxies)])
        verb = self._random.choice(["slow", "reset", "cut", "half-open", "blackhole"])
        seconds = self._random.uniform(0.2, 1.5 * LEASE_S)
        with self._fault(f"connections {verb}", " ".join(roles), seconds=seconds):
            for role in roles:
                proxy = self._house.proxies[role]
                acts = {"reset": proxy.reset, "half-open": proxy.half_open, "blackhole": proxy.blackhole}
                if verb in acts:
                    acts[verb]()
                elif verb == "slow":
                    proxy.slow(0.2)
                else:
                    proxy.cut_after(self._random.randint(1, 3000))
            self._stop.wait(seconds)
            for role in roles:
                self._house.proxies[role].heal()

    def _model_is_away(self) -> None:
        with self._fault("model UNAVAILABLE"):
            self._house.models.failures += [grpc.StatusCode.UNAVAILABLE] * self._random.randint(1, 20)

    def _model_fails(self) -> None:
        with self._fault("model INTERNAL"):
            self._house.models.failures += [grpc.StatusCode.INTERNAL] * self._random.randint(1, 8)

    @contextlib.contextmanager
    def _redis(self) -> Iterator[redis.Redis]:
        with contextlib.closing(self._house.valkey.client()) as client, contextlib.suppress(redis.RedisError):
            yield client
