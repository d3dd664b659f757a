"""Event files for TensorBoard, read back by TensorBoard's own reader."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.fakes import blobs, small_recipe
from tests.training.loop.events import events_of, images_seen
from training.errors import RunError
from training.loop.loop import train
from training.loop.progress import Progress
from training.loop.tensorboard import event_files


def test_losses_speed_accuracy_and_samples_are_there_over_images_seen(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    with event_files(tmp_path / "run") as report:
        train(small_recipe(), blobs(), tmp_path / "run", test=blobs(30, seed=1), report=report)

    events = events_of(tmp_path / "run")
    assert images_seen(events, "loss/labels") == [16, 32, 40, 48, 64, 80]
    assert images_seen(events, "images per second") == [16, 32, 40, 48, 64, 80]
    assert images_seen(events, "test accuracy") == [40, 80]
    assert [image.step for image in events.Images("samples")] == [40, 80]


def test_a_resumed_run_goes_on_in_the_same_folder_and_hides_what_it_repeats(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    run = tmp_path / "run"

    def killed(progress: Progress) -> None:
        report(progress)
        if progress.images_seen == 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), event_files(run) as report:
        train(small_recipe(), blobs(), run, report=killed)
    assert images_seen(events_of(run), "loss/labels") == [16, 32, 40, 48, 64]

    with event_files(run) as report:
        train(small_recipe(), blobs(), run, report=report)

    assert images_seen(events_of(run), "loss/labels") == [16, 32, 40, 48, 64, 80]


def test_nothing_is_written_before_the_run_folder_is_known_to_be_ours(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    (tmp_path / "thesis.tex").touch()

    with pytest.raises(RunError, match="exists and is not a run folder"), event_files(tmp_path) as report:
        train(small_recipe(), blobs(), tmp_path, report=report)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_without_the_library_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)

    with pytest.raises(RunError, match=r"not installed; get it with: \./mint extra tensorboard"):
        event_files(tmp_path / "run").__enter__()


def test_the_command_that_installs_it_has_a_lock_file_and_names_what_it_knows() -> None:
    root = Path(__file__).parents[3]
    locked = (root / "locks" / "tensorboard.txt").read_text()
    everything = (root / "locks" / "all.txt").read_text()

    unknown = subprocess.run([root / "mint", "extra", "colours"], capture_output=True, text=True, check=False)

    assert re.search(r"^tensorboard==\S+ \\\n    --hash=sha256:", locked, re.MULTILINE)
    for pinned in re.findall(r"^(\S+==\S+)", locked, re.MULTILINE):
        name = pinned.partition("==")[0]
        assert pinned in everything or not re.search(rf"^{re.escape(name)}==", everything, re.MULTILINE), pinned
    assert unknown.returncode == 3
    assert "there is no extra 'colours'; there are" in unknown.stderr
