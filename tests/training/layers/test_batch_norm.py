"""Batch normalisation without a scale."""

from __future__ import annotations

import pytest
import torch

from training.layers import ShiftOnlyBatchNorm


@pytest.mark.parametrize("shape", [(100, 2), (20, 2, 3, 5)])
def test_shift_only_batch_norm_normalises_and_shifts(shape: tuple[int, ...]) -> None:
    norm = ShiftOnlyBatchNorm(2)
    with torch.no_grad():
        norm.shift.copy_(torch.tensor([1.0, -1.0]))

    outputs = norm(torch.randn(shape) * 7 + 3)

    over = [0, *range(2, len(shape))]
    torch.testing.assert_close(outputs.mean(over), torch.tensor([1.0, -1.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs.std(over, correction=0), torch.ones(2), atol=1e-3, rtol=0)
    assert [name for name, _ in norm.named_parameters()] == ["shift"]


def test_resetting_forgets_what_was_seen_before() -> None:
    norm = ShiftOnlyBatchNorm(2)
    norm(torch.randn(10, 2) * 9 + 50)
    batch = torch.randn(1000, 2)

    norm.reset_statistics()
    outputs = norm(batch)

    torch.testing.assert_close(norm.eval()(batch), outputs, atol=5e-3, rtol=0)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \[N, F\] or \[N, C, H, W\], got \[4, 2, 3\]"):
        ShiftOnlyBatchNorm(2)(torch.zeros(4, 2, 3))
