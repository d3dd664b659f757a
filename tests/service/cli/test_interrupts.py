"""How a command that a signal interrupted leaves."""

from __future__ import annotations

import subprocess
import sys

import pytest

LEAVES = """
import atexit, sys
from service.cli import interrupts
atexit.register(print, "given back")
interrupts.leave(int(sys.argv[1]))
print("went on")
"""


@pytest.mark.parametrize(
    ("status", "ends", "said"),
    [(130, 130, "given back\n"), (143, 143, "given back\n"), (1, 0, "went on\ngiven back\n")],
)
def test_an_interrupted_command_leaves_at_once_but_gives_back_what_is_registered(
    status: int, ends: int, said: str
) -> None:
    ended = subprocess.run([sys.executable, "-c", LEAVES, str(status)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (ends, said)
