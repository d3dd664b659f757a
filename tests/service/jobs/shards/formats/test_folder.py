from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from service.jobs.shards.formats.choice import layout_of, open_images
from service.jobs.storage.local_store import LocalStore
from service.jobs.storage.output import OutputError, TemporaryFolder
from service.jobs.storage.store import open_store
from service.jobs.verification.findings import shard_findings
from service.settings import Settings
from tests.support.plans import sample_plan
from tests.support.s3 import BUCKET, S3Server
from tests.support.shards import make_shard, output_of, tree

PLAN = sample_plan(format="png-folder")


@pytest.mark.parametrize(
    ("harm", "kind", "named"),
    [
        ("change", "WRONG_DIGEST", "00001-of-00003/000000005.png was changed"),
        ("remove", "MISSING", "data/train/00001-of-00003/000000005.png is missing"),
        ("add", "STRANGE_FILE", "data/train/00001-of-00003 holds surprise.txt"),
        ("remove all", "MISSING", "data/train/00001-of-00003 is missing"),
    ],
)
def test_a_picture_that_was_changed_removed_or_added_is_found(tmp_path: Path, harm: str, kind: str, named: str) -> None:
    output = output_of(tmp_path, PLAN)
    marker = make_shard(output, PLAN, 1)
    assert list(shard_findings(output, PLAN, 1, marker.digest)) == []
    folder = tmp_path / PLAN.prefix / "data/train/00001-of-00003"
    picture = folder / "000000005.png"
    if harm == "change":
        picture.write_bytes(picture.read_bytes()[:-1] + b"!")
    elif harm == "add":
        (folder / "surprise.txt").touch()
    else:
        for path in [picture] if harm == "remove" else list(folder.iterdir()):
            path.unlink()
        if harm == "remove all":
            folder.rmdir()
    (finding,) = shard_findings(output, PLAN, 1, marker.digest)
    assert finding.kind == kind and named in finding.detail


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    output = output_of(tmp_path, PLAN)
    with output.temporary_folder("000000.1.") as temporary:
        temporary.add("000000000.png", b"x")
        output.remove_temporaries("000000.1.")
        with pytest.raises(FileNotFoundError):
            temporary.add("000000001.png", b"x")
        with pytest.raises(FileNotFoundError):
            output.publish(temporary, "data/train/00000-of-00003")
    assert tree(tmp_path) == {}


def test_a_thread_of_an_attempt_that_was_given_up_adds_nothing_to_the_next_one(tmp_path: Path) -> None:
    output = output_of(tmp_path, PLAN)
    with output.temporary_folder("000000.1.") as old:
        old.add("000000000.png", b"x")
    with output.temporary_folder("000000.2.") as new:
        with pytest.raises(FileNotFoundError):
            old.add("000000001.png", b"x")
        new.add("000000000.png", b"y")
        assert output.publish(new, "data/train/00000-of-00003")
    assert tree(tmp_path / PLAN.prefix) == {"data/train/00000-of-00003/000000000.png": b"y"}


def test_a_folder_is_given_up_while_a_thread_still_adds_to_it(tmp_path: Path) -> None:
    output, added = output_of(tmp_path, PLAN), threading.Event()

    def add_for_ever(folder: TemporaryFolder) -> None:
        folder.add("first.png", b"x")
        added.set()
        for number in range(1_000_000):
            folder.add(f"{number:09d}.png", b"x")

    with ThreadPoolExecutor(1) as pool:
        with output.temporary_folder("000000.1.") as folder:
            adding = pool.submit(add_for_ever, folder)
            assert added.wait(30)
        with pytest.raises(FileNotFoundError):
            adding.result(30)
    assert tree(tmp_path) == {}


def test_a_folder_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    output = output_of(tmp_path, PLAN)
    make_shard(output, PLAN)
    before = tree(tmp_path)
    with output.temporary_folder("t.") as temporary:
        temporary.add("other.png", b"x")
        assert not output.publish(temporary, "data/train/00000-of-00003")
    assert tree(tmp_path) == before


def test_a_shard_whose_folder_lost_a_picture_gets_it_back(tmp_path: Path) -> None:
    output = output_of(tmp_path, PLAN)
    make_shard(output, PLAN)
    before = tree(tmp_path)
    (tmp_path / PLAN.prefix / "data/train/00000-of-00003/000000002.png").unlink()
    make_shard(output, PLAN)
    assert tree(tmp_path) == before


def test_a_strange_file_in_a_shard_is_named_and_left_alone(tmp_path: Path) -> None:
    output = output_of(tmp_path, PLAN)
    make_shard(output, PLAN)
    strange = tmp_path / PLAN.prefix / "data/train/00000-of-00003/notes.txt"
    strange.write_text("mine")
    with pytest.raises(OutputError, match=r"holds notes\.txt, which is not one of its images"):
        make_shard(output, PLAN)
    assert strange.read_text() == "mine"


def test_a_late_writer_brings_no_removed_folder_back(tmp_path: Path) -> None:
    output, late = output_of(tmp_path, PLAN), LocalStore(tmp_path).output(PLAN.prefix, existing=True)
    output.put("plan.json", b"x")
    with late.temporary_folder("t") as temporary:
        output.remove_folder()
        with pytest.raises(FileNotFoundError):
            late.publish(temporary, "data/train/00000-of-00003")
    assert tree(tmp_path) == {}


def test_the_images_of_a_shard_in_a_bucket_are_read_many_at_once_and_in_order(s3: S3Server, tmp_path: Path) -> None:
    plan = sample_plan(format="png-folder", count=200, shard_size=200)
    output = open_store(Settings.model_validate({"state_dir": tmp_path, **s3.settings("base")})).output(plan.prefix)
    marker, here = make_shard(output, plan, 0), output_of(tmp_path, plan)
    make_shard(here, plan, 0)
    s3.faults.most_open = 0
    assert layout_of(plan).digest(output, 0) == (marker.digest, marker.bytes)
    assert s3.faults.most_open > 1
    s3.faults.most_open = 0
    with open_images(output, plan, 0) as stored, open_images(here, plan, 0) as made:
        assert np.array_equal(stored.read(range(200)), made.read(range(200)))
    assert s3.faults.most_open > 1
    s3.client.delete_object(Bucket=BUCKET, Key=f"base/{plan.prefix}/data/train/00000-of-00001/000000123.png")
    with open_images(output, plan, 0) as images, pytest.raises(OutputError, match=r"000000123\.png is missing"):
        images.read(range(200))
