from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cli.jobs.download import Download, DownloadError
from service.jobs.dispatch.finalize import finalize
from service.jobs.plan import Plan
from service.jobs.shards.formats.choice import layout_of
from service.jobs.storage.local_store import LocalStore
from tests.support.plans import sample_plan
from tests.support.shards import FORMATS, make_shard, output_of, tree

every_format = pytest.mark.parametrize("plan", [sample_plan(format=name) for name in FORMATS], ids=FORMATS)


class Files:
    """Reads the files of a job on this machine as the API does; notes what was asked."""

    def __init__(self, root: Path, plan: Plan) -> None:
        self._output, self._plan = LocalStore(root).output(plan.prefix), plan
        self.asked: list[str | int] = []
        self.breaks_at = 1000
        self.changed = b""

    def read_file(self, name: str, file_name: str) -> Iterator[bytes]:
        self._note(file_name)
        data = self._output.read(file_name)
        assert data is not None
        yield data

    def read_shard(self, name: str, index: int) -> Iterator[bytes]:
        self._note(index)
        with layout_of(self._plan).open(self._output, index) as file:
            data = file.read()
            yield data[:100]
            if len(self.asked) == self.breaks_at:
                raise ConnectionError
            yield self.changed or data[100:]

    def _note(self, what: str | int) -> None:
        self.asked.append(what)


def finished(root: Path, plan: Plan) -> dict[str, bytes]:
    """Make a job; returns its files but markers."""
    output = output_of(root, plan)
    output.put("plan.json", plan.to_json())
    for shard in range(plan.shards):
        make_shard(output, plan, shard)
    assert finalize(LocalStore(root), plan, cancelled=False, errors={}).state == "SUCCEEDED"
    files = tree(root / plan.prefix)
    return {name: data for name, data in files.items() if not (name.startswith(".mintage/") and name.endswith("json"))}


@every_format
def test_every_file_comes_and_none_comes_twice(tmp_path: Path, plan: Plan) -> None:
    expected, client, to = finished(tmp_path / "there", plan), Files(tmp_path / "there", plan), tmp_path / "here"
    assert all(fetched for _, fetched in Download(client, "jobs/a", to).run())
    assert tree(to) == expected
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=to, check=True, capture_output=True)
    client.asked.clear()
    assert not any(fetched for _, fetched in Download(client, "jobs/a", to).run())
    assert client.asked == ["SHA256SUMS", "manifest.json"]


@every_format
def test_an_interrupted_download_goes_on_with_what_is_missing(tmp_path: Path, plan: Plan) -> None:
    expected, client, to = finished(tmp_path / "there", plan), Files(tmp_path / "there", plan), tmp_path / "here"
    client.breaks_at = 4  # after both lists and shard 0: in the middle of shard 1
    with pytest.raises(ConnectionError):
        list(Download(client, "jobs/a", to).run())
    assert not (to / "SHA256SUMS").exists() and not list(to.rglob("*.part"))
    client.asked.clear()
    client.breaks_at = 1000
    list(Download(client, "jobs/a", to).run())
    assert tree(to) == expected and 0 not in client.asked and 1 in client.asked


@every_format
def test_a_file_that_was_changed_here_is_fetched_again(tmp_path: Path, plan: Plan) -> None:
    expected, client, to = finished(tmp_path / "there", plan), Files(tmp_path / "there", plan), tmp_path / "here"
    list(Download(client, "jobs/a", to).run())
    changed = max(to.rglob("data/**/*.*"), key=lambda path: path.as_posix())
    changed.write_bytes(b"x")
    assert [fetched for _, fetched in Download(client, "jobs/a", to).run()].count(True) == 1
    assert tree(to) == expected


def test_other_bytes_than_the_digest_says_are_refused_and_get_no_name(tmp_path: Path) -> None:
    plan = sample_plan()
    finished(tmp_path / "there", plan)
    client = Files(tmp_path / "there", plan)
    client.changed = b"something else"
    with pytest.raises(DownloadError, match=r"train-00000-of-00003\.tar came with other bytes"):
        list(Download(client, "jobs/a", tmp_path / "here").run())
    assert tree(tmp_path / "here") == {}


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "data/../../x", "data//x", "a b"])
def test_a_list_that_names_something_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    plan = sample_plan()
    finished(tmp_path / "there", plan)
    sums = tmp_path / "there" / plan.prefix / "SHA256SUMS"
    sums.write_text(sums.read_text() + f"{'0' * 64}  {name}\n")
    with pytest.raises(DownloadError, match="names no file of the job"):
        Download(Files(tmp_path / "there", plan), "jobs/a", tmp_path / "here")


def test_a_manifest_that_is_not_that_of_the_list_is_refused(tmp_path: Path) -> None:
    plan = sample_plan()
    finished(tmp_path / "there", plan)
    manifest = tmp_path / "there" / plan.prefix / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_bytes())))
    with pytest.raises(DownloadError, match=r"manifest\.json is not what SHA256SUMS says"):
        Download(Files(tmp_path / "there", plan), "jobs/a", tmp_path / "here")
