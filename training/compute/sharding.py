"""Weights that the processes of one training share, so that a network may be larger than one device.

torchrun --nproc-per-node 2 -m service -- train face-neuron-xl --set sharding=yes --data frames/

Every weight is split along its first dimension; each process keeps its share and the optimiser state of that share
(fully sharded data parallelism). A part's weights are gathered from all processes before it is computed, and freed
afterwards; gradients are averaged on their way back to the shares. Checkpoints hold whole weights, so any number of
processes can resume, sharded or not.

During construction each process holds the whole network in host memory; the device never holds more than the shares
and the parts being computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, distributed, nn


def shard(network: nn.Module, parts: Iterable[nn.Module], device: torch.device, *, method: str) -> None:
    """Cut a network's weights, in place, into the shares of the processes that `training.compute.parallel.join` joined.

    Args:
        network: its weights become distributed tensors, moved to the device.
        parts: modules whose weights are needed together, in order of computation.
        device: of this process.
        method: of the network and each part, which computes besides `forward`.
    """
    from torch.distributed.device_mesh import init_device_mesh  # noqa: PLC0415 - a second that few need
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method  # noqa: PLC0415

    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    for module in (*parts, network):
        fully_shard(module, mesh=mesh)
        register_fsdp_forward_method(module, method)
    network.to(device)  # buffers


def is_share(tensor: Tensor) -> bool:
    """Return whether a tensor is distributed among processes, without importing its type."""
    return hasattr(tensor, "full_tensor")


def own_share(tensor: Tensor) -> Tensor:
    """Return this process's share as a view; a plain tensor is returned whole."""
    share: Tensor = tensor.to_local() if is_share(tensor) else tensor  # type: ignore[attr-defined]
    return share


def share_like(like: Tensor, whole: Tensor) -> Tensor:
    """Return this process's share of a whole tensor, distributed like another tensor."""
    if not is_share(like) or like.shape != whole.shape:
        return whole
    from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415

    known = like.device_mesh, like.placements  # type: ignore[attr-defined]
    return distribute_tensor(whole.to(like.device), *known, src_data_rank=None)


@torch.no_grad()
def collected(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Gather distributed tensors on the CPU; all processes must call it together.

    Args:
        tensors: by name, the same ones in every process.
        keep: whether this process keeps the result; otherwise it only sends its shares.
    """
    whole = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor() if is_share(tensor) else tensor  # type: ignore[attr-defined]
        if keep:
            whole[name] = full.cpu()
    return whole
