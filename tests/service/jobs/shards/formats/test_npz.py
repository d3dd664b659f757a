from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from service.jobs.dispatch.finalize import finalize
from service.jobs.shards.formats import npy
from service.jobs.shards.formats.npy import Array, NpzWriter
from service.jobs.storage.local_store import LocalStore
from tests.support.plans import sample_plan
from tests.support.shards import make_shard, output_of, pictures

PLAN = sample_plan(format="npz", channels=3)
EVERYTHING = "samples_10x4x3x3.npz"


def joined(root: Path) -> list[str]:
    return sorted(path.name for path in (root / PLAN.prefix).glob("samples_*"))


@pytest.mark.parametrize("zip64_from", [npy.ZIP64_FROM, 0])
def test_numpy_and_zipfile_read_it_and_find_no_fault(monkeypatch: pytest.MonkeyPatch, zip64_from: int) -> None:
    monkeypatch.setattr(npy, "ZIP64_FROM", zip64_from)
    file, images = io.BytesIO(), pictures(range(10), PLAN)
    layout = [Array("arr_0", "|u1", images.shape), Array("index", "<i8", (10,))]
    writer = NpzWriter(file, layout)
    for image in images:
        writer.data(image.tobytes())
    writer.data(np.arange(10, dtype="<i8").tobytes())
    writer.end()
    assert len(file.getvalue()) == npy.file_size(layout)
    file.seek(0)
    with np.load(file) as arrays:
        assert arrays.files == ["arr_0", "index"] and (arrays["arr_0"] == images).all()
        assert arrays["index"].tolist() == list(range(10))
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        for member in archive.infolist():
            assert (member.date_time, member.compress_type) == ((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED)
        with archive.open("arr_0.npy") as array:  # as ADM's evaluator streams it
            assert np.lib.format.read_magic(array) == (1, 0)
            assert np.lib.format.read_array_header_1_0(array) == ((10, 4, 3, 3), False, np.dtype("uint8"))
            assert array.read() == images.tobytes()


def test_the_array_begins_where_numpy_would_let_it_begin() -> None:
    ours, theirs = io.BytesIO(), io.BytesIO()
    images = pictures(range(10), PLAN)
    writer = NpzWriter(ours, [Array("arr_0", "|u1", images.shape)])
    writer.data(images.tobytes())
    writer.end()
    np.save(theirs, images)
    with zipfile.ZipFile(ours) as archive, archive.open("arr_0.npy") as array:
        assert np.load(io.BytesIO(array.read())).tobytes() == np.load(io.BytesIO(theirs.getvalue())).tobytes()


def test_an_array_of_another_length_is_refused() -> None:
    writer = NpzWriter(io.BytesIO(), [Array("arr_0", "|u1", (2, 2, 2, 1))])
    writer.data(bytes(7))
    with pytest.raises(ValueError, match="another length"):
        writer.end()


def test_the_shards_are_joined_at_the_end_and_the_manifest_says_so(tmp_path: Path) -> None:
    output = output_of(tmp_path, PLAN)
    for shard in range(PLAN.shards):
        make_shard(output, PLAN, shard)
    ending = finalize(LocalStore(tmp_path), PLAN, cancelled=False, errors={})
    with np.load(tmp_path / PLAN.prefix / EVERYTHING) as arrays:
        assert (arrays["arr_0"] == pictures(range(10), PLAN)).all()
    manifest = json.loads((tmp_path / PLAN.prefix / "manifest.json").read_bytes())
    assert manifest["files"] == ending.files and EVERYTHING in ending.files


def test_after_a_retry_there_is_one_joined_file_of_all_images(tmp_path: Path) -> None:
    output, store = output_of(tmp_path, PLAN), LocalStore(tmp_path)
    for shard in (0, 2):
        make_shard(output, PLAN, shard)
    assert finalize(store, PLAN, cancelled=False, errors={1: "BAD: x"}).state == "PARTIALLY_SUCCEEDED"
    assert joined(tmp_path) == ["samples_6x4x3x3.npz"]
    make_shard(output, PLAN, 1)
    assert finalize(store, PLAN, cancelled=False, errors={}, retry_round=1).state == "SUCCEEDED"
    assert joined(tmp_path) == [EVERYTHING]


def test_what_was_summed_up_is_gone_when_a_later_round_ends_otherwise(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    make_shard(output_of(tmp_path, PLAN), PLAN, 0)
    first = finalize(store, PLAN, cancelled=False, errors={1: "BAD: x"})
    assert all((tmp_path / PLAN.prefix / file).is_file() for file in first.files) and first.files
    make_shard(output_of(tmp_path, PLAN), PLAN, 1)
    second = finalize(store, PLAN, cancelled=True, errors={}, retry_round=1)
    assert set(second.files) == {"README.md", ".mintage/contact-sheet.png"}
    assert joined(tmp_path) == []


def test_a_shard_that_was_changed_is_not_joined(tmp_path: Path) -> None:
    output = output_of(tmp_path, PLAN)
    for shard in range(PLAN.shards):
        make_shard(output, PLAN, shard)
    file = tmp_path / PLAN.prefix / "data/train-00001-of-00003.npz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    ending = finalize(LocalStore(tmp_path), PLAN, cancelled=False, errors={})
    assert ending.state == "FAILED" and "train-00001-of-00003.npz was changed" in ending.error
    assert joined(tmp_path) == []
