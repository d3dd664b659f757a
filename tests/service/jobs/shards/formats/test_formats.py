"""What holds of every format of images."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from service.jobs.dispatch.finalize import finalize
from service.jobs.plan import Plan, read_plan
from service.jobs.shards.formats.choice import image_layout_of, open_images
from service.jobs.shards.marker import marker_name, read_marker
from service.jobs.shards.publish import adopt, publish
from service.jobs.storage.local_store import LocalStore
from service.jobs.storage.output import OutputError
from tests.support.plans import sample_plan
from tests.support.shards import FORMATS, make_shard, marker_of, output_of, pictures, tree

every_format = pytest.mark.parametrize("plan", [sample_plan(format=name) for name in FORMATS], ids=FORMATS)


@every_format
def test_what_was_written_is_read_in_any_pieces(tmp_path: Path, plan: Plan) -> None:
    output, expected = output_of(tmp_path, plan), pictures(range(4, 8), plan)
    make_shard(output, plan, 1)
    for cut in ([range(4, 8)], [range(4, 5), range(5, 8)], [range(6, 7)], [range(4, 5), range(7, 8)]):
        with open_images(output, plan, 1) as images:
            for indices in cut:
                assert (images.read(indices) == expected[indices.start - 4 : indices.stop - 4]).all()


@every_format
def test_the_same_images_give_the_same_bytes_in_whatever_pieces_they_come(tmp_path: Path, plan: Plan) -> None:
    one, two = output_of(tmp_path / "one", plan), output_of(tmp_path / "two", plan)
    assert make_shard(one, plan, step=1) == make_shard(two, plan, step=4)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


@every_format
def test_digest_and_size_are_those_of_the_shard_read_as_one_file(tmp_path: Path, plan: Plan) -> None:
    output, layout = output_of(tmp_path, plan), image_layout_of(plan)
    marker = make_shard(output, plan)
    with layout.open(output, 0) as file:
        data = file.read()
    assert (hashlib.sha256(data).hexdigest(), len(data)) == layout.as_file(output, marker)
    assert layout.digest(output, 0) == (marker.digest, marker.bytes)
    assert layout.size(output, 0) == marker.bytes and layout.size(output, 1) is None


@every_format
def test_a_shard_without_marker_is_adopted_if_its_digest_is_recorded(tmp_path: Path, plan: Plan) -> None:
    output = output_of(tmp_path, plan)
    blank = marker_of(plan, 0)
    assert adopt(output, plan, blank) is None
    marker = make_shard(output, plan)
    (tmp_path / plan.prefix / marker_name(0)).unlink()
    assert adopt(output, plan, blank) is None
    assert adopt(output, plan, blank, recorded=marker.digest) == marker == read_marker(output, 0)


@every_format
def test_a_second_runner_agrees_and_leaves_nothing_behind(tmp_path: Path, plan: Plan) -> None:
    output = output_of(tmp_path, plan)
    make_shard(output, plan)
    before = tree(tmp_path)
    make_shard(output, plan, step=2)
    assert tree(tmp_path) == before
    assert not list((tmp_path / plan.prefix / ".tmp").iterdir())


@every_format
def test_what_is_given_up_leaves_nothing_behind(tmp_path: Path, plan: Plan) -> None:
    output, layout = output_of(tmp_path, plan), image_layout_of(plan)
    with pytest.raises(KeyError), layout.temporary(output, "t.") as temporary:
        layout.writer(temporary, 0).add(0, pictures(range(2), plan))
        raise KeyError
    assert tree(tmp_path) == {}


@every_format
@pytest.mark.parametrize("changes", [{"height": 3, "width": 4}, {"channels": 3}, {"shard_size": 3}])
def test_images_of_another_plan_are_refused(tmp_path: Path, plan: Plan, changes: dict[str, int]) -> None:
    output = output_of(tmp_path, plan)
    make_shard(output, plan)
    make_shard(output, plan, 1)
    other = sample_plan(format=plan.format, **changes)
    with contextlib.ExitStack() as stack, pytest.raises((OutputError, FileNotFoundError)):
        images = stack.enter_context(open_images(output, other, 1))
        images.read(range(other.span(1).start, other.span(1).stop))


@every_format
def test_images_beyond_a_shard_are_refused(tmp_path: Path, plan: Plan) -> None:
    output = output_of(tmp_path, plan)
    make_shard(output, plan)
    with open_images(output, plan, 0) as images, pytest.raises(OutputError):
        images.read(range(2, 5))


@every_format
def test_damage_anywhere_is_refused_or_read_as_it_is_but_never_breaks_the_reader(tmp_path: Path, plan: Plan) -> None:
    output, layout = output_of(tmp_path, plan), image_layout_of(plan)
    marker = make_shard(output, plan)
    files = list((tmp_path / plan.prefix / layout.name(0)).rglob("*.png"))
    file = files[0] if files else tmp_path / plan.prefix / layout.name(0)
    whole = file.read_bytes()

    def is_changed() -> bool:
        try:
            return layout.digest(output, 0)[0] != marker.digest
        except OutputError:
            return True

    for place in range(0, len(whole), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with contextlib.suppress(OutputError, OSError), open_images(output, plan, 0) as images:
            assert images.read(range(4)).shape == (4, 4, 3, 1)
        assert is_changed()
    for size in range(0, len(whole), 31):
        file.write_bytes(whole[:size])
        with contextlib.suppress(OutputError, OSError), open_images(output, plan, 0) as images:
            assert images.read(range(4)).shape == (4, 4, 3, 1)


@every_format
def test_every_format_has_a_contact_sheet_and_all_show_the_same(tmp_path: Path, plan: Plan) -> None:
    sheets = []
    for root, chosen in ((tmp_path / "here", plan), (tmp_path / "tar", sample_plan())):
        output = output_of(root, chosen)
        for shard in range(chosen.shards):
            make_shard(output, chosen, shard)
        assert finalize(LocalStore(root), chosen, cancelled=False, errors={}).state == "SUCCEEDED"
        sheets.append((root / chosen.prefix / ".mintage/contact-sheet.png").read_bytes())
    assert sheets[0] == sheets[1]


@every_format
def test_memory_does_not_grow_with_the_shard(tmp_path: Path, plan: Plan) -> None:
    big = sample_plan(format=plan.format, height=64, width=64, channels=3, count=3000, shard_size=3000)
    layout, output = image_layout_of(big), output_of(tmp_path, big)
    noise = np.random.default_rng(3).integers(0, 256, (50, 64, 64, 3), np.uint8)
    tracemalloc.start()
    with layout.temporary(output, "t.") as temporary:
        writer = layout.writer(temporary, 0)
        for first in range(0, 3000, 50):
            writer.add(first, noise)
        writer.finish()
        assert writer.size > 36_000_000
        publish(output, big, marker_of(big, 0, writer.digest, writer.size), temporary)
    layout.digest(output, 0)
    with open_images(output, big, 0) as images:
        for first in range(0, 3000, 50):
            assert images.read(range(first, first + 50)).shape == noise.shape
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 30_000_000


def test_a_folder_of_pictures_has_the_digest_of_its_list_of_digests_and_is_read_as_a_tar(tmp_path: Path) -> None:
    plan = sample_plan(format="png-folder")
    output, layout = output_of(tmp_path, plan), image_layout_of(plan)
    marker = make_shard(output, plan, 1)
    folder = tmp_path / plan.prefix / "data/train/00001-of-00003"
    names = [*(f"{index:09d}.png" for index in range(4, 8)), "SHA256SUMS"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest() == marker.digest
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True, capture_output=True)
    with layout.open(output, 1) as file, tarfile.open(fileobj=file, mode="r|") as tar:
        found = {member.name: read_member(tar, member) for member in tar}
    assert found == {name: (folder / name).read_bytes() for name in names}


@every_format
def test_the_class_of_each_image_is_written(tmp_path: Path, plan: Plan) -> None:
    assert plan.sampling is not None
    classes = ("cat", 'a "dog"', "bird")
    plan = dataclasses.replace(plan, sampling=dataclasses.replace(plan.sampling, classes=classes))
    output = output_of(tmp_path, plan)
    for shard in range(plan.shards):
        make_shard(output, plan, shard)
    with open_images(output, plan, 1) as images:
        assert (images.read(range(4, 8)) == pictures(range(4, 8), plan)).all()
    finalize(LocalStore(tmp_path), plan, cancelled=False, errors={})
    assert labels_of(tmp_path / plan.prefix, plan.format) == [(index, index % 3) for index in range(10)]
    assert read_plan(plan.to_json()).sampling == plan.sampling


def labels_of(folder: Path, form: str) -> list[tuple[int, int]]:
    """Index and class of each image, as the files of a job have it."""
    if form == "parquet":
        table = pq.read_table(folder / "data")
        return list(zip(table["index"].to_pylist(), table["label"].to_pylist(), strict=True))
    if form == "npz":
        with np.load(folder / "samples_10x4x3x1.npz") as arrays:
            return list(zip(arrays["index"].tolist(), arrays["arr_1"].tolist(), strict=True))
    if form == "png-folder":
        lines = [json.loads(line) for line in (folder / "data/train/metadata.jsonl").read_text().splitlines()]
        assert all((folder / "data/train" / line["file_name"]).is_file() for line in lines)
        return [(line["index"], line["label"]) for line in lines]
    found = []
    for path in sorted(folder.glob("data/*.tar")):
        with tarfile.open(path) as tar:
            known = {member.name: read_member(tar, member) for member in tar}
        facts = [json.loads(known[name]) for name in known if name.endswith(".json")]
        assert [fact["label"] for fact in facts] == [int(known[name]) for name in known if name.endswith(".cls")]
        found += [(fact["index"], fact["label"]) for fact in facts]
    return found


def read_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


@every_format
def test_sha256sum_checks_every_file_of_a_finished_job(tmp_path: Path, plan: Plan) -> None:
    output = output_of(tmp_path, plan)
    output.put("plan.json", plan.to_json())
    for shard in range(plan.shards):
        make_shard(output, plan, shard)
    finalize(LocalStore(tmp_path), plan, cancelled=False, errors={})
    folder = tmp_path / plan.prefix
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True, capture_output=True)
    named = {line[66:] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    markers = {f".mintage/{shard:06d}.json" for shard in range(plan.shards)}
    assert named == set(tree(folder)) - markers - {"SHA256SUMS"}
    listed = json.loads((folder / "manifest.json").read_bytes())["shards"]
    assert [shard["file"] for shard in listed] == [image_layout_of(plan).name(shard) for shard in range(plan.shards)]
