"""What a worker process sets before it computes."""

from __future__ import annotations

import subprocess
import sys

START = """
import sys
import torch
from handlers.compute import device
from handlers.entry_points import classifier, discriminator, generator, neurons
device.make_deterministic()
assert torch.get_deterministic_debug_mode() == 2, "not deterministic"
assert not {"torch._dynamo", "torch._inductor", "sympy"} & set(sys.modules), "a compiler"
"""


def test_a_worker_is_deterministic_and_does_not_import_compilers_that_it_has_no_use_for() -> None:
    started = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=False)

    assert started.returncode == 0, started.stderr
