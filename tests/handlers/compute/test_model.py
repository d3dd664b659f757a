"""Weights that do not belong to the network never serve."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from handlers.compute.model import load
from handlers.errors import ModelError

CPU = torch.device("cpu")


def with_weights(folder: Path, tmp_path: Path, weights: dict[str, Tensor]) -> Path:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    save_file(weights, copy / "weights.safetensors")
    return copy


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_weight_that_is_not_finite_is_refused_by_name(generator_folder: Path, tmp_path: Path, value: float) -> None:
    weights = load_file(generator_folder / "weights.safetensors")
    weights["output.bias"][3] = value
    with pytest.raises(ModelError, match=r"output\.bias holds a number that is not finite"):
        load(with_weights(generator_folder, tmp_path, weights), "generator", CPU)


def test_a_missing_weight_is_refused_by_name(generator_folder: Path, tmp_path: Path) -> None:
    weights = load_file(generator_folder / "weights.safetensors")
    del weights["output.bias"]
    with pytest.raises(ModelError, match=r"do not fit the network.*output\.bias"):
        load(with_weights(generator_folder, tmp_path, weights), "generator", CPU)


def test_a_weight_too_many_is_refused_by_name(generator_folder: Path, tmp_path: Path) -> None:
    weights = load_file(generator_folder / "weights.safetensors")
    with pytest.raises(ModelError, match="stowaway"):
        load(with_weights(generator_folder, tmp_path, {**weights, "stowaway": torch.ones(1)}), "generator", CPU)


def test_a_weight_of_another_shape_is_refused_by_name(generator_folder: Path, tmp_path: Path) -> None:
    weights = load_file(generator_folder / "weights.safetensors")
    weights["output.bias"] = weights["output.bias"][:-1].clone()
    with pytest.raises(ModelError, match=r"output\.bias"):
        load(with_weights(generator_folder, tmp_path, weights), "generator", CPU)


def test_a_served_network_neither_trains_nor_keeps_gradients(generator_folder: Path) -> None:
    network = load(generator_folder, "generator", CPU).network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
