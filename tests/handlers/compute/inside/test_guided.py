"""Guided gradients equal those derived by hand, with every rectifier that our networks have, however it is written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from handlers.compute.inside.guided import guided_gradients
from training.layers import ContrastNormalisation, Maxout, l2_pooling

# Three layers of two units: y = w . f(B f(A x)), on one "image" of two pixels.
A = torch.tensor([[1.0, -2.0], [3.0, 1.0]])
B = torch.tensor([[2.0, 1.0], [-1.0, 2.0]])
W = torch.tensor([1.0, -3.0])
X = torch.tensor([1.0, 2.0])
PIECES = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [-1.0, 0.0]]])  # [units, pieces, inputs]
# A x = (-3, 5).

Rectifier = Callable[[Tensor], Tensor]


class Layered(nn.Module):
    """The network by a rectifier that is called as it is."""

    def __init__(self, rectifier: Rectifier) -> None:
        super().__init__()
        self.rectifier = rectifier

    def forward(self, images: Tensor) -> Tensor:
        units = images.flatten(1)
        units = self.rectifier(units @ A.T)
        units = self.rectifier(units @ B.T)
        return units @ W


def prelu() -> nn.PReLU:
    """A PReLU with a leak for each unit."""
    made = nn.PReLU(2)
    made.weight.data = torch.tensor([0.5, 0.25])
    return made


RELU = (
    # f(A x) = (0, 5); B f = (5, 10); both pass. At the second layer w = (1, -3) is cut to (1, 0);
    # back through B: (2, 1); the first unit is off: (0, 1); back through A: (3, 1).
    (3.0, 1.0),
    5.0 - 30.0,
)
LEAKY = (
    # With a leak of 0.5: f(A x) = (-1.5, 5); B f = (2, 11.5), both pass: w is cut to (1, 0); through B: (2, 1);
    # times the slopes (0.5, 1): (1, 1); through A: (1 + 3, -2 + 1).
    (4.0, -1.0),
    2.0 - 34.5,
)
PRELU = LEAKY  # whose first leak is 0.5, and whose second is not used


@pytest.mark.parametrize(
    ("rectifier", "expected"),
    [
        (functional.relu, RELU),
        (torch.relu, RELU),
        (Tensor.relu, RELU),
        (nn.ReLU(), RELU),
        (nn.ReLU(inplace=True), RELU),
        (nn.LeakyReLU(0.5), LEAKY),
        (nn.LeakyReLU(0.5, inplace=True), LEAKY),
        (lambda units: functional.leaky_relu(units, 0.5), LEAKY),
        (prelu(), PRELU),
        (lambda units: functional.prelu(units, torch.tensor([0.5, 0.25])), PRELU),
    ],
    ids=lambda each: getattr(each, "__name__", type(each).__name__),
)
def test_the_gradient_is_the_one_derived_by_hand(
    rectifier: Rectifier, expected: tuple[tuple[float, float], float]
) -> None:
    gradients, values = guided_gradients(X.view(1, 1, 1, 2), Layered(rectifier))

    assert gradients.flatten().tolist() == list(expected[0])
    assert values.tolist() == [expected[1]]


def test_where_a_leaky_unit_is_off_the_signal_is_cut_before_the_slope() -> None:
    # y = -f(x) + f(-x) at x = 2: backwards (-1, 1) is cut to (0, 1), times the slopes (1, 0.5), through (1, -1).
    gradients, _ = guided_gradients(
        torch.full((1, 1, 1, 1), 2.0),
        lambda images: (
            functional.leaky_relu(images.flatten(1) @ torch.tensor([[1.0, -1.0]]), 0.5) @ torch.tensor([-1.0, 1.0])
        ),
    )

    assert gradients.item() == -0.5


def _pieces(first: list[list[float]], second: list[list[float]], units: int) -> Maxout:
    made = Maxout(2, units, 2)
    with torch.no_grad():
        made.linear.weight.copy_(torch.tensor(first + second))
        made.linear.bias.zero_()
    return made


def test_a_maxout_unit_passes_positive_signals_to_the_piece_that_won() -> None:
    # Pieces at x = (1, 2): (x1, x2) = (1, 2) against (2 x2, -x1) = (4, -1): units (4, 2), of the pieces 2 and 1.
    # Then pieces (h1 + h2, h1 - h2) = (6, 2) against (0, 5 h2) = (0, 10): units (6, 10), of the pieces 1 and 2.
    # y = 2 u1 - 7 u2: backwards (2, -7) is cut to (2, 0); to h: (2, 2), both positive; to x: x1 gets nothing from h1,
    # whose piece is 2 x2: 4 for x2; h2 is x2: 2 more.
    one = _pieces([[1.0, 0.0], [0.0, 1.0]], [[0.0, 2.0], [-1.0, 0.0]], 2)
    two = _pieces([[1.0, 1.0], [1.0, -1.0]], [[0.0, 0.0], [0.0, 5.0]], 2)

    gradients, values = guided_gradients(
        X.view(1, 1, 1, 2), lambda images: two(one(images.flatten(1))) @ torch.tensor([2.0, -7.0])
    )

    assert gradients.flatten().tolist() == [0.0, 6.0]
    assert values.tolist() == [2 * 6.0 - 7 * 10.0]


def test_a_maxout_unit_that_is_written_as_a_maximum_passes_the_same() -> None:
    maxima: list[Rectifier] = [
        lambda pieces: pieces.amax(dim=2),
        lambda pieces: torch.max(pieces, dim=2).values,
        lambda pieces: pieces.max(dim=2)[0],
    ]
    for maximum in maxima:

        def unit(images: Tensor, maximum: Rectifier = maximum) -> Tensor:
            units = maximum(torch.einsum("ni,upi->nup", images.flatten(1), PIECES))
            return units @ torch.tensor([2.0, -7.0])

        gradients, _ = guided_gradients(X.view(1, 1, 1, 2), unit)
        assert gradients.flatten().tolist() == [0.0, 4.0]


def test_pooling_and_normalisation_have_their_ordinary_gradient() -> None:
    images = torch.rand(3, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    normalisation = ContrastNormalisation((5, 5), window=3, floor=0.1)

    def unit(batch: Tensor) -> Tensor:
        pooled = l2_pooling(batch.permute(1, 2, 3, 0), window=2, epsilon=0.1)  # [M, H, W, N]
        found: Tensor = normalisation(pooled)[1, 2, 3]
        return found

    gradients, _ = guided_gradients(images, unit)
    inputs = images.clone().requires_grad_(True)
    [ordinary] = torch.autograd.grad(unit(inputs).sum(), inputs)

    assert torch.equal(gradients, ordinary)
    assert float(ordinary.abs().max()) > 0


def test_each_image_is_explained_alone() -> None:
    network = Layered(functional.relu)
    images = torch.randn(4, 1, 1, 2, generator=torch.Generator().manual_seed(1))

    together, _ = guided_gradients(images, network)
    alone = torch.cat([guided_gradients(image[None], network)[0] for image in images])

    assert torch.equal(together, alone)
