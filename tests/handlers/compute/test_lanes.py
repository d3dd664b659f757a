"""Passes of one thread each, where that helps."""

from __future__ import annotations

import pytest
import torch

from handlers.compute.lanes import Lanes, lanes_of
from training.recipes import Kind

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("threads", "kind", "device", "lanes"),
    [
        (1, "generator", CPU, Lanes(1, 1)),
        (2, "generator", CPU, Lanes(2, 1)),
        (2, "classifier", CPU, Lanes(2, 1)),
        (2, "neurons", CPU, Lanes(1, 2)),
        (2, "generator", GPU, Lanes(1, 2)),
        (32, "generator", CPU, Lanes(8, 4)),
    ],
)
def test_threads_are_shared_among_passes(threads: int, kind: Kind, device: torch.device, lanes: Lanes) -> None:
    torch.set_num_threads(threads)
    assert lanes_of(kind, device) == lanes
