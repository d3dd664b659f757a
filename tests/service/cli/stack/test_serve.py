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
