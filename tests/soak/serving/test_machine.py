"""What others take of the machine is noted beside what happens, and what the soak itself computes is not theirs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from tests.handlers.serving.fakes import wait_until
from tests.soak.history import History, read
from tests.soak.serving.machine import Machine, of_this_soak


def test_the_share_of_others_is_in_the_history(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    with Machine(history):
        wait_until(lambda: len(read(history.path)) > 1)
    history.close()
    assert all(0.0 <= event.facts["share"] <= 1.0 for event in read(history.path))


def test_what_a_process_below_this_one_computes_is_not_of_others() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        try:
            process = psutil.Process(child.pid)
            before = of_this_soak()[process]
            wait_until(lambda: of_this_soak()[process] > before)
        finally:
            child.kill()
