"""How a processor's cores are shared by forward passes: several passes at once, of a thread each.

Threads of one pass wait for each other after every layer, and for whichever core the network's callers have just used.
A pass of one thread waits for nobody: in the same processor time, two at once made 1.15 times the images of one on two
threads in passes of 1, 1.06 times in passes of 64, and as many in passes of 32 (DCGAN of 64 x 64, two AMD EPYC cores,
one of them busy).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from training.recipes import Kind

MOST = 8  # at once: between their layers they take turns at Python's lock


@dataclass(frozen=True, slots=True)
class Lanes:
    """Passes at once.

    Attributes:
        count: Passes at once.
        threads: Of each pass. Bits can depend on that number, and sizes are proven with this one.
    """

    count: int = 1
    threads: int = 1


def lanes_of(kind: Kind, device: torch.device) -> Lanes:
    """Share the threads of this process among passes of a model.

    A GPU has one pass at once; so has an autoencoder, of which even a lone image takes a long pass of 32 rows.
    """
    threads = torch.get_num_threads()
    count = min(threads, MOST) if device.type == "cpu" and kind != "neurons" else 1
    return Lanes(count, threads // count)
