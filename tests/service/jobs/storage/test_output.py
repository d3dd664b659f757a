"""What holds of a job's folder wherever it is: on this machine, or in a bucket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.jobs.dispatch.finalize import finalize
from service.jobs.storage.output import Output
from service.jobs.storage.store import Store, open_store
from service.jobs.submission.submit import write_plan
from service.settings import Settings
from tests.support.plans import sample_plan
from tests.support.shards import FORMATS, make_shard


@dataclass
class Place:
    """A store, and how its files are seen by others."""

    store: Store
    root: Path
    s3: Any = None

    def everything(self) -> dict[str, bytes]:
        """Every file by its name below the root."""
        if self.s3 is not None:
            objects: dict[str, bytes] = self.s3.objects("base/")
            return {key.removeprefix("base/"): data for key, data in objects.items()}
        files = [path for path in self.root.rglob("*") if path.is_file()]
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in files}

    def spooled(self) -> list[Path]:
        """Temporary files and folders."""
        return [*self.root.rglob(".tmp/*")]


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        settings = Settings.model_validate({"state_dir": tmp_path})
        return Place(open_store(settings), Path(settings.outputs))
    server = request.getfixturevalue("s3")
    settings = Settings.model_validate({"state_dir": tmp_path, **server.settings("base")})
    return Place(open_store(settings), tmp_path, server)


@pytest.fixture
def output(place: Place) -> Output:
    return place.store.output("a/b")


def test_the_first_writer_of_a_name_wins(place: Place, output: Output) -> None:
    assert output.put("shards/0.json", b"first")
    assert not output.put("shards/0.json", b"second")
    with output.temporary("0.tar") as temporary:
        temporary.file.write(b"third")
        assert not output.publish(temporary, "shards/0.json")
    assert output.read("shards/0.json") == b"first"
    assert place.everything() == {"a/b/shards/0.json": b"first"}


def test_what_was_never_published_leaves_nothing(place: Place, output: Output) -> None:
    with pytest.raises(KeyError), output.temporary("x.") as temporary:
        temporary.file.write(b"half")
        raise KeyError
    with pytest.raises(KeyError), output.temporary_folder("x.") as folder:
        folder.add("0.png", b"half")
        raise KeyError
    assert place.everything() == {} and place.spooled() == []


def test_what_is_not_there_is_none(place: Place, output: Output) -> None:
    assert output.read("plan.json") is None
    assert output.size("plan.json") is None
    assert output.modified_ms("plan.json") == 0
    assert output.names() == output.names("shards") == [] and output.sizes("shards") == {}
    with pytest.raises(FileNotFoundError), output.open("plan.json"):
        pass
    output.remove("plan.json")
    output.remove_folder()


def test_a_file_is_read_from_any_place(output: Output) -> None:
    data = bytes(range(256)) * 100_000
    with output.temporary("t") as temporary:
        temporary.file.write(data)
        assert output.publish(temporary, "shards/0.tar")
    assert output.size("shards/0.tar") == len(data)
    with output.open("shards/0.tar") as file:
        assert file.read(1000) == data[:1000]
        file.seek(20_000_000)
        assert (file.read(10), file.tell()) == (data[20_000_000:20_000_010], 20_000_010)
        file.seek(0)
        assert file.read() == data and file.read() == b""


def test_only_what_sums_up_a_job_is_replaced(place: Place, output: Output) -> None:
    for data in (b"one", b"two"):
        with output.temporary("sheet.png") as temporary:
            temporary.file.write(data)
            output.replace(temporary, "sheet.png")
    assert place.everything() == {"a/b/sheet.png": b"two"}
    assert output.modified_ms("sheet.png") > 1_700_000_000_000


def test_names_and_sizes_are_of_one_folder(output: Output) -> None:
    for name, data in (("plan.json", b"1"), ("shards/0.tar", b"22"), ("shards/0.json", b"333"), ("shards/x/y", b"")):
        output.put(name, data)
    output.remove_temporaries()
    assert output.names() == ["plan.json", "shards"]
    sizes = output.sizes("shards")
    assert sorted(sizes) == ["0.json", "0.tar", "x"] and (sizes["0.tar"], sizes["0.json"]) == (2, 3)


def test_a_folder_is_published_whole_and_never_over_another(place: Place, output: Output) -> None:
    for data, expected in ((b"one", True), (b"one", False)):
        with output.temporary_folder("0.") as folder:
            for name in ("0.png", "1.png"):
                folder.add(name, data)
            assert output.publish(folder, "images/000000") is expected
    assert place.everything() == {"a/b/images/000000/0.png": b"one", "a/b/images/000000/1.png": b"one"}
    assert place.spooled() == []


def test_a_prefix_is_not_one_that_begins_like_it(place: Place) -> None:
    first, second = place.store.output("a/b"), place.store.output("a/bc")
    first.put("plan.json", b"1")
    second.put("plan.json", b"2")
    first.remove_temporaries()
    assert first.names() == ["plan.json"]
    first.remove_folder()
    assert place.everything() == {"a/bc/plan.json": b"2"}
    assert list(place.store.plan_prefixes()) == ["a/bc"]


def test_every_plan_is_found_and_nothing_below_a_job_is_taken_for_one(place: Place) -> None:
    assert list(place.store.plan_prefixes()) == []
    for prefix in ("jobs/x", "jobs/y", "deep/er/and/deeper", "alone", "no/plan"):
        place.store.output(prefix).put("other.txt" if prefix == "no/plan" else "plan.json", b"")
    place.store.output("jobs/x").put("shards/plan.json", b"")
    assert sorted(place.store.plan_prefixes()) == ["alone", "deep/er/and/deeper", "jobs/x", "jobs/y"]


def test_a_folder_is_removed_with_all_that_is_in_it(
    place: Place, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.jobs.storage.bucket_output.KEYS_AT_ONCE", 3)
    place.store.output("a").put("kept", b"")
    for number in range(10):
        output.put(f"shards/{number % 2}/{number}", b"")
    output.remove("shards/0/0")
    output.remove_folder()
    assert place.everything() == {"a/kept": b""}


def test_a_late_writer_brings_no_deleted_job_back(place: Place, output: Output) -> None:
    late = place.store.output("a/b", existing=True)
    with pytest.raises(FileNotFoundError), late.temporary("t"):
        pass
    output.put("plan.json", b"x")
    with late.temporary("t") as temporary, late.temporary_folder("u") as folder:
        temporary.file.write(b"x")
        folder.add("0.png", b"x")
        output.remove("plan.json")
        output.remove_folder()
        with pytest.raises(FileNotFoundError):
            late.publish(temporary, "shards/000000.tar")
        with pytest.raises(FileNotFoundError):
            late.publish(folder, "images/000000")
        with pytest.raises(FileNotFoundError):
            late.replace(temporary, "contact-sheet.png")
    for name in ("shards/000000.json", "manifest.json"):
        with pytest.raises(FileNotFoundError):
            late.put(name, b"x")
    assert place.everything() == {} and place.spooled() == []


@pytest.mark.parametrize("name", FORMATS)
def test_a_job_of_any_format_is_made_and_signed_off_alike(place: Place, tmp_path: Path, name: str) -> None:
    plan = sample_plan(format=name)
    here = open_store(Settings.model_validate({"state_dir": tmp_path / "here"}))
    endings = []
    for store in (place.store, here):
        write_plan(store, plan)
        for shard in range(plan.shards):
            make_shard(store.output(plan.prefix, existing=True), plan, shard)
            make_shard(store.output(plan.prefix, existing=True), plan, shard, step=1)
        endings.append(finalize(store, plan, cancelled=False, errors={}))
    assert endings[0] == endings[1] and endings[0].state == "SUCCEEDED"
    files = [path for path in (tmp_path / "here/outputs").rglob("*") if path.is_file()]
    expected = {path.relative_to(tmp_path / "here/outputs").as_posix(): path.read_bytes() for path in files}
    assert place.everything() == expected and place.spooled() == []


def test_what_was_read_of_a_deleted_job_marks_nothing_in_the_next_one_of_its_folder(
    place: Place, output: Output
) -> None:
    late = place.store.output("a/b", existing=True)
    output.put("plan.json", sample_plan(request_id="first").to_json())
    output.put("shards/0.tar", b"x")
    with late.open("shards/0.tar") as file:
        assert file.read() == b"x"
    output.remove_folder()
    output.put("plan.json", sample_plan(request_id="second").to_json())
    for write in (lambda: late.put("shards/0.json", b"x"), lambda: late.temporary("t").__enter__()):
        with pytest.raises(FileNotFoundError):
            write()
    assert place.everything() == {"a/b/plan.json": sample_plan(request_id="second").to_json()}
