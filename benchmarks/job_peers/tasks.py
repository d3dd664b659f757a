"""The tasks that Celery's workers run in the comparison: they note when they start, step and end.

Read by `celery -A`, so what it needs comes from PEER_* variables.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from benchmarks.job_peers.history import note
from benchmarks.job_peers.rules import DELIVERIES, QUEUE, build

STEP_S = 0.1

app = build(
    os.environ["PEER_BROKER"],
    os.environ.get("PEER_BACKEND", ""),
    os.environ.get("PEER_QUEUES", QUEUE).split(","),
    retry="PEER_RETRY" in os.environ,
)


@app.task(name="work")  # type: ignore[untyped-decorator]
def work(unit: int, seconds: float) -> None:
    """Work for so long, with a note at each step."""
    note("start", unit)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, STEP_S))
        note("step", unit)
    note("end", unit)


@app.task(name="die", max_retries=DELIVERIES - 1, default_retry_delay=1)  # type: ignore[untyped-decorator]
def die(unit: int) -> None:
    """Kill the process that works."""
    note("start", unit)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="counted", bind=True)  # type: ignore[untyped-decorator]
def counted(self: Any, unit: int, steps: int) -> None:
    """Work, and say at each step how far it is."""
    note("start", unit)
    for step in range(steps):
        time.sleep(STEP_S)
        self.update_state(state="PROGRESS", meta={"done": step + 1, "total": steps})
    note("end", unit)


@app.task(name="nothing")  # type: ignore[untyped-decorator]
def nothing(unit: int) -> None:
    """Do nothing but note it."""
    note("end", unit)
