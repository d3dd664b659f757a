"""Weights that do not belong to the network never serve."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from handlers.archive import pack
from handlers.compute.fast.arithmetic import NUMERICS
from handlers.compute.model import load
from handlers.compute.precision import PrecisionChoice, has_bfloat16_units
from handlers.errors import ArchiveError, ModelError
from tests.support.runs import tiny_autoencoder

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


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format": 3}, "has format 3, not 4; pack it again"),
        ({"numerics": NUMERICS + 1}, f"has numerics {NUMERICS + 1}, not {NUMERICS}; pack it again"),
        ({"numerics": None}, "has numerics None.*pack it again"),
        ({"precision": "float64"}, "precision 'float64', none of auto, float32, bfloat16"),
        ({"micro_batch": 0}, "micro_batch 0, not a whole number"),
        ({"run_digest": "1234"}, "run_digest '1234', not a SHA-256"),
        ({"kind": "classifier"}, "kind 'classifier', but its handler serves a generator"),
    ],
)
def test_an_archive_that_says_something_else_is_refused_with_what_it_says(
    generator_folder: Path, tmp_path: Path, changes: dict[str, object], text: str
) -> None:
    shutil.copytree(generator_folder, tmp_path / "copy")
    path = tmp_path / "copy" / "serving.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ModelError, match=text):
        load(tmp_path / "copy", "generator", CPU)


def test_a_network_is_computed_in_the_precision_that_its_archive_says(run: Path, tmp_path: Path) -> None:
    found = {}
    for precision in get_args(PrecisionChoice):
        packed = pack(run, "generator", tmp_path / "a.mar", precision=precision)
        with zipfile.ZipFile(packed.path) as archive:
            archive.extractall(tmp_path / precision)
        found[precision] = load(tmp_path / precision, "generator", CPU)
    assert found["float32"].precision == "float32" and found["bfloat16"].precision == "bfloat16"
    assert found["auto"].precision == ("bfloat16" if has_bfloat16_units(CPU) else "float32")
    assert len({found[name].device_class for name in ("float32", "bfloat16")}) == 2
    assert any(weight.dtype == torch.bfloat16 for weight in found["bfloat16"].network.parameters())


def test_an_autoencoder_is_computed_in_float32(neurons_folder: Path, tmp_path: Path) -> None:
    assert load(neurons_folder, "neurons", CPU).precision == "float32"
    with pytest.raises(ArchiveError, match=r"computed in float32; pack it with --precision auto"):
        pack(tiny_autoencoder(tmp_path / "run"), "neurons", tmp_path / "a.mar", precision="bfloat16")
