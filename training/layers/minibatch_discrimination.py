"""Minibatch discrimination: how close an image is to the others of its batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.compute import parallel

SMALLEST_DISTANCE = 1e-6  # keeps the scales finite if a batch repeats one example


class _PairDistances(torch.autograd.Function):
    """|a_i - a_j|_1 of all pairs, with a hand-written gradient: on a CPU `torch.cdist` takes twice the time.

    From dL/dD = U follows dL/da_i = sum over j of (U_ij + U_ji) sign(a_i - a_j), one dimension after the other.
    """

    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        ctx.save_for_backward(vectors)  # [C, B, N]
        distances = vectors.new_zeros(*vectors.shape[1:], vectors.shape[2])  # [B, N, N]
        for entries in vectors:
            distances += (entries[:, :, None] - entries[:, None, :]).abs_()
        return distances

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (vectors,) = ctx.saved_tensors
        (upstream,) = gradients
        both = upstream + upstream.transpose(1, 2)
        signs = ((entries[:, :, None] - entries[:, None, :]).sign_() for entries in vectors)
        return torch.stack([sign.mul_(both).sum(dim=2) for sign in signs])


class MinibatchDiscrimination(nn.Module):
    """Append each example's closeness to its neighbours to its features, Salimans et al. 2016, section 3.2.

    With M_i = f(x_i) T in R^(B x C) and rows M_ib, kernel b's feature is (arXiv:1606.03498)

        o(x_i)_b = sum over j != i of exp(-|M_ib - M_jb|_1),

    and the output is f(x_i) followed by o(x_i) + b. The paper's sum includes j = i, a constant 1 that its published
    code masks. As there, the columns of T are normalised, T = exp(s) t / |t|, and `initialise_from` sets s so that
    nearest neighbours are 2 apart. With kernels drawn from N(0, 1) alone, wide inputs are so far apart
    that every exp underflows to 0, and its gradient too.

    A training batch must be of one kind: call the layer once for real images and once for generated images. A served
    answer must not depend on its neighbours, so `among_reference` compares each example with the same stored ones.

    Args:
        in_features: A, width of the input.
        kernels: B; 100 in the published code.
        dimensions: C; 5 in the published code.
        reference_size: number of examples stored for `among_reference`; as many as a training batch has.
    """

    reference: Tensor

    def __init__(self, in_features: int, *, kernels: int = 100, dimensions: int = 5, reference_size: int = 100) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.empty(kernels, dimensions, in_features).normal_(0.0, 0.05))  # t
        self.log_scale = nn.Parameter(torch.zeros(kernels, dimensions))  # s
        self.bias = nn.Parameter(torch.full((kernels,), -1.0))  # b
        self.register_buffer("reference", torch.zeros(reference_size, in_features))

    @property
    def out_features(self) -> int:
        """Width of the output, A + B."""
        return self.direction.shape[2] + len(self.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [N, A] to [N, A + B]; the N examples are each other's neighbours, all real or all generated."""
        everyone = parallel.global_rows(inputs)
        return self._joined(inputs, parallel.own(_closeness(self._neighbour_distances(everyone))))

    def among_reference(self, inputs: Tensor) -> Tensor:
        """Map [N, A] to [N, A + B], comparing each example with the stored ones only, as if in their batch."""
        projected, reference = (
            self._projected(rows).permute(1, 2, 0) for rows in (inputs, self.reference)
        )  # [B, N, C]
        distances = torch.cdist(projected, reference, p=1.0)
        return self._joined(inputs, _closeness(distances))

    @torch.no_grad()
    def store_reference(self, inputs: Tensor) -> None:
        """Store the first rows of real examples [N, A] as the reference of `among_reference`.

        Fewer than `reference_size` rows are repeated. Training the layers below makes them outdated.
        """
        rows = torch.arange(len(self.reference), device=inputs.device) % len(inputs)
        self.reference.copy_(inputs[rows])

    @torch.no_grad()
    def initialise_from(self, inputs: Tensor) -> Tensor:
        """Set s so that an example's nearest neighbour is 2 away on average, and b so that the features' mean is 0.

        Args:
            inputs: [N, A], the layer's input for a batch of training images, N >= 2.

        Returns:
            [N, A + B], the outputs after the initialisation.
        """
        self.log_scale.zero_()
        nearest = self._neighbour_distances(inputs).amin(dim=2).mean(dim=1)  # [B]
        self.log_scale.sub_((nearest / 2).clamp_min(SMALLEST_DISTANCE).log()[:, None])
        closeness = _closeness(self._neighbour_distances(inputs))
        self.bias.copy_(-closeness.mean(dim=0))
        return self._joined(inputs, closeness)

    def _projected(self, inputs: Tensor) -> Tensor:
        """Map [N, A] to M as [C, B, N], never in bfloat16: distances are small differences of large numbers."""
        gain: Tensor = self.log_scale.exp() / torch.linalg.vector_norm(self.direction, dim=2)
        with torch.autocast(inputs.device.type, enabled=False):
            outputs = functional.linear(inputs.to(gain.dtype), self.direction.flatten(0, 1))  # [N, B C]
        return (outputs.view(-1, *gain.shape) * gain).permute(2, 1, 0).contiguous()

    def _neighbour_distances(self, inputs: Tensor) -> Tensor:
        """Return L1 distances [B, N, N] within a batch [N, A]; the distance to itself is infinite."""
        distances: Tensor = _PairDistances.apply(self._projected(inputs))  # type: ignore[no-untyped-call]
        itself = torch.eye(len(inputs), dtype=torch.bool, device=inputs.device)
        return distances.masked_fill(itself, torch.inf)

    def _joined(self, inputs: Tensor, closeness: Tensor) -> Tensor:
        return torch.cat([inputs, closeness + self.bias], dim=1)


def _closeness(distances: Tensor) -> Tensor:
    """Return o as [N, B] for distances [B, N, M]."""
    return torch.exp(-distances).sum(dim=2).t()
