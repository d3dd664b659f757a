"""Untied local filters against the dense matrix that they stand for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.layers import LocalDecoder, LocalFilters, local_filters

GEOMETRIES = [
    ((1, 5, 5), 1, 3, 1),
    ((3, 6, 7), 2, 3, 1),
    ((2, 7, 8), 3, 3, 2),  # of the columns the last is seen by no field
    ((2, 4, 4), 2, 1, 3),
    ((2, 4, 4), 2, 4, 1),  # one place
    ((1, 3, 4), 2, 1, 1),  # a pixel a place
    ((2, 7, 3), 2, 5, 2),  # fields of 5 x 3: the inputs are narrower
    ((2, 3, 8), 2, 8, 1),  # of 3 x 8
]


def made(shape: tuple[int, int, int], maps: int, field: int, stride: int) -> tuple[LocalFilters, LocalDecoder]:
    """An encoder and a decoder in float64; the decoder's weights are drawn afresh."""
    torch.manual_seed(0)
    filters = LocalFilters(shape, maps=maps, field=field, stride=stride).double()
    decoder = LocalDecoder(filters, shape).double()
    torch.nn.init.normal_(decoder.weight)
    return filters, decoder


def fields_of(filters: LocalFilters, shape: tuple[int, int, int]) -> Tensor:
    """The pixels [H', W', K] that every place sees, as numbers in [0, C H W)."""
    pixels = torch.arange(shape[0] * shape[1] * shape[2]).view(shape)
    _, rows, columns = filters.shape
    step, (high, wide) = filters.stride, filters.field
    places = [
        [pixels[:, y * step : y * step + high, x * step : x * step + wide].flatten() for x in range(columns)]
        for y in range(rows)
    ]
    return torch.stack([torch.stack(row) for row in places])


def masked(weight: Tensor, seen: Tensor, pixels: int) -> Tensor:
    """The dense matrix [H', W', M, C H W] of filters [H', W', M, K], 0 outside the fields."""
    dense = weight.new_zeros(*weight.shape[:3], pixels)
    return dense.scatter(3, seen[:, :, None].expand_as(weight), weight)


@pytest.mark.parametrize(("shape", "maps", "field", "stride"), GEOMETRIES)
def test_filters_are_a_dense_matrix_masked_to_the_fields(
    shape: tuple[int, int, int], maps: int, field: int, stride: int
) -> None:
    filters, _ = made(shape, maps, field, stride)
    images = torch.randn(*shape, 4, dtype=torch.float64, requires_grad=True)
    dense = masked(filters.weight, fields_of(filters, shape), images[..., 0].numel())
    expected = torch.einsum("yxmp,pn->myxn", dense, images.flatten(0, 2))
    upstream = torch.randn_like(expected)

    responses = filters(images)

    assert responses.shape == (*filters.shape, 4)
    assert torch.allclose(responses, expected)
    inputs = (images, filters.weight)
    for ours, theirs in zip(
        torch.autograd.grad(responses, inputs, upstream), torch.autograd.grad(expected, inputs, upstream), strict=True
    ):
        assert torch.allclose(ours, theirs)


@pytest.mark.parametrize(("shape", "maps", "field", "stride"), GEOMETRIES)
def test_the_decoder_is_a_dense_matrix_masked_to_the_fields(
    shape: tuple[int, int, int], maps: int, field: int, stride: int
) -> None:
    filters, decoder = made(shape, maps, field, stride)
    responses = torch.randn(*filters.shape, 4, dtype=torch.float64, requires_grad=True)
    pixels = shape[0] * shape[1] * shape[2]
    dense = masked(decoder.weight.transpose(2, 3), fields_of(filters, shape), pixels)
    expected = torch.einsum("yxmp,myxn->pn", dense, responses).view(*shape, 4)
    upstream = torch.randn_like(expected)

    images = decoder(responses)

    assert torch.allclose(images, expected)
    inputs = (responses, decoder.weight)
    for ours, theirs in zip(
        torch.autograd.grad(images, inputs, upstream), torch.autograd.grad(expected, inputs, upstream), strict=True
    ):
        assert torch.allclose(ours, theirs)


@pytest.mark.parametrize(("shape", "maps", "field", "stride"), GEOMETRIES)
def test_gradients_are_those_of_small_differences(
    shape: tuple[int, int, int], maps: int, field: int, stride: int
) -> None:
    filters, decoder = made(shape, maps, field, stride)

    def both(images: Tensor, *_: Tensor) -> Tensor:
        return decoder(filters(images))  # type: ignore[no-any-return]

    images = torch.randn(*shape, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(both, (images, filters.weight, decoder.weight))


@pytest.mark.parametrize(("shape", "maps", "field", "stride"), GEOMETRIES)
def test_a_decoder_with_the_filters_weights_is_their_transpose(
    shape: tuple[int, int, int], maps: int, field: int, stride: int
) -> None:
    filters, decoder = made(shape, maps, field, stride)
    decoder.weight.data.copy_(filters.weight.detach().transpose(2, 3))
    images = torch.randn(*shape, 3, dtype=torch.float64)
    responses = torch.randn(*filters.shape, 3, dtype=torch.float64)

    assert torch.allclose((filters(images) * responses).sum(), (images * decoder(responses)).sum())


def test_a_new_decoder_averages_the_fields_that_see_a_pixel() -> None:
    """With filters that each pick one pixel of their field, every pixel that is seen comes back as it was."""
    filters = LocalFilters((1, 5, 6), maps=4, field=2)
    filters.weight.data.copy_(torch.eye(4).expand_as(filters.weight))
    images = torch.randn(1, 5, 6, 3)

    assert torch.allclose(LocalDecoder(filters, (1, 5, 6))(filters(images)), images, atol=1e-6)


@pytest.mark.parametrize("block_bytes", [1, 700, 2**40])
def test_the_size_of_a_block_changes_nothing(monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    filters, decoder = made((3, 9, 7), 4, 3, 2)
    images = torch.randn(3, 9, 7, 5, dtype=torch.float64, requires_grad=True)
    inputs = (images, filters.weight, decoder.weight)
    expected = decoder(filters(images))
    gradients = torch.autograd.grad(expected.square().sum(), inputs)

    monkeypatch.setattr(local_filters, "BLOCK_BYTES", {"cpu": block_bytes})
    found = decoder(filters(images))

    assert torch.allclose(found, expected)
    for ours, theirs in zip(torch.autograd.grad(found.square().sum(), inputs), gradients, strict=True):
        assert torch.allclose(ours, theirs)


def test_the_images_are_left_as_they_are() -> None:
    for shape, maps, field, stride in GEOMETRIES:
        filters, _ = made(shape, maps, field, stride)
        images = torch.randn(*shape, 2, dtype=torch.float64)
        given = images.clone().requires_grad_()

        filters(given).square().sum().backward()

        assert torch.equal(given, images)


def test_a_constant_layer_lets_the_gradient_through() -> None:
    filters, _ = made((1, 5, 5), 2, 3, 1)
    filters.requires_grad_(False)
    images = torch.randn(1, 5, 5, 2, dtype=torch.float64, requires_grad=True)

    filters(images).sum().backward()

    assert images.grad is not None
    assert filters.weight.grad is None


@pytest.mark.parametrize(
    ("shape", "fields"),
    [
        ((1, 5, 5), {"maps": 2, "field": 6}),
        ((1, 7, 5), {"maps": 2, "field": 8}),
        ((1, 5, 5), {"maps": 0, "field": 2}),
        ((1, 5, 5), {"maps": 1, "field": 0}),
        ((1, 5, 5), {"maps": 1, "field": 2, "stride": 0}),
        ((0, 5, 5), {"maps": 1, "field": 2}),
    ],
)
def test_a_geometry_that_does_not_fit_is_refused(shape: tuple[int, int, int], fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="do not fit inputs"):
        LocalFilters(shape, **fields)


def test_the_geometry_is_shown() -> None:
    filters, decoder = made((2, 7, 8), 3, 3, 2)

    assert "outputs=(3, 3, 3), field=(3, 3), stride=2" in repr(filters)
    assert "outputs=(2, 7, 8), field=(3, 3), stride=2" in repr(decoder)
