"""Dropout."""

from __future__ import annotations

import pytest
import torch

from training.layers import Dropout


def test_dropped_inputs_are_zero_and_the_others_are_scaled_up() -> None:
    outputs = Dropout(0.2)(torch.ones(20_000), torch.Generator().manual_seed(3))

    assert sorted(set(outputs.tolist())) == [0.0, 1.25]
    assert (outputs == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert outputs.mean().item() == pytest.approx(1.0, abs=0.02)


def test_dropout_is_drawn_from_the_generator_and_is_absent_without_one() -> None:
    dropout = Dropout(0.5)
    inputs = torch.rand(100)

    once = dropout(inputs, torch.Generator().manual_seed(3))
    again = dropout(inputs, torch.Generator().manual_seed(3))

    assert torch.equal(once, again)
    assert dropout(inputs, None) is inputs


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_leaves_nothing_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="0 <= share < 1"):
        Dropout(share)
