"""Rewrites a network for serving, and says which version of our arithmetic that is."""

from __future__ import annotations

from torch import nn

from handlers.compute.fast.batch_norm import fold_batch_norm
from handlers.compute.fast.bfloat16 import compute_in_bfloat16
from handlers.compute.fast.weight_norm import fold_weight_norm
from handlers.compute.precision import Precision
from training.networks.pair import Pair
from training.networks.sparse_autoencoder import SparseAutoencoder

# Raise it with every change of a rewriting that may change the last bit of an answer: archives that were packed before
# are then refused, and jobs that began before end with an error instead of with other bytes.
NUMERICS = 2


def is_plain(network: nn.Module) -> bool:
    """Whether a network is served as it is, in float32: autoencoders and pairs are asked for what is inside them."""
    return any(isinstance(module, SparseAutoencoder | Pair) for module in network.modules())


def rewrite(network: nn.Module, precision: Precision) -> None:
    """Rewrite a network with its weights in eval mode, in place, on the CPU.

    Args:
        network: of any family, with the names of layers that ours have.
        precision: of its products.
    """
    if is_plain(network):
        return
    fold_weight_norm(network)
    fold_batch_norm(network)
    if precision == "bfloat16":
        compute_in_bfloat16(network)
