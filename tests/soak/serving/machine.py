"""How much of the machine others took during a soak: a start that is slow then says nothing about the product."""

from __future__ import annotations

import contextlib
import statistics
import threading
from collections import deque

import psutil

from tests.soak.history import History

PERIOD_S = 1.0
RECENT = 60  # such periods
_IDLE = ("idle", "iowait", "guest", "guest_nice")  # guests are counted in user and nice already


class Machine:
    """Notes every second which share of the cores' time others took, as `share` of the event `others`.

    Others are all processes but this one and those below it, and a hypervisor. What a process of ours used in the
    second in which it died counts as theirs.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._shares: deque[float] = deque(maxlen=RECENT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="machine", daemon=True)

    def __enter__(self) -> Machine:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        total, busy, ours = *_machine(), of_this_soak()
        while not self._stop.wait(PERIOD_S):
            before = total, busy, ours
            total, busy, ours = *_machine(), of_this_soak()
            own = sum(seconds - before[2].get(process, 0.0) for process, seconds in ours.items())
            others = (busy - before[1] - own) / max(total - before[0], 1e-6)
            share = round(min(1.0, max(0.0, others)), 3)
            self._shares.append(share)
            self._history.add("machine", "others", "ok", share=share)

    @property
    def left(self) -> float:
        """The share that others left on average of late, a tenth at least."""
        shares = list(self._shares)
        return max(0.1, 1.0 - statistics.fmean(shares)) if shares else 1.0


def _machine() -> tuple[float, float]:
    """Seconds of all cores since the machine started, and those in which they were not idle."""
    times = psutil.cpu_times()._asdict()
    idle = times["idle"] + times.get("iowait", 0.0)
    busy = sum(seconds for name, seconds in times.items() if name not in _IDLE)
    return idle + busy, busy


def of_this_soak() -> dict[psutil.Process, float]:
    """Seconds of processor time of this process and each below it."""
    own, found = psutil.Process(), {}
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            found[process] = times.user + times.system
    return found
