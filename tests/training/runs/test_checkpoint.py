"""The run folder: what is written can be read, and what is damaged is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.training.fakes import blobs, small_recipe
from training.config import RunConfig
from training.errors import DivergedError, RunError
from training.families import family_of
from training.runs.checkpoint import (
    STATE_FILE,
    WEIGHTS_FILE,
    Run,
    State,
    differences,
    load_run,
    load_state,
    save_config,
    save_state,
    served_weights,
)
from training.runs.files import write_atomically


def small_config() -> RunConfig:
    return RunConfig.of(small_recipe(), blobs())


def write_run(run: Path, *, images_seen: int = 8) -> Path:
    """Write a run folder whose networks were never trained."""
    training = family_of(small_config()).begin(blobs())
    save_config(run, training.config)
    state = State(training.state(), images_seen, seconds=1.5)
    save_state(run, training.config, weights=training.weights(), state=state)
    return run


def rewrite(run: Path, change: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    weights = {**load_run(run).weights, **change}
    facts = {"recipe": "ssgan-digits", "images_seen": "8", "seconds": "1.5", **(metadata or {})}
    save_file(weights, run / WEIGHTS_FILE, facts)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def test_a_configuration_survives_json() -> None:
    assert RunConfig.from_json(small_config().to_json()) == small_config()


def test_a_run_is_read_as_it_was_written(run: Path) -> None:
    read = load_run(run)

    assert isinstance(read, Run)
    assert (read.path, read.config, read.images_seen) == (run, small_config(), 8)
    assert (read.config.height, read.config.width, read.config.channels) == (6, 6, 1)
    assert read.config.classes == ("block-0", "block-1", "block-2")


def test_the_weights_for_serving_load_strictly_and_are_the_averaged_ones(run: Path) -> None:
    read = load_run(run)
    generator, classifier = family_of(read.config).generator(), family_of(read.config).classifier()

    generator.load_state_dict(served_weights(read, "generator"), strict=True)
    classifier.load_state_dict(served_weights(read, "classifier"), strict=True)

    assert torch.equal(
        classifier.get_parameter("output.direction"), read.weights["discriminator_average.output.direction"]
    )
    assert generator.eval()(torch.rand(2, 5)).shape == (2, 1, 6, 6)
    assert classifier(torch.zeros(2, 1, 6, 6)).shape == (2, 3)


def test_a_folder_without_a_configuration_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"has no config\.json"):
        load_run(tmp_path)


def test_a_run_without_weights_says_how_to_train_it(tmp_path: Path) -> None:
    save_config(tmp_path, small_config())

    with pytest.raises(RunError, match=r"no checkpoint\.safetensors yet: train it with `mintage train ssgan-digits"):
        load_run(tmp_path)


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_truncated_checkpoint_is_refused_by_name(run: Path, length: int) -> None:
    (run / WEIGHTS_FILE).write_bytes((run / WEIGHTS_FILE).read_bytes()[:length])

    with pytest.raises(RunError, match=r"checkpoint\.safetensors is truncated"):
        load_run(run)


def test_weights_that_are_not_finite_are_refused_by_name(run: Path) -> None:
    rewrite(run, {"generator_average.output.bias": torch.full((36,), torch.nan)})

    with pytest.raises(RunError, match=r"generator_average\.output\.bias holds a number that is not finite"):
        load_run(run)


def test_weights_of_another_recipe_are_refused(run: Path) -> None:
    rewrite(run, {}, {"recipe": "ssgan-mnist"})

    with pytest.raises(RunError, match=r"holds weights of ssgan-mnist, but config\.json beside it says ssgan-digits"):
        load_run(run)


def test_weights_without_the_header_of_a_run_are_refused(run: Path) -> None:
    save_file({"a": torch.zeros(1)}, run / WEIGHTS_FILE)

    with pytest.raises(RunError, match="not written by a training run"):
        load_run(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": "stylegan"}, "no recipe is called 'stylegan'"),
        ({"settings": {"imges": 1}}, "no field 'imges'"),
        ({"settings": None}, "damaged"),
        ({"image": {"height": 0, "width": 1, "channels": 1}}, "damaged"),
        ({"latent": {}}, "damaged"),
    ],
)
def test_a_damaged_configuration_is_refused(run: Path, change: dict[str, object], message: str) -> None:
    path = run / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    with pytest.raises(RunError, match=message):
        load_run(run)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "\0"])
def test_a_configuration_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(RunError, match="damaged"):
        RunConfig.from_json(text)


def test_a_failed_write_leaves_the_file_as_it_was_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_weights_that_are_not_finite_are_never_written(run: Path) -> None:
    before = (run / WEIGHTS_FILE).read_bytes(), (run / STATE_FILE).read_bytes()
    broken = {"generator.output.bias": torch.tensor([torch.inf])}

    with pytest.raises(DivergedError, match="no longer finite after 16 images"):
        save_state(run, small_config(), weights=broken, state=State({}, 16, 2.0))

    assert before == ((run / WEIGHTS_FILE).read_bytes(), (run / STATE_FILE).read_bytes())


def test_the_state_keeps_the_counters(run: Path) -> None:
    state = load_state(run, small_config())

    assert state is not None
    assert (state.images_seen, state.seconds) == (8, 1.5)


def test_there_is_no_state_before_the_first_checkpoint(tmp_path: Path) -> None:
    assert load_state(tmp_path, small_config()) is None


def test_differences_name_the_field_and_leave_out_what_does_not_change_the_weights() -> None:
    other = RunConfig.of(small_recipe(seed=2, max_seconds=5, checkpoint_images=8), blobs(seed=1))

    found = differences(small_config(), other)

    assert [text.split(" is ")[0] for text in found] == ["data", "seed"]
    assert found[1] == "seed is 1, not 2"
