"""Training by several processes, each with a share of every batch.

torchrun --nproc-per-node 2 -m service -- train dcgan64 --data photos/

The recipe's batch is divided into equal shares; two processes take the same steps as one, up to rounding. For that,
anything that looks across a batch looks across all shares: `global_rows` returns the rows of all processes, with their
gradient. Every process draws latents and noise for the whole batch and keeps its own rows. All of this applies only
inside `shared_batches()`, and a single process does none of it.

After each backward pass the gradients are averaged, as one vector, in one call. DistributedDataParallel would
overlap communication with computation, which pays off for far larger networks. But it requires one forward pass per
backward pass, and a GAN's generator learns through a discriminator that is held constant. torch's SyncBatchNorm does
not support CPUs.

Only the first process writes, reports and decides; `first` tells the others. The number of processes is not part of a
run's identity: any number can resume it.
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

_kinds: tuple[int, ...] | None = None  # None outside `shared_batches`; else the sizes of `kinds`, () for one kind


def join(device: torch.device) -> None:
    """Join the processes that torchrun started, until this process ends; without torchrun, do nothing.

    Args:
        device: of this process; GPUs communicate by NCCL, CPUs by gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    atexit.register(distributed.destroy_process_group)


def processes() -> int:
    """Return the number of processes that train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Return whether this is the process that writes and decides."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def must_be_shared(batches: Mapping[str, int]) -> None:
    """Refuse batches that cannot be divided equally among the processes.

    Args:
        batches: sizes by the recipe's field.

    Raises:
        RecipeError: if a size is not a multiple of the number of processes.
    """
    for field, images in batches.items():
        if images % processes():
            raise RecipeError(
                f"{field}={images} cannot be shared by {processes()} processes: take a multiple of {processes()}, "
                "or another number of processes"
            )


def first(action: Callable[[], Result]) -> Result:
    """Run an action in the first process, and return its result, or raise its error, in all processes."""
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
    """Return the values of all processes, in order."""
    if processes() == 1:
        return [value]
    values: list[Any] = [None] * processes()
    distributed.all_gather_object(values, value)
    return values


@torch.no_grad()
def spread(network: nn.Module) -> None:
    """Copy the first process's weights to all processes, in case their processors round differently."""
    if processes() > 1:
        for tensor in network.state_dict().values():
            values = tensor.contiguous()  # maps may be channels-last
            distributed.broadcast(values, src=0)
            tensor.copy_(values)


@contextlib.contextmanager
def shared_batches() -> Iterator[None]:
    """Inside the context, batches are this process's shares, and the functions below see all shares."""
    if processes() == 1:
        yield
        return
    with _within(()):
        yield


def is_sharing() -> bool:
    """Return whether a batch is this process's share of a larger one."""
    return _kinds is not None


@contextlib.contextmanager
def kinds(sizes: Sequence[int]) -> Iterator[None]:
    """Inside the context, a batch holds several kinds of rows in turn, this process's share of each.

    Args:
        sizes: this process's rows of each kind; they decide which rows of drawn noise are its own.
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
    """Draw random rows for the whole batch, as a single process would, and return this process's rows.

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
    """Return the rows [N, ...] of all processes, with their gradient; `rows` is this one's [N / processes, ...]."""
    return rows if _kinds is None else _Gathered.apply(rows)  # type: ignore[no-untyped-call]


def global_mean(value: Tensor) -> Tensor:
    """Return the mean over all processes of a value of any shape, with its gradient."""
    return value if _kinds is None else global_rows(value[None]).mean(dim=0)


@torch.no_grad()
def average_gradients(weights: Iterable[Tensor]) -> None:
    """Average the gradients of weights over all processes; those of sharded weights already are."""
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
    """Return the means of named numbers over all processes; a value not finite in one is so in all."""
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
