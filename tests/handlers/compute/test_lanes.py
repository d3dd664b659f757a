"""As many passes at once as there are cores, of one thread each."""

from __future__ import annotations

import pytest
import torch

from handlers.compute import device
from handlers.compute.lanes import MOST, lanes_of
from training.compute.threads import usable_cores

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("threads", "on", "lanes"),
    [("1", CPU, 1), ("2", CPU, 2), ("1000", CPU, MOST), ("0", CPU, min(MOST, usable_cores())), ("8", GPU, 1)],
)
def test_a_processor_computes_a_pass_per_core(
    threads: str, on: torch.device, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINTAGE_WORKER_THREADS", threads)
    assert lanes_of(on) == lanes


def test_a_pass_has_one_thread_whatever_the_machine_so_that_its_bits_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINTAGE_WORKER_THREADS", "8")
    torch.set_num_threads(2)
    device.make_deterministic()
    assert torch.get_num_threads() == 1
