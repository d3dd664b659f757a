"""`mintage serve` and `mintage check`: what they print for programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.faults.engine import wait_until
from tests.support.valkey import Valkey


def test_a_process_logs_objects_and_is_checked_by_one(valkey: Valkey, tmp_path: Path) -> None:
    environment = {**os.environ, "MINTAGE_REDIS_URL": valkey.url, "MINTAGE_STATE_DIR": str(tmp_path)}
    log = tmp_path / "log"

    def mintage(*words: str) -> list[str]:
        return [sys.executable, "-m", "service", *words]

    def checked() -> subprocess.CompletedProcess[str] | None:
        done = subprocess.run(
            mintage("check", "dispatcher", "--json"), env=environment, capture_output=True, text=True, check=False
        )
        return done if done.returncode == 0 else None

    with (
        log.open("w") as stderr,
        subprocess.Popen(
            mintage("serve", "dispatcher", "--json"), env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process,
    ):
        try:
            found = wait_until(checked, "the dispatcher works")
        finally:
            process.send_signal(signal.SIGTERM)
            printed, _ = process.communicate()

    assert json.loads(found.stdout) == {"process": "dispatcher", "ok": True}
    assert (found.stdout.count("\n"), found.stderr) == (1, "")
    assert (process.returncode, printed) == (0, "")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines and all(isinstance(line, dict) for line in lines)


TOLD_WHILE_STARTING = """
import signal, sys

class Destroyed:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

class Told:
    def find_spec(self, name, *_):
        if name == "service.jobs.dispatch":
            Destroyed()
            print("starts on", flush=True)

from service.__main__ import main
sys.meta_path.insert(0, Told())
sys.argv = ["mintage", "serve", "dispatcher"]
main()
"""


def test_a_process_that_is_told_to_leave_while_it_starts_does_so_at_once() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", TOLD_WHILE_STARTING], capture_output=True, text=True, check=False, timeout=120
    )
    assert (ended.returncode, ended.stdout) == (-signal.SIGTERM, "")
