"""CPU seconds from /proc, of this process and its children."""

from __future__ import annotations

import os
import subprocess
import sys

from service.cli.load import processor

BURN = "import time\nwhile time.process_time() < {seconds}: pass\nprint('done', flush=True)\ninput()"


def test_a_tree_holds_its_children() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BURN.format(seconds=0.3)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == b"done\n"
        alone = processor.of_tree(child.pid)
        assert alone >= 0.29  # the kernel counts in hundredths
        assert processor.of_tree(os.getpid()) >= alone
        child.communicate(b"\n")
    assert processor.of_tree(child.pid) == 0


def test_roles_are_known_by_their_command_lines() -> None:
    code = BURN.format(seconds=0.1)
    with subprocess.Popen(
        [sys.executable, "-c", code, "-m", "service", "serve", "api"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == b"done\n"
        assert processor.of_mintage()["API"] > 0
        child.communicate(b"\n")


def test_cores_are_seconds_per_second() -> None:
    before, after = {"API": 1.0}, {"API": 3.0, "model worker": 1.0}
    assert processor.cores_between(before, after, 2.0) == {"API": 1.0, "model worker": 0.5}
