"""Random streams that depend only on (seed, purpose, images seen).

A loop that opens a fresh stream at each step draws the same numbers whether or not it was stopped and resumed.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def stream(seed: int, purpose: str, *, images_seen: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a random generator for one purpose at one point of a training.

    Args:
        seed: the run's seed.
        purpose: what the numbers are for; two purposes never share a stream.
        images_seen: the loop's counter, real unlabelled images consumed so far.
        device: device of the generator; a GPU draws different numbers from a CPU.
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}/{images_seen}".encode(), digest_size=8).digest()
    generator = torch.Generator(device)
    generator.manual_seed(int.from_bytes(digest, "big") >> 1)  # manual_seed takes 63 bits without wrapping
    return generator


@contextlib.contextmanager
def fresh_weights(seed: int) -> Iterator[None]:
    """Inside the context, networks built on the CPU get the initial weights of a run with that seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "weights").initial_seed())
        yield
