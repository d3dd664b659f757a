"""Weights that the processes of one training share, so that a network may be larger than one device.

torchrun --nproc-per-node 2 -m service -- train face-neuron-xl --set sharding=yes --data frames/

Every weight is cut along its first dimension, of which each process keeps its share, with the moments of the optimiser
that go with it (fully sharded data parallelism). Before a part of the network is computed its weights are collected
from all processes, and let go of afterwards; its gradients are averaged on the way back to their shares. What is
checkpointed is whole, so that any number of processes can go on, sharded or not.

While the network is built, each process has all of it in the memory of the host; on the device there is never more than
the shares and the parts that are being computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, distributed, nn


def shard(network: nn.Module, parts: Iterable[nn.Module], device: torch.device, *, method: str) -> None:
    """Cut a network's weights, in place, into the shares of the processes that `training.compute.parallel.join` joined.

    Args:
        network: its weights become distributed tensors, moved to the device.
        parts: modules whose weights are needed together, in the order in which they are computed.
        device: of this process.
        method: of the network and of every part, by which they compute beside `forward`.
    """
    from torch.distributed.device_mesh import init_device_mesh  # noqa: PLC0415 - a second that few need
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method  # noqa: PLC0415

    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    for module in (*parts, network):
        fully_shard(module, mesh=mesh)
        register_fsdp_forward_method(module, method)
    network.to(device)  # what is no weight


def is_share(tensor: Tensor) -> bool:
    """Say whether a tensor is distributed, and this process has a share of it; asked without importing the type."""
    return hasattr(tensor, "full_tensor")


def own_share(tensor: Tensor) -> Tensor:
    """Return the share of this process, as a view; of a plain tensor all of it."""
    share: Tensor = tensor.to_local() if is_share(tensor) else tensor  # type: ignore[attr-defined]
    return share


def share_like(like: Tensor, whole: Tensor) -> Tensor:
    """Return of a whole tensor, which all processes have, this one's share, distributed like another tensor."""
    if not is_share(like) or like.shape != whole.shape:
        return whole
    from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415

    known = like.device_mesh, like.placements  # type: ignore[attr-defined]
    return distribute_tensor(whole.to(like.device), *known, src_data_rank=None)


@torch.no_grad()
def collected(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Return distributed tensors whole, on the CPU; all processes must ask at once.

    Args:
        tensors: by name, the same ones in every process.
        keep: whether this process wants them; without, it only sends its shares.
    """
    whole = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor() if is_share(tensor) else tensor  # type: ignore[attr-defined]
        if keep:
            whole[name] = full.cpu()
    return whole
