"""Runs child processes on one machine: a log file and a session each, restarts, and an end that leaves nothing.

A process that dies is started again. One that hangs, such as a JVM that was stopped, does not die: those that are given
a question to answer are asked it every few seconds, and ended if they leave several unanswered in a row.

Used by `mintage up`, by `mintage demo` and by the end-to-end tests, so all of them run the same real parts.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.processes import tied
from service.processes.log_file import LogFile

RESTART_PAUSE_S = 1.0  # between two starts of a process that dies at once: no busy loop
ASK_S = 2.0  # between two questions to a process whether it still answers
MAX_SILENCES = 4  # in a row; counted rather than timed, so that a pause of the whole machine counts once
MAX_STARTING = 60  # the same of a process that has not answered yet
STOP_TIMEOUT_S = 20.0  # before SIGKILL; longer than MINTAGE_DRAIN_S and the last words after it


class ProcessFailedError(Exception):
    """Raised when a process ends, or is not ready in time, while the stack starts."""


@dataclass(slots=True)
class Process:
    """One supervised process: how to start it, and the child that runs now."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: LogFile
    child: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    last_start: float = field(default=0.0)
    mend: Callable[[], str | None] | None = None

    def start(self) -> None:
        """Start the child in a session of its own, its output appended to the log file."""
        with self.log.open() as output:
            self.child = subprocess.Popen(
                [sys.executable, "-I", "-S", tied.__file__, str(os.getpid()), *self.command],
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.last_start = time.monotonic()

    def put_right(self) -> None:
        """Put right what may keep it from starting again, and note in its log what was done."""
        try:
            done = self.mend() if self.mend else None
        except OSError as error:
            done = f"{self.name} cannot be put right: {error}"
        if done:
            self.log.append(done)

    @property
    def role(self) -> str:
        """The name without its number: `worker` of `worker-2`."""
        return self.name.partition("-")[0]

    @property
    def pid(self) -> int:
        """Process id of the child; it is also the id of its process group."""
        if self.child is None:
            raise ProcessFailedError(f"{self.name} was not started")
        return self.child.pid

    def alive(self) -> bool:
        """Tell whether the child runs."""
        return self.child is not None and self.child.poll() is None

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the child and all that it started, if any of them is left."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def group_alive(self) -> bool:
        """Tell whether anything of the child's process group still runs."""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        return not _are_zombies(self.pid)


def _are_zombies(group: int) -> bool:
    """Tell whether all that is left of a process group has ended, and waits for init to notice, which may be slow."""
    states = []
    for path in Path("/proc").glob("[0-9]*/stat"):  # none on macOS
        with contextlib.suppress(OSError):  # it has gone meanwhile
            state, _, of = path.read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()[:3]
            states += [state] if int(of) == group else []
    return bool(states) and set(states) <= {"Z", "X"}


class Supervisor:
    """Starts processes in order, restarts those that die, rotates their logs, stops them in reverse order.

    A context manager: leaving it stops everything, whatever happened inside.

    Args:
        log_dir: Where their logs are.
        together: Roles that need nothing of each other, and are stopped as one.
        killed: Roles that have nothing to bring to an end once those started after them are gone: SIGKILL is their end.
    """

    def __init__(self, log_dir: Path, together: Collection[str] = (), killed: Collection[str] = ()) -> None:
        self.log_dir = log_dir
        self._together = frozenset(together)
        self._killed = frozenset(killed)
        self.processes: dict[str, Process] = {}
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._restarting = threading.Lock()
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        ready: Callable[[], bool],
        timeout_s: float,
        mend: Callable[[], str | None] | None = None,
    ) -> Process:
        """Start one process and wait until it is ready.

        Args:
            name: what it is called: its role, and a number if there are several.
            command: program and arguments.
            environment: all of its variables.
            ready: tells whether it can be used.
            timeout_s: how long to wait for that, s.
            mend: called before each restart, to put right what may keep it from starting; returns what it did.

        Raises:
            ProcessFailedError: if it ends or is not ready in time; the end of its log is in the message.
        """
        process = Process(name, command, environment, LogFile(self.log_dir / f"{name}.log"), mend=mend)
        self.processes[name] = process
        process.start()
        self.wait(process, ready, timeout_s)
        return process

    def wait(self, process: Process, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `ready` answers True.

        Raises:
            ProcessFailedError: if the process ends or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while not (ready() and process.alive()):
            if not process.alive() or time.monotonic() > deadline:
                what = "is not ready in time" if process.alive() else "ended while starting"
                raise ProcessFailedError(f"{process.name} {what}; the end of {process.log}:\n{process.log.tail()}")
            time.sleep(0.05)

    def watch(self, answers: Mapping[str, Callable[[], bool]] | None = None) -> None:
        """Restart, from now on, every process that dies, and rotate the logs.

        Args:
            answers: by the name of a process, a function that asks it something and says within some seconds whether it
                answered. A process that leaves four such questions in a row unanswered is killed, and so restarted.
        """
        self._watcher = threading.Thread(target=self._restart_the_dead, name="supervisor", daemon=True)
        self._watcher.start()
        for name, asked in (answers or {}).items():
            threading.Thread(target=self._end_if_silent, args=(name, asked), name=f"asks {name}", daemon=True).start()

    def stop(self) -> None:
        """Stop every process, the last started first: SIGTERM, then SIGKILL to whatever is left of its group.

        Those that have nothing to bring to an end are killed at once.

        Those of one role (`worker-1`, `worker-2`), and of roles that need nothing of each other, are stopped together,
        since each takes a while to leave.
        """
        with _uninterrupted():
            with self._restarting:
                self._stopping.set()
            for _, same in itertools.groupby(reversed(self.processes.values()), self._stopped_with):
                stopped = list(same)
                for process in stopped:
                    if process.role in self._killed and process.alive():
                        process.signal_group(signal.SIGKILL)
                _stop(stopped)
            self._stopped.set()
            if self._watcher is not None:
                self._watcher.join()

    def leftovers(self) -> list[str]:
        """Name the processes of which something still runs."""
        return [process.name for process in self.processes.values() if process.group_alive()]

    def _stopped_with(self, process: Process) -> str:
        return min(self._together) if process.role in self._together else process.role

    def _restart_the_dead(self) -> None:
        # A child whose parent thread ends gets SIGTERM (`tied`), so this thread outlives those it started.
        while not self._stopped.wait(0.1):
            for process in self.processes.values():
                process.log.rotate()
                with self._restarting:
                    if not self._stopping.is_set():
                        _restart_if_dead(process)

    def _end_if_silent(self, name: str, answers: Callable[[], bool]) -> None:
        """Ask a process again and again, and kill a child that hangs."""
        process, asked, silences, has_answered = self.processes[name], None, 0, False
        while not self._stopping.wait(ASK_S):
            if process.child is not asked:
                asked, silences, has_answered = process.child, 0, False
            answered = answers()
            silences, has_answered = 0 if answered else silences + 1, has_answered or answered
            if silences < (MAX_SILENCES if has_answered else MAX_STARTING):
                continue
            silences = 0
            with self._restarting:
                if not self._stopping.is_set() and process.child is asked and process.alive():
                    process.log.append(f"{name} does not answer: it is killed, and started again")
                    process.signal_group(signal.SIGKILL)


def _restart_if_dead(process: Process) -> None:
    if not process.alive() and time.monotonic() > process.last_start + RESTART_PAUSE_S:
        process.signal_group(signal.SIGKILL)
        process.restarts += 1
        process.put_right()
        process.start()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore further Ctrl-C until the clean end is done (signals reach the main thread only)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _stop(processes: list[Process]) -> None:
    """Stop some processes together."""
    started = [(process, process.child) for process in processes if process.child is not None]
    for process, child in started:
        if process.alive():
            child.terminate()
            child.send_signal(signal.SIGCONT)  # one that was stopped could not leave
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for process, child in started:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(deadline - time.monotonic(), 0.0))
        process.signal_group(signal.SIGKILL)
        child.wait()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while any(process.group_alive() for process, _ in started) and time.monotonic() < deadline:
        time.sleep(0.01)
