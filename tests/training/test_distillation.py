"""A student learns from a teacher's labels, and nothing of the true ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from tests.training.fakes import blobs, small_adversarial_recipe, small_recipe, small_student_recipe
from training.batches import predicted
from training.data import LabelledImages, TaughtImages
from training.distillation import distil
from training.errors import DataError, RecipeError, RunError
from training.export import export
from training.families import family_of
from training.families.student_training import most_certain
from training.loop.loop import Summary, train
from training.loop.progress import Progress
from training.recipes import StudentRecipe
from training.runs.checkpoint import STATE_FILE, WEIGHTS_FILE, load_config, load_run, run_digest, served_weights
from training.runs.metrics import read


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    train(small_recipe(images=1600), blobs(90), folder, test=blobs(60, seed=9))
    return folder


def unlabelled(data: LabelledImages) -> LabelledImages:
    return dataclasses.replace(data, labels=np.full(len(data), -1), classes=())


def taught(recipe: StudentRecipe, teacher: Path, run: Path) -> Summary:
    return distil(recipe, teacher, blobs(90, seed=2), run, test=blobs(60, seed=9))


def test_a_student_learns_its_teacher_s_classes_from_images_without_labels(teacher: Path, tmp_path: Path) -> None:
    counted: list[int] = []

    summary = distil(
        small_student_recipe(images=1600, views=2),
        teacher,
        unlabelled(blobs(90, seed=2)),
        tmp_path / "run",
        test=blobs(60, seed=9),
        labelled=counted.append,
    )

    assert summary.ended == "finished"
    assert summary.test_accuracy is not None and summary.test_accuracy > 0.9
    assert sum(counted) == 180
    loaded = load_run(tmp_path / "run")
    assert loaded.config.classes == ("block-0", "block-1", "block-2")
    assert isinstance(loaded.config.settings, StudentRecipe)
    assert loaded.config.settings.teacher_digest == run_digest(load_run(teacher))
    losses = [line["losses"]["loss"] for line in read(tmp_path / "run") if line["losses"]]
    assert losses[-1] < losses[0] / 2
    card = (tmp_path / "run" / "card.md").read_text()
    assert f"| Teacher | teacher, run digest `{run_digest(load_run(teacher))}` |" in card
    assert "| Labels | the teacher's alone, the mean of 2 views of each image; the data's own" in card
    assert f"mintage distil teacher --data blobs --run {tmp_path / 'run'} --set images=1600" in card
    assert "teacher_digest" not in card


def test_the_accuracy_is_that_of_what_is_saved(teacher: Path, tmp_path: Path) -> None:
    """The loop measures before it saves, and batch statistics are stored for the averaged weights only then."""
    data = blobs(60, seed=9)
    data.images[:] = np.random.default_rng(1).integers(0, 255, data.images.shape)  # hard enough for other answers

    summary = distil(small_student_recipe(images=48), teacher, blobs(90, seed=2), tmp_path / "run", test=data)

    loaded = load_run(tmp_path / "run")
    network = family_of(loaded.config).classifier()
    network.load_state_dict(served_weights(loaded, "classifier"))
    found = predicted(network.eval(), data.images)
    assert summary.test_accuracy == float((found == data.labels).mean())


def test_true_labels_do_not_matter(teacher: Path, tmp_path: Path) -> None:
    data = blobs(90, seed=2)
    distil(small_student_recipe(), teacher, data, tmp_path / "labelled")
    distil(small_student_recipe(), teacher, unlabelled(data), tmp_path / "bare")

    assert tensors(tmp_path / "labelled") == tensors(tmp_path / "bare")


def test_a_resumed_run_equals_a_straight_one_to_the_bit(teacher: Path, tmp_path: Path) -> None:
    recipe = small_student_recipe(views=2, keep=0.8)
    seen: list[Progress] = []
    taught(recipe, teacher, tmp_path / "straight")
    first = distil(
        recipe,
        teacher,
        blobs(90, seed=2),
        tmp_path / "stopped",
        test=blobs(60, seed=9),
        report=seen.append,
        should_stop=lambda: bool(seen),
    )

    second = taught(recipe, teacher, tmp_path / "stopped")

    assert (first.ended, second.ended) == ("stopped", "finished")
    assert tensors(tmp_path / "stopped") == tensors(tmp_path / "straight")


def test_a_student_teaches_the_next_one_and_so_does_its_export(teacher: Path, tmp_path: Path) -> None:
    taught(small_student_recipe(), teacher, tmp_path / "first")
    export(tmp_path / "first", tmp_path / "exported", only="classifier")

    taught(small_student_recipe(), tmp_path / "first", tmp_path / "second")
    taught(small_student_recipe(), tmp_path / "exported", tmp_path / "third")

    assert tensors(tmp_path / "second") == tensors(tmp_path / "third")


def test_another_teacher_is_another_training(teacher: Path, tmp_path: Path) -> None:
    taught(small_student_recipe(), teacher, tmp_path / "first")

    with pytest.raises(RunError, match=r"holds another training \(.*teacher_digest is "):
        taught(small_student_recipe(), tmp_path / "first", tmp_path / "first")


def test_the_most_certain_images_of_every_label_are_kept() -> None:
    targets = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.45, 0.55], [0.2, 0.8]], np.float32)
    data = TaughtImages(
        images=np.zeros((5, 2, 2, 1), np.uint8), labels=targets.argmax(axis=1), classes=("a", "b"), targets=targets
    )

    assert most_certain(data, share=1.0).tolist() == [0, 1, 2, 3, 4]
    assert most_certain(data, share=0.5).tolist() == [0, 2, 4]
    assert most_certain(data, share=0.01).tolist() == [0, 4]


def test_the_pictures_begin_with_what_surprises_the_student(teacher: Path, tmp_path: Path) -> None:
    taught(small_student_recipe(), teacher, tmp_path / "run")

    assert (tmp_path / "run" / "samples" / "latest.png").exists()
    assert "the student finds least probable" in (tmp_path / "run" / "card.md").read_text()


def test_what_cannot_teach_is_refused(teacher: Path, tmp_path: Path) -> None:
    train(small_adversarial_recipe(images=16), blobs(60), tmp_path / "gan")

    with pytest.raises(RecipeError, match="gan-mnist trains no classifier"):
        taught(small_student_recipe(), tmp_path / "gan", tmp_path / "run")
    with pytest.raises(DataError, match=r"blobs has images of \[8, 8, 1\].*classifies \[6, 6, 1\]"):
        distil(small_student_recipe(), teacher, blobs(side=8), tmp_path / "run")
    with pytest.raises(RunError, match="is not a run folder"):
        taught(small_student_recipe(), tmp_path / "nothing", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_student_s_recipe_is_not_for_images_without_a_teacher(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"student is not trained step by step: .*made by `mintage distil TEACHER"):
        train(small_student_recipe(), blobs(), tmp_path / "run")


def test_a_teacher_is_known_by_its_digest_wherever_it_lies(teacher: Path, tmp_path: Path) -> None:
    taught(small_student_recipe(), teacher, tmp_path / "run")
    teacher.rename(teacher.with_name("moved"))
    try:
        summary = taught(small_student_recipe(), teacher.with_name("moved"), tmp_path / "run")
    finally:
        teacher.with_name("moved").rename(teacher)

    assert summary.ended == "finished"
    settings = load_config(tmp_path / "run").settings
    assert isinstance(settings, StudentRecipe) and settings.teacher == "moved"


def tensors(run: Path) -> dict[str, bytes]:
    """The weights and the optimiser's state of a run."""
    return {
        f"{file}/{name}": tensor.numpy().tobytes()
        for file in (WEIGHTS_FILE, STATE_FILE)
        for name, tensor in load_file(run / file).items()
    }
