"""One training by several processes, each with a share of every batch.

torchrun --nproc-per-node 2 -m service -- train dcgan64 --data photos/

The batch is the recipe's, cut in equal parts; two processes take the steps of one, but for rounding. So that this holds
for batch statistics too, whatever looks across a batch looks across all shares: it asks `global_rows` for the rows of
the others, whose gradient finds its way back. Latents and noise are drawn for the whole batch by every process, which
keeps its own rows of them. All of it is inside `shared_batches()` alone, and nothing at all in a single process.

After each backward pass the gradients are averaged, as one vector, in one call. DistributedDataParallel would send
them in pieces while others are still computed, which pays for far larger networks; in exchange it wants one forward
pass a backward pass, which a GAN does not have, for the generator learns through a discriminator that is held constant.
torch's SyncBatchNorm has no form for CPUs.

The first process alone writes, reports and decides; the others hear from it through `first`. The number of processes
is no part of what a run is: any number can go on with it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from training.compute.sharding import is_share
from training.errors import RecipeError

Result = TypeVar("Result")

_kinds: tuple[int, ...] | None = None  # None outside `shared_batches`; else as `kinds` says, () for one kind


def join(device: torch.device) -> None:
    """Join the processes that torchrun started, for the rest of this one's life; alone, do nothing.

    Args:
        device: what this process computes on; between GPUs tensors go by NCCL, between CPUs by gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    atexit.register(distributed.destroy_process_group)


def processes() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Say whether this process is the one that writes and decides."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def must_be_shared(batches: Mapping[str, int]) -> None:
    """Refuse batches that cannot be cut in equal parts.

    Args:
        batches: their sizes, by the recipe's field.

    Raises:
        RecipeError: if one is no multiple of the number of processes.
    """
    for field, images in batches.items():
        if images % processes():
            raise RecipeError(
                f"{field}={images} cannot be shared by {processes()} processes: take a multiple of {processes()}, "
                "or another number of processes"
            )


def first(action: Callable[[], Result]) -> Result:
    """Do something in the first process alone, and return its result, or raise its error, in all of them."""
    if processes() == 1:
        return action()
    outcome: list[Any] = [None, None]
    if is_first():
        try:
            outcome[0] = action()
        except Exception as error:
            outcome[1] = error
    distributed.broadcast_object_list(outcome, src=0, device=torch.device("cpu"))
    result, failure = outcome
    if failure is not None:
        raise failure
    return result  # type: ignore[no-any-return]


def everyone(value: Result) -> list[Result]:
    """Return what all processes say, in their order."""
    if processes() == 1:
        return [value]
    values: list[Any] = [None] * processes()
    distributed.all_gather_object(values, value)
    return values


@torch.no_grad()
def spread(network: nn.Module) -> None:
    """Give all processes the first one's weights, in case their processors round differently."""
    if processes() > 1:
        for tensor in network.state_dict().values():
            values = tensor.contiguous()  # maps may be channels-last
            distributed.broadcast(values, src=0)
            tensor.copy_(values)


@contextlib.contextmanager
def shared_batches() -> Iterator[None]:
    """Inside, batches are this process's shares, and the functions below look beyond them."""
    if processes() == 1:
        yield
        return
    with _within(()):
        yield


def is_sharing() -> bool:
    """Say whether a batch is this process's share of a larger one."""
    return _kinds is not None


@contextlib.contextmanager
def kinds(sizes: Sequence[int]) -> Iterator[None]:
    """Inside, a batch is several kinds of rows one after the other: of each kind this process's share.

    Args:
        sizes: how many rows of each kind this process has; they say which rows of the noise are its own.
    """
    if _kinds is None:
        yield
        return
    with _within(tuple(sizes)):
        yield


def own(rows: Tensor) -> Tensor:
    """Return this process's share [N / processes, ...] of rows [N, ...] of one kind."""
    if _kinds is None:
        return rows
    return _part(rows)


def drawn(draw: Callable[[Sequence[int]], Tensor], shape: Sequence[int]) -> Tensor:
    """Draw random rows for the whole batch, as one process would, and return this process's own.

    Args:
        draw: returns random numbers of a shape.
        shape: [N / processes, ...], this process's.
    """
    if _kinds is None:
        return draw(shape)
    rows = draw((shape[0] * processes(), *shape[1:]))
    sizes = _kinds or (shape[0],)
    return torch.cat([_part(kind) for kind in torch.split(rows, [size * processes() for size in sizes])])


def global_rows(rows: Tensor) -> Tensor:
    """Return the rows [N, ...] of all processes, of which this one has [N / processes, ...], with their gradient."""
    return rows if _kinds is None else _Gathered.apply(rows)  # type: ignore[no-untyped-call]


def global_mean(value: Tensor) -> Tensor:
    """Return the mean over all processes of a value of any shape, with its gradient."""
    return value if _kinds is None else global_rows(value[None]).mean(dim=0)


@torch.no_grad()
def average_gradients(weights: Iterable[Tensor]) -> None:
    """Replace the gradients of weights by their mean over all processes; those of sharded weights are that already."""
    if processes() == 1:
        return
    gradients = [weight.grad for weight in weights if weight.grad is not None and not is_share(weight)]
    if not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= processes()
    for gradient, mean in zip(gradients, torch.split(flat, [gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view(gradient.shape))


def averaged(values: Mapping[str, float]) -> dict[str, float]:
    """Return the means over all processes of named numbers; one that is not finite anywhere is so everywhere."""
    if processes() == 1:
        return dict(values)
    means = torch.tensor(list(values.values()), dtype=torch.float64)
    distributed.all_reduce(means)
    return dict(zip(values, (means / processes()).tolist(), strict=True))


class _Gathered(torch.autograd.Function):
    """The rows of all processes; the gradient of a row is the sum of what all of them send back to it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(processes())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (upstream,) = gradients
        total = upstream.contiguous().clone()
        distributed.all_reduce(total)
        return _part(total)


def _part(rows: Tensor) -> Tensor:
    size = len(rows) // processes()
    return rows[distributed.get_rank() * size :][:size]


@contextlib.contextmanager
def _within(sizes: tuple[int, ...]) -> Iterator[None]:
    global _kinds  # noqa: PLW0603 - what the layers ask for, deep inside the networks of a step
    before, _kinds = _kinds, sizes
    try:
        yield
    finally:
        _kinds = before
