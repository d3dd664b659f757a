"""How a processor's cores are shared by forward passes: several passes at once, of one thread each.

A pass has one thread on every machine, so its bits never depend on how many cores there are. Threads of one pass would
also wait for each other after every layer, and for whichever core the network's callers have just used: in the same
processor time, two passes at once made 1.15 times the images of one on two threads in passes of 1, 1.06 times in passes
of 64, and as many in passes of 32 (DCGAN of 64 x 64, two AMD EPYC cores, one of them busy).
"""

from __future__ import annotations

import os

import torch

from training.compute.threads import usable_cores

MOST = 16  # at once: between their layers they take turns at Python's lock


def lanes_of(device: torch.device) -> int:
    """Return how many passes this process computes at once: MINTAGE_WORKER_THREADS, else one per core; one on a GPU."""
    if device.type != "cpu":
        return 1
    return min(MOST, int(os.environ.get("MINTAGE_WORKER_THREADS", "0")) or usable_cores())
