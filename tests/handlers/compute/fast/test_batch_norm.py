"""A folded batch normalisation is in the layer before it."""

from __future__ import annotations

import copy

import torch
from torch import nn

from handlers.compute.fast.batch_norm import fold_batch_norm
from tests.handlers.compute.fast.conftest import GENERATORS, inputs_of, stirred


def test_every_norm_becomes_an_identity_and_every_layer_before_one_gets_a_bias() -> None:
    plain = stirred(GENERATORS["dcgan"])
    folded = copy.deepcopy(plain)
    fold_batch_norm(folded)
    norms: nn.ModuleList = folded.norms  # type: ignore[assignment]
    assert all(isinstance(norm, nn.Identity) for norm in norms)
    layers: list[nn.Module] = [folded.project, *folded.hidden]  # type: ignore[list-item, misc]
    assert all(layer.bias is not None for layer in layers)
    torch.testing.assert_close(folded(*inputs_of("dcgan")), plain(*inputs_of("dcgan")), rtol=1e-5, atol=1e-6)
