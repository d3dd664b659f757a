"""Plain Celery in each row: a broker and two workers of its own each time, all restarted when they die."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import redis

from benchmarks.job_peers import history
from benchmarks.job_peers.brokers import READY_S, Broker, Kind
from benchmarks.job_peers.history import Note, count
from benchmarks.job_peers.rows import (
    BACKLOG_S,
    DRAIN_S,
    LIMIT_S,
    LONG_S,
    OBSERVED_S,
    POISON_S,
    WORKERS,
    Cell,
    after,
    wait_until,
)
from benchmarks.job_peers.rules import QUEUE, RECOVERY_S, build
from service.processes.supervisor import Process, Supervisor

ROOT = Path(__file__).resolve().parent.parent.parent


class Celery:
    """A broker, and workers once they are started; a context manager that stops them.

    Args:
        kind: Of the broker.
        folder: New, for everything.
        variables: Of the workers, PEER_*.
    """

    def __init__(self, kind: Kind, folder: Path, **variables: str) -> None:
        self.kind = kind
        self.supervisor = Supervisor(folder / "logs")
        self.broker = Broker(kind, folder / "broker", self.supervisor)
        self.history = folder / "history"
        backend = {"Redis": self.broker.url, "RabbitMQ": "rpc://"}[kind] if "PEER_BACKEND" in variables else ""
        queues = variables.get("PEER_QUEUES", QUEUE).split(",")
        self.app = build(self.broker.url, backend, queues)
        self._environment: Mapping[str, str] = {
            **os.environ,
            **variables,
            "PYTHONPATH": str(ROOT),
            "PEER_BROKER": self.broker.url,
            "PEER_BACKEND": backend,
            history.VARIABLE: str(self.history),
        }

    def __enter__(self) -> Celery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.app.close()
        self.supervisor.stop()

    def work(self) -> Celery:
        """Start the workers, and restart from now on whatever dies."""
        for number in range(1, WORKERS + 1):
            command = ["-m", "celery", "-A", "benchmarks.job_peers.tasks", "worker", "-c", "1", "-n", f"{number}@peer"]
            process = self.supervisor.start(
                f"worker-{number}",
                [sys.executable, "-P", *command, "-l", "INFO"],
                self._environment,
                ready=lambda number=number: "ready." in self.worker(number).log.text(),  # type: ignore[misc]
                timeout_s=READY_S,
            )
            assert process.alive()
        self.supervisor.watch()
        return self

    def worker(self, number: int) -> Process:
        """One worker."""
        return self.supervisor.processes[f"worker-{number}"]

    def kill(self, number: int) -> float:
        """Kill a worker with its pool; its time."""
        self.worker(number).signal_group(signal.SIGKILL)
        return time.time()

    def send(self, name: str, *arguments: Any, queue: str = QUEUE) -> Any:
        """Queue a unit."""
        return self.app.send_task(name, arguments, queue=queue)

    def notes(self, event: str = "", unit: int | None = None) -> list[Note]:
        """What was noted, of one event and unit if told."""
        every = history.read(self.history)
        return [one for one in every if event in ("", one.event) and unit in (None, one.unit)]

    def ended(self) -> list[int]:
        """The units that ended, as often as they did."""
        return [one.unit for one in self.notes("end")]

    def all_end(self, units: int, limit_s: float = LIMIT_S) -> bool:
        """Wait until each unit ended at least once."""
        return wait_until(lambda: len(set(self.ended())) == units, limit_s)


Open = Callable[..., Celery]


def killed_worker(open_: Open, _: int) -> Cell:
    """Six units of 4 s; the worker that has the first is killed after a second."""
    with open_().work() as celery:
        for unit in range(6):
            celery.send("work", unit, 4.0)
        wait_until(lambda: len(celery.notes("start")) >= WORKERS)
        time.sleep(1.0)
        lost = next(one for one in celery.notes("start") if one.worker == celery.worker(1).pid)
        killed = celery.kill(1)
        wait_until(lambda: len(celery.notes("start", lost.unit)) > 1)
        celery.all_end(6)
        time.sleep(RECOVERY_S)
        again = celery.notes("start", lost.unit)[1:]
        taken = again[0].time - killed if again else None
        return Cell(after(taken, "the lost unit starts again"), count(celery.ended(), range(6)), taken)


def killed_idle(open_: Open, _: int) -> Cell:
    """Both workers are stopped while they wait; eight units arrive; both are killed."""
    with open_().work() as celery:
        time.sleep(3.0)
        for number in range(1, WORKERS + 1):
            celery.worker(number).signal_group(signal.SIGSTOP)
        for unit in range(8):
            celery.send("work", unit, 0.5)
        time.sleep(1.0)
        killed = max(celery.kill(number) for number in range(1, WORKERS + 1))
        celery.all_end(8, 3 * RECOVERY_S + 15.0)
        time.sleep(2.0)
        done = count(celery.ended(), range(8))
        taken = None if done.never else max(one.time for one in celery.notes("end")) - killed
        lost = f"what the workers were about to take is lost (looked for {3 * RECOVERY_S + 15:g} s)"
        return Cell(after(taken, "all are done") if taken is not None else lost, done, taken)


def killed_broker(open_: Open, _: int) -> Cell:
    """Twenty units of 0.5 s; the broker is killed after four."""
    with open_().work() as celery:
        for unit in range(20):
            celery.send("work", unit, 0.5)
        wait_until(lambda: len(celery.ended()) >= 4)
        time.sleep(1.2)  # Valkey syncs its file once a second
        killed = time.time()
        celery.broker.process.signal_group(signal.SIGKILL)
        celery.all_end(20)
        time.sleep(RECOVERY_S + 2.0)
        starts = [one.time for one in celery.notes("start") if one.time > killed]
        second = len({one.worker for one in celery.notes("end") if one.time > killed + 5.0})
        taken = min(starts) - killed if starts else None
        last = max(one.time for one in celery.notes("end")) - killed
        word = (
            f"{after(taken, 'a unit starts again')}, {last:.0f} s until the last end, by {second} of {WORKERS} workers"
        )
        return Cell(word, count(celery.ended(), range(20)), taken)


def long_unit(open_: Open, _: int) -> Cell:
    """One unit that takes longer than the broker waits for its acknowledgement."""
    with open_().work() as celery:
        celery.send("work", 0, LONG_S)
        wait_until(lambda: bool(celery.notes("start")))
        time.sleep(OBSERVED_S)
        starts, ends = celery.notes("start"), celery.notes("end")
        word = f"started {len(starts)} times and ended {len(ends)} times in {OBSERVED_S:g} s"
        queued = ", and still running" if len(starts) > len(ends) and _runs(celery) else ""
        restarts = sum(celery.worker(number).restarts for number in range(1, WORKERS + 1))
        ended = f"; workers ended with an error and were restarted {restarts} times" if restarts else ""
        figures = {"starts": len(starts), "ends": len(ends), "restarts": restarts}
        return Cell(word + queued + ended, count(celery.ended(), [0]), figures=figures)


def _runs(celery: Celery) -> bool:
    return celery.notes()[-1].time > time.time() - 2.0


def poison(open_: Open, _: int) -> Cell:
    """A unit that kills its process, and four good ones; on Redis also with a bounded number of retries."""
    with open_().work() as celery:
        runs, going, done = _poisoned(celery)
    word = f"{runs} runs in {POISON_S:g} s" + (", and it goes on" if going else ", then the message is gone")
    with open_(PEER_RETRY="1").work() as celery:
        retried, still, _also = _poisoned(celery)
    also = f"with `task_retry_on_worker_lost`: {retried} runs" + (", and it goes on" if still else ", then failed")
    figures = {"runs": runs, "retried_runs": retried}
    return Cell(f"{word}; {also}", done, figures=figures, counted="good units:")


def _poisoned(celery: Celery) -> tuple[int, bool, history.Done]:
    celery.send("die", 9)
    for unit in range(4):
        celery.send("work", unit, 0.2)
    time.sleep(POISON_S)
    starts = celery.notes("start", 9)
    return len(starts), starts[-1].time > time.time() - POISON_S / 3, count(celery.ended(), range(4))


def queued(open_: Open, units: int) -> Cell:
    """Many units that do nothing: the time to accept them, the broker's memory, and how fast they are done."""
    with open_() as celery:
        celery.send("nothing", -1)
        before, begin = _memory(celery), time.perf_counter()
        with celery.app.producer_pool.acquire(block=True) as producer:
            for unit in range(units):
                celery.app.send_task("nothing", (unit,), queue=QUEUE, producer=producer)
        accepted, held = time.perf_counter() - begin, _memory(celery) - before
        celery.work()
        wait_until(lambda: len(celery.notes("end")) > 10)
        time.sleep(DRAIN_S)
        ends = [one.time for one in celery.notes("end")]
        rate = (len(ends) - 1) / (ends[-1] - ends[0])
    word = f"{units:,} accepted in {accepted:.1f} s, broker + {held:.0f} MiB, {rate:,.0f} done a second"
    return Cell(word, seconds=accepted, figures={"units": units, "broker_mib": held, "units_per_second": rate})


def _memory(celery: Celery) -> float:
    if celery.kind == "RabbitMQ":
        return celery.broker.resident_mib()
    with redis.Redis.from_url(celery.broker.url) as client:
        return int(client.info("memory")["used_memory"]) / 2**20


def cancel(open_: Open, _: int) -> Cell:
    """A unit of 60 s, revoked with `terminate=True` after 2 s."""
    with open_().work() as celery:
        task = celery.send("work", 0, 60.0)
        wait_until(lambda: bool(celery.notes("start")))
        time.sleep(2.0)
        revoked = time.time()
        celery.app.control.revoke(task.id, terminate=True, signal="SIGKILL")
        time.sleep(RECOVERY_S + 5.0)
        steps, starts = celery.notes("step"), celery.notes("start")
        running = steps[-1].time > time.time() - 2.0
        taken = None if running else max(steps[-1].time - revoked, 0.0)
        word = "not stopped" if running else f"stopped after {max(steps[-1].time - revoked, 0.0):.1f} s"
        return Cell(f"{word} by killing its process; {len(starts)} starts", seconds=taken)


def unheard(open_: Open, _: int) -> Cell:
    """A unit is queued and revoked while no worker runs."""
    with open_() as celery:
        task = celery.send("work", 0, 0.5)
        celery.app.control.revoke(task.id, terminate=True)
        time.sleep(1.0)
        celery.work()
        celery.all_end(1, 10.0)
        done = len(celery.ended())
    return Cell("runs all the same" if done else "does not run", figures={"runs": done})


def progress(open_: Open, _: int) -> Cell:
    """A unit of 50 steps that calls `update_state`, asked for twenty times a second."""
    with open_(PEER_BACKEND="1").work() as celery:
        task = celery.send("counted", 0, 50)
        seen: set[int] = set()

        def ended() -> bool:
            state, info = task.state, task.info
            if state == "PROGRESS" and isinstance(info, dict):
                seen.add(info["done"])
            return bool(state == "SUCCESS")

        good = wait_until(ended, 60.0)
        task.forget() if celery.kind == "Redis" else None
    word = f"{len(seen)} values of one task whose code reports them; none over all tasks, no time left"
    return Cell(word if good else f"{word}; its end was not seen", figures={"values": len(seen)})


def fair(open_: Open, _: int) -> Cell:
    """Units of 0.2 s for 30 s of one client, then one of another: in one queue, then in a queue for each client."""
    together, apart = (_served(open_, queues) for queues in ((QUEUE, QUEUE), ("a", "b")))
    word = f"served after {together:.1f} s; with a queue for each, named to the workers at start, {apart:.1f} s"
    return Cell(word, seconds=together, figures={"own_queue_s": apart})


def _served(open_: Open, queues: tuple[str, str]) -> float:
    units = int(BACKLOG_S / 0.2) * WORKERS
    with open_(PEER_QUEUES=",".join(dict.fromkeys(queues))).work() as celery:
        for unit in range(1, units + 1):
            celery.send("work", unit, 0.2, queue=queues[0])
        wait_until(lambda: len(celery.ended()) >= 4)
        begin = time.time()
        celery.send("work", 0, 0.2, queue=queues[1])
        wait_until(lambda: 0 in celery.ended())
        return celery.notes("end", 0)[0].time - begin


TRIED: Mapping[str, Callable[[Open, int], Cell]] = {
    "worker": killed_worker,
    "idle": killed_idle,
    "broker": killed_broker,
    "long": long_unit,
    "poison": poison,
    "queued": queued,
    "cancel": cancel,
    "unheard": unheard,
    "progress": progress,
    "fair": fair,
}
