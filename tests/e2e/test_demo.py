"""The demo as a new user runs it, and as an impatient one stops it."""

from __future__ import annotations

import base64
import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.faults.engine import wait_until
from tests.support.command_line import check_json

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short name: TorchServe's sockets lie below it, and the system bounds their paths."""
    return tmp_path_factory.mktemp("demo")


def demo(folder: Path, *options: str, stderr: int = subprocess.STDOUT) -> subprocess.Popen[str]:
    """Start the demo with the shortest training."""
    command = [sys.executable, "-m", "service", "demo", "--folder", str(folder), "--seconds", "5", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def running(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [child for child in processes if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_the_demo_runs_the_whole_line_and_proves_it(folder: Path) -> None:
    process = demo(folder, "--json", stderr=subprocess.PIPE)
    said, output = process.communicate()

    assert process.returncode == 0, output
    [found] = check_json(["demo", "--json"], said)
    assert found["report"] == str(folder / "report.html") and found["facts"]
    assert re.search(r"worker killed +worker-\d \(SIGKILL\)", output), output
    assert "2,000 images, 0 missing, 0 twice; all 8 shard digests as in the manifest" in output
    assert "number 1,000 of the job equals, bit for bit" in output
    assert re.search(r"classifier score +\d\.\d\d ± \d\.\d\d of at most 10", output), output
    assert "nothing is left running" in output
    with Image.open(folder / "generated.png") as picture:
        assert picture.size[0] > 16 * 28
    page = (folder / "report.html").read_text()
    pictures = re.findall(r'img src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == page.count("<img") == 3
    assert all(Image.open(io.BytesIO(base64.b64decode(picture))).size[0] > 100 for picture in pictures)
    manifests = folder.glob("state/outputs/jobs/*/manifest.json")
    jobs = [json.loads(path.read_text()) for path in manifests]
    assert sorted(len(job["shards"]) for job in jobs) == [8, 8]


@pytest.mark.parametrize("moment", ["starting API", "running: "])
def test_ctrl_c_ends_the_demo_and_leaves_no_process(folder: Path, moment: str) -> None:
    process = demo(folder)
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if moment in line:
                break
        children = family(process)
        process.send_signal(signal.SIGINT)
        try:
            status = process.wait(timeout=180)
        finally:
            process.kill()

    assert status == 130
    assert children
    wait_until(lambda: not running(children), "the end of every process")
