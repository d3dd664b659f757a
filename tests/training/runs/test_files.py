"""Files of runs: the same content gives the same bytes."""

from __future__ import annotations

import torch
from safetensors.torch import load, save

from training.runs.files import encoded


def test_weights_of_one_content_are_one_file() -> None:
    tensors = {"b": torch.arange(3), "a": torch.ones(2, 2)}
    metadata = {name: name for name in "zyxwvuts"}

    made = {encoded(tensors, metadata) for _ in range(8)}

    assert len({save(tensors, metadata) for _ in range(8)}) > 1  # the library alone does not see to it
    [content] = made
    found = load(content)
    assert found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)
