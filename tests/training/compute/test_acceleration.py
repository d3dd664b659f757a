"""What a run is computed on: what `auto` means, what is refused, and that arithmetic alone changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.training.fakes import (
    blobs,
    small_adversarial_recipe,
    small_autoencoder_recipe,
    small_dcgan_recipe,
    small_recipe,
)
from training.compute.acceleration import Acceleration, is_convolutional
from training.config import RunConfig
from training.errors import RecipeError, RunError
from training.families import family_of
from training.loop.loop import train
from training.recipes import Recipe
from training.runs.checkpoint import differences, load_run, load_state


def without_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine have neither a GPU nor units for bfloat16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)


def with_unit(monkeypatch: pytest.MonkeyPatch, unit: str) -> None:
    """Let this machine have no GPU but a CPU with one unit for bfloat16."""
    without_units(monkeypatch)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, unit: True}, raising=False)


def test_auto_changes_nothing_on_a_plain_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    without_units(monkeypatch)

    assert Acceleration.chosen(small_dcgan_recipe(), convolutional=True) == Acceleration()


@pytest.mark.parametrize("unit", ["amx_bf16", "avx512_bf16"])
def test_auto_takes_bfloat16_for_gans_on_a_cpu_with_units_for_it(monkeypatch: pytest.MonkeyPatch, unit: str) -> None:
    with_unit(monkeypatch, unit)

    chosen = Acceleration.chosen(small_dcgan_recipe(), convolutional=True)

    assert (chosen.bfloat16, chosen.memory_format) == (True, torch.channels_last)
    assert Acceleration.chosen(small_recipe(), convolutional=False) == Acceleration(bfloat16=True)
    assert Acceleration.chosen(small_recipe(), convolutional=False, bfloat16_gains=False) == Acceleration()


def test_a_recipe_may_insist(monkeypatch: pytest.MonkeyPatch) -> None:
    with_unit(monkeypatch, "amx_bf16")

    def chosen(**fields: object) -> Acceleration:
        return Acceleration.chosen(small_dcgan_recipe(**fields), convolutional=True)

    assert chosen(precision="float32") == Acceleration()
    assert chosen(precision="float32", memory_format="channels-last").memory_format == torch.channels_last
    assert chosen(memory_format="contiguous") == Acceleration(bfloat16=True)


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_units(monkeypatch)

    with pytest.raises(RecipeError, match=r"device=cuda needs a CUDA GPU, and torch .* finds 0; take device=cpu"):
        train(small_recipe(device="cuda"), blobs(), tmp_path / "run")

    assert not (tmp_path / "run").exists()


def test_an_autoencoder_is_computed_as_it_is_written() -> None:
    for field, value in (("precision", "bfloat16"), ("compile", "yes")):
        with pytest.raises(RecipeError, match="computed in float32 and not compiled"):
            small_autoencoder_recipe(**{field: value})


def test_compiling_without_a_compiler_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "c++"))

    with pytest.raises(RecipeError, match=r"compile=yes needs a C\+\+ compiler, and there is no .*c\+\+: install one"):
        train(small_recipe(compile="yes"), blobs(), tmp_path / "run")

    assert not (tmp_path / "run").exists()


def test_what_is_compiled_is_what_training_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []

    def compiling(function: object, *, dynamic: bool) -> object:
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compiling)
    network = nn.Linear(2, 2)

    Acceleration(compiled=True).accelerated(network)
    Acceleration().accelerated(network)

    assert compiled == [network]


def test_bfloat16_is_inside_the_networks_only() -> None:
    network = nn.Linear(4, 4)
    seen: list[torch.dtype] = []
    network.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))

    result = Acceleration(bfloat16=True).accelerated(network)(torch.ones(2, 4))
    result.sum().backward()  # type: ignore[no-untyped-call]

    assert (seen, result.dtype) == ([torch.bfloat16], torch.float32)
    assert network.weight.grad is not None
    assert network.weight.grad.dtype == torch.float32


def test_the_networks_themselves_are_called_where_nothing_is_asked_for() -> None:
    network = nn.Linear(4, 4)

    assert Acceleration().accelerated(network) is network


def test_maps_take_the_memory_format_and_rows_do_not() -> None:
    acceleration = Acceleration(memory_format=torch.channels_last)

    assert acceleration.place(torch.zeros(2, 3, 4, 4)).is_contiguous(memory_format=torch.channels_last)
    assert acceleration.place(torch.zeros(2, 3)).is_contiguous()
    assert acceleration.placed(nn.Conv2d(3, 5, 3)).weight.is_contiguous(memory_format=torch.channels_last)


FORMS: list[tuple[Recipe, int]] = [
    (small_recipe(precision="bfloat16"), 6),
    (small_recipe(precision="bfloat16", minibatch_kernels=4, generator_norm="virtual"), 6),
    (small_adversarial_recipe(precision="bfloat16"), 6),
    (small_dcgan_recipe(precision="bfloat16", memory_format="channels-last"), 32),
    (small_dcgan_recipe(precision="float32", memory_format="channels-last", conditional="yes"), 32),
]


@pytest.mark.parametrize(("recipe", "side"), FORMS)
def test_a_run_in_another_form_resumes_to_the_bit_and_is_stored_as_float32(
    tmp_path: Path, recipe: Recipe, side: int
) -> None:
    data = blobs(side=side)
    recipe = recipe.overridden({"images": 4 * recipe.batch_images})
    train(recipe, data, tmp_path / "straight")
    answers = [True, False, False]
    train(recipe, data, tmp_path / "resumed", should_stop=answers.pop)
    train(recipe, data, tmp_path / "resumed")

    straight, resumed = (state_of(tmp_path / name) for name in ("straight", "resumed"))

    assert all(torch.equal(tensor, resumed[name]) for name, tensor in straight.items())
    assert {tensor.dtype for tensor in straight.values()} <= {torch.float32, torch.int64}
    assert all(tensor.is_contiguous() for tensor in straight.values())


def state_of(run: Path) -> dict[str, Tensor]:
    state = load_state(run, load_run(run).config)
    assert state is not None
    return dict(state.tensors)


def test_the_form_changes_rounding_alone() -> None:
    data = blobs(side=32)
    forms: list[dict[str, object]] = [
        {"precision": "float32"},
        {"precision": "float32", "memory_format": "channels-last"},
        {"precision": "bfloat16"},
    ]
    plain, last, coarse = (
        family_of(RunConfig.of(small_dcgan_recipe(**form), data)).begin(data).advance() for form in forms
    )

    assert last == pytest.approx(plain, rel=1e-5)
    assert coarse == pytest.approx(plain, rel=0.05)


def test_the_form_is_part_of_what_a_run_is(tmp_path: Path) -> None:
    one, other = (RunConfig.of(small_recipe(precision=p), blobs()) for p in ("float32", "bfloat16"))

    assert differences(one, other) == ["precision is float32, not bfloat16"]
    train(small_recipe(precision="float32"), blobs(), tmp_path / "run")
    with pytest.raises(RunError, match="precision is float32, not auto"):
        train(small_recipe(), blobs(), tmp_path / "run")


def test_networks_with_kernels_are_convolutional() -> None:
    assert is_convolutional(nn.Sequential(nn.Conv2d(1, 1, 3)))
    assert not is_convolutional(nn.Linear(3, 3))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU, and torch finds none")
@pytest.mark.parametrize(
    ("recipe", "side"),
    [
        (small_recipe(device="cuda"), 6),
        (small_dcgan_recipe(device="cuda"), 32),
        (small_autoencoder_recipe(device="cuda"), 12),
    ],
)
def test_a_run_on_a_gpu_learns_resumes_to_the_bit_and_makes_samples(tmp_path: Path, recipe: Recipe, side: int) -> None:
    data = blobs(side=side)
    train(recipe, data, tmp_path / "straight", test=blobs(30, side=side, seed=1))
    answers = [True, False, False]
    train(recipe, data, tmp_path / "resumed", should_stop=answers.pop)
    train(recipe, data, tmp_path / "resumed")

    straight, resumed = (state_of(tmp_path / name) for name in ("straight", "resumed"))

    assert all(torch.equal(tensor, resumed[name]) for name, tensor in straight.items())
    assert (tmp_path / "straight/samples/latest.png").read_bytes() == (
        tmp_path / "resumed/samples/latest.png"
    ).read_bytes()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU, and torch finds none")
def test_a_step_on_a_gpu_is_that_of_a_cpu_but_for_its_noise() -> None:
    data = blobs(side=32)
    trainings = [
        family_of(RunConfig.of(small_dcgan_recipe(device=device, precision="float32"), data)).begin(data)
        for device in ("cpu", "cuda")
    ]

    on_cpu, on_gpu = (training.advance() for training in trainings)

    assert on_gpu == pytest.approx(on_cpu, rel=0.3)  # other latents
