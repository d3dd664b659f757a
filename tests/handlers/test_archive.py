"""The same run gives the same archive, and nothing half-made is ever left."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from handlers.archive import pack
from handlers.compute.fast.arithmetic import NUMERICS
from handlers.errors import ArchiveError
from tests.training.fakes import blobs, small_recipe
from training.export import export
from training.loop.loop import train
from training.runs.checkpoint import load_run, run_digest


def test_the_same_run_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(run, copy, copy_function=shutil.copy)
    for file in copy.iterdir():
        os.utime(file, (0, 10**9))
    first = pack(run, "generator", tmp_path / "a.mar")
    second = pack(copy, "generator", tmp_path / "folder" / "b.mar")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.digest == second.digest == hashlib.sha256(first.path.read_bytes()).hexdigest()


def test_a_straight_and_an_interrupted_run_give_one_archive_without_paths_and_times(tmp_path: Path) -> None:
    recipe, data = small_recipe(), dataclasses.replace(blobs(), name=f"{tmp_path}/secret place/blobs")
    train(recipe, data, tmp_path / "straight")
    answers = [True, False, False, False]
    often = dataclasses.replace(recipe, checkpoint_images=8, report_images=8, checkpoint_seconds=0.5)
    train(often, data, tmp_path / "resumed", should_stop=answers.pop)
    train(dataclasses.replace(often, max_seconds=600), data, tmp_path / "resumed")

    straight, resumed = (
        pack(tmp_path / name, "classifier", tmp_path / f"{name}.mar") for name in ("straight", "resumed")
    )
    exported = pack(export(tmp_path / "resumed", tmp_path / "exported"), "classifier", tmp_path / "exported.mar")

    assert straight.digest == resumed.digest == exported.digest
    assert b"secret place" not in straight.path.read_bytes()
    assert str(tmp_path).encode() not in exported.path.read_bytes()
    with zipfile.ZipFile(straight.path) as packed:
        assert json.loads(packed.read("config.json"))["data"]["name"] == "blobs"
        card = packed.read("card.md").decode()
    assert "## Limits" in card
    assert "Where it was made" not in card
    assert "secret place" in (tmp_path / "straight" / "card.md").read_text()


def test_kind_and_micro_batch_are_part_of_the_identity(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.mar"
    digests = {
        pack(run, "generator", output).digest,
        pack(run, "classifier", output).digest,
        pack(run, "generator", output, micro_batch=32).digest,
    }
    assert len(digests) == 3


def test_an_archive_holds_what_the_architecture_says(run: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(pack(run, "classifier", tmp_path / "a.mar", micro_batch=16).path) as packed:
        names = packed.namelist()
        manifest = json.loads(packed.read("MAR-INF/MANIFEST.json"))
        assert json.loads(packed.read("serving.json")) == {
            "format": 4,
            "kind": "classifier",
            "micro_batch": 16,
            "numerics": NUMERICS,
            "precision": "auto",
            "run_digest": run_digest(load_run(run)),
        }
        assert packed.read("config.json").decode() == load_run(run).config.portable().to_json()
        assert packed.read("card.md") == b"# A tiny run\n"
        assert all(entry.date_time == (1980, 1, 1, 0, 0, 0) for entry in packed.infolist())
    assert names == sorted(names)
    assert set(names) == {
        "MAR-INF/MANIFEST.json",
        "card.md",
        "classifier.py",
        "config.json",
        "serving.json",
        "weights.safetensors",
    }
    assert manifest["model"]["handler"] == "classifier.py"
    assert "createdOn" not in manifest


def test_an_archive_can_be_read_by_others(run: Path, tmp_path: Path) -> None:
    assert pack(run, "generator", tmp_path / "a.mar").path.stat().st_mode & 0o777 == 0o644


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="not a run folder"):
        pack(tmp_path, "generator", tmp_path / "a.mar")
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_weights_is_refused(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "checkpoint.safetensors").unlink()
    with pytest.raises(ArchiveError, match=r"checkpoint\.safetensors"):
        pack(copy, "generator", tmp_path / "out" / "a.mar")
    assert not (tmp_path / "out").exists()


def test_weights_of_another_network_are_refused_and_the_old_archive_stays(run: Path, tmp_path: Path) -> None:
    old = pack(run, "generator", tmp_path / "a.mar")
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    config = json.loads((copy / "config.json").read_text())
    config["image"]["height"] += 1
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArchiveError, match="do not fit the network"):
        pack(copy, "generator", tmp_path / "a.mar")
    assert hashlib.sha256(old.path.read_bytes()).hexdigest() == old.digest


def test_a_failure_while_writing_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        pack(run, "generator", tmp_path / "a.mar")
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_card_is_packed_all_the_same(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "card.md").unlink()
    with zipfile.ZipFile(pack(copy, "generator", tmp_path / "a.mar").path) as packed:
        assert b"no card" in packed.read("card.md")


@pytest.mark.parametrize(
    ("kind", "name", "micro_batch", "message"),
    [
        ("oracle", "a.mar", 64, "none of generator, classifier, neurons, discriminator"),
        ("generator", "a.zip", 64, r"ends in \.mar"),
        ("generator", "a.mar", 0, "from 1 to 1024"),
        ("generator", "a.mar", 1025, "from 1 to 1024"),
    ],
)
def test_bad_arguments_are_refused(
    run: Path, tmp_path: Path, kind: str, name: str, micro_batch: int, message: str
) -> None:
    with pytest.raises(ArchiveError, match=message):
        pack(run, kind, tmp_path / name, micro_batch=micro_batch)  # type: ignore[arg-type]
