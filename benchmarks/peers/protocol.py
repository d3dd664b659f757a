"""What every server of the comparison is asked, and the size of its answers. Free of torch, so clients start fast."""

from __future__ import annotations

import json
from typing import Literal

Form = Literal["built", "folded", "ours"]
Asked = tuple[int, int, int]  # seed, first index, count

SHAPE = (64, 64, 3)
IMAGE_BYTES = 64 * 64 * 3
PASS = 64  # rows of a forward pass at most: more gain nothing on a CPU and keep others waiting


def request(first_index: int, count: int) -> bytes:
    """Write a request for consecutive samples of seed 1."""
    return json.dumps({"seed": 1, "first_index": first_index, "count": count}).encode()


def read_request(body: bytes) -> Asked:
    """Read a request."""
    values = json.loads(body)
    return values["seed"], values["first_index"], values["count"]
