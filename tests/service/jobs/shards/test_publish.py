from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from service.jobs.plan import Plan
from service.jobs.shards.formats.choice import open_images
from service.jobs.shards.formats.tar import TarWriter
from service.jobs.shards.marker import Marker, marker_name, read_marker
from service.jobs.shards.publish import DeterminismError, adopt, data_name, publish
from service.jobs.storage.local_output import LocalOutput
from service.jobs.storage.output import OutputError
from tests.support.plans import sample_plan
from tests.support.shards import marker_of

PLAN = sample_plan()


@pytest.fixture
def output(tmp_path: Path) -> LocalOutput:
    return LocalOutput(tmp_path, PLAN.prefix)


def pictures(indices: range, plan: Plan = PLAN) -> np.ndarray:
    shape = (len(indices), plan.height, plan.width, plan.channels)
    return (np.arange(np.prod(shape)) + indices.start).astype(np.uint8).reshape(shape)


def make_shard(output: LocalOutput, shard: int = 0, attempt: int = 1, change: int = 0, recorded: str = "") -> Marker:
    with output.temporary("t") as temporary:
        writer = TarWriter(temporary.file, PLAN)
        writer.add(PLAN.span(shard).start, pictures(PLAN.span(shard)) + np.uint8(change))
        writer.finish()
        marker = marker_of(PLAN, shard, writer.digest, writer.size, attempt)
        publish(output, PLAN, marker, temporary, recorded=recorded)
    return marker


def shard_file(output: LocalOutput, shard: int = 0) -> Path:
    return output.root / output.prefix / f"data/train-{shard:05d}-of-00003.tar"


def marker_file(output: LocalOutput, shard: int = 0) -> Path:
    return output.root / output.prefix / marker_name(shard)


def test_a_tar_holds_a_picture_and_its_facts_for_each_sample_in_order(output: LocalOutput) -> None:
    make_shard(output, 1)
    with tarfile.open(shard_file(output, 1)) as tar:
        assert tar.getnames() == [f"{i:09d}.{suffix}" for i in range(4, 8) for suffix in ("png", "json")]
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in tar} == {(0, 0, 0, "", "", 0o644)}
        facts = json.load(tar.extractfile("000000005.json"))  # type: ignore[arg-type]
    assert facts == {"index": 5, "model_digest": PLAN.model_digest, "seed": 7}


def test_a_tar_is_what_pythons_tarfile_would_write(output: LocalOutput) -> None:
    make_shard(output)
    ours = shard_file(output).read_bytes()
    theirs = io.BytesIO()
    with (
        tarfile.open(shard_file(output)) as read,
        tarfile.open(fileobj=theirs, mode="w", format=tarfile.USTAR_FORMAT) as written,
    ):
        for member in read:
            fresh = tarfile.TarInfo(member.name)
            fresh.size = member.size
            written.addfile(fresh, read.extractfile(member))
    assert ours == theirs.getvalue()[: len(ours)] and not any(theirs.getvalue()[len(ours) :])


def test_the_digest_is_that_of_the_file(output: LocalOutput) -> None:
    marker = make_shard(output)
    data = shard_file(output).read_bytes()
    assert (marker.digest, marker.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert read_marker(output, 0) == marker


def test_what_was_written_can_be_read(output: LocalOutput) -> None:
    make_shard(output, 1)
    with open_images(output, PLAN, 1) as images:
        first = images.read(range(4, 5))
        rest = images.read(range(6, 8))
    assert (np.concatenate([first, rest]) == pictures(range(4, 8))[[0, 2, 3]]).all()


@pytest.mark.parametrize(
    ("shard", "changes", "indices"),
    [
        (0, {"height": 3, "width": 4}, range(0, 1)),
        (0, {"channels": 3}, range(0, 1)),
        (0, {}, range(0, 5)),
        (1, {"shard_size": 3}, range(3, 4)),
    ],
)
def test_a_tar_that_is_not_as_expected_is_refused(
    output: LocalOutput, shard: int, changes: dict[str, int], indices: range
) -> None:
    make_shard(output, shard)
    plan = dataclasses.replace(PLAN, **changes)  # type: ignore[arg-type]
    if plan.shards != PLAN.shards:
        shard_file(output, shard).rename(output.root / output.prefix / data_name(plan, shard))
    with open_images(output, plan, shard) as images, pytest.raises(OutputError):
        images.read(indices)


def test_making_it_again_with_the_same_bytes_agrees(output: LocalOutput) -> None:
    first = make_shard(output, attempt=1)
    make_shard(output, attempt=2)
    assert read_marker(output, 0) == first


def test_making_it_again_with_other_bytes_is_loud_and_keeps_the_first(output: LocalOutput) -> None:
    first = make_shard(output)
    with pytest.raises(DeterminismError, match="made twice with different bytes"):
        make_shard(output, attempt=2, change=1)
    assert hashlib.sha256(shard_file(output).read_bytes()).hexdigest() == first.digest
    assert not list((output.root / output.prefix / ".tmp").iterdir())


def test_a_file_without_a_marker_is_not_trusted(output: LocalOutput) -> None:
    make_shard(output)
    (output.root / output.prefix / ".mintage/000000.json").unlink()
    assert adopt(output, PLAN, marker_of(PLAN, 0, attempt=2)) is None


@pytest.mark.parametrize("marker", [None, b"{", b"{}"])
def test_a_file_that_the_ledger_knows_is_adopted_and_gets_its_marker_back(
    output: LocalOutput, marker: bytes | None
) -> None:
    made, path = make_shard(output), output.root / output.prefix / ".mintage/000000.json"
    path.unlink()
    if marker is not None:
        path.write_bytes(marker)
    adopted = adopt(output, PLAN, marker_of(PLAN, 0, attempt=2), recorded=made.digest)
    assert adopted == dataclasses.replace(made, attempt=2) == read_marker(output, 0)


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("marked", [True, False])
def test_a_damaged_file_is_replaced_by_the_recorded_bytes_only(
    output: LocalOutput, marked: bool, recorded: bool
) -> None:
    made, file = make_shard(output), shard_file(output)
    data = file.read_bytes()
    file.write_bytes(data[:700])
    if not marked:
        marker_file(output).unlink()
    digest = made.digest if recorded else ""
    assert adopt(output, PLAN, marker_of(PLAN, 0), recorded=digest) is None
    if marked or recorded:
        with pytest.raises(DeterminismError):
            make_shard(output, change=1, recorded=digest)
        assert file.read_bytes() == data[:700]
    make_shard(output, attempt=2, recorded=digest)
    assert file.read_bytes() == data
    marker = read_marker(output, 0)
    assert marker is not None and (marker.digest, marker.bytes) == (made.digest, made.bytes)


def test_a_marker_that_the_file_gives_the_lie_is_written_again(output: LocalOutput) -> None:
    made, path = make_shard(output), marker_file(output)
    path.write_bytes(path.read_bytes().replace(made.digest.encode(), b"e" * 64))
    assert adopt(output, PLAN, marker_of(PLAN, 0)) is None
    assert make_shard(output, attempt=2) == read_marker(output, 0)


def test_a_finished_shard_is_found_and_not_retried(output: LocalOutput) -> None:
    made = make_shard(output)
    assert adopt(output, PLAN, marker_of(PLAN, 0, attempt=2)) == made


def test_there_is_nothing_to_adopt_in_an_empty_folder(output: LocalOutput) -> None:
    assert adopt(output, PLAN, marker_of(PLAN, 0)) is None


def test_a_changed_file_is_not_adopted(output: LocalOutput) -> None:
    make_shard(output)
    with shard_file(output).open("r+b") as file:
        file.seek(600)
        file.write(b"!")
    assert adopt(output, PLAN, marker_of(PLAN, 0)) is None


def test_a_damaged_marker_is_named(output: LocalOutput) -> None:
    output.put(".mintage/000000.json", b"{}")
    with pytest.raises(OutputError, match=r"000000\.json is damaged"):
        read_marker(output, 0)
