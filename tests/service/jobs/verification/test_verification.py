"""Jobs that were really made, then changed: what a verification finds."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mintage.v1 import verification_pb2

from service.errors import FailedPrecondition, InvalidArgument, NotFound
from service.jobs.dispatch.finalize import finalize
from service.jobs.dispatch.rebuild import rebuild
from service.jobs.ledger.control import Control
from service.jobs.storage.local_store import LocalStore
from service.jobs.storage.store import open_store
from service.jobs.submission.submit import write_plan
from service.jobs.verification.findings import Finding, manifest_or_finding
from service.jobs.workers.attempt import ShardRunner
from tests.support.valkey import Valkey
from tests.support.verification import NAME, PLAN, Bench, Use


def test_a_job_that_nobody_touched_is_sound_and_is_not_changed(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        before = {path: path.read_bytes() for path in bench.folder.rglob("*") if path.is_file()}
        first, *_, last = await bench.parts()
        assert first.WhichOneof("part") == "progress" and first.progress.shards_total == 3
        verdict = last.verdict
        assert verdict.sound and (verdict.progress.shards_checked, verdict.progress.shards_total) == (3, 3)
        assert verdict.root_digest == (await bench.ledger.job(PLAN.job)).root_digest
        assert {path: path.read_bytes() for path in bench.folder.rglob("*") if path.is_file()} == before
        assert not bench.models.generated

    with_job(act)


def flip(path: Path, place: int = -600) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def edit(path: Path, change: Callable[[Any], object]) -> None:
    value = json.loads(path.read_bytes())
    change(value)
    path.write_text(json.dumps(value))


def replace_by_link(path: Path) -> None:
    target = path.rename(path.with_suffix(".real"))
    path.symlink_to(target)


DAMAGE: dict[str, tuple[Callable[[Path], object], list[tuple[str, int | None]]]] = {
    "a flipped byte": (lambda job: flip(job / "data/train-00001-of-00003.tar"), [("WRONG_DIGEST", 1)]),
    "a cut file": (
        lambda job: (job / "data/train-00001-of-00003.tar").write_bytes(b""),
        [("WRONG_DIGEST", 1)],
    ),
    "a missing shard": (lambda job: (job / "data/train-00002-of-00003.tar").unlink(), [("MISSING", 2)]),
    "a link": (lambda job: replace_by_link(job / "data/train-00002-of-00003.tar"), [("MISSING", 2)]),
    "a missing marker": (lambda job: (job / ".mintage/000000.json").unlink(), [("WRONG_MARKER", 0)]),
    "a damaged marker": (lambda job: (job / ".mintage/000000.json").write_text("{"), [("WRONG_MARKER", 0)]),
    "another digest in a marker": (
        lambda job: edit(job / ".mintage/000000.json", lambda marker: marker.update(digest="0" * 64)),
        [("WRONG_MARKER", 0)],
    ),
    "another count in a marker": (
        lambda job: edit(job / ".mintage/000000.json", lambda marker: marker.update(count=3)),
        [("WRONG_MARKER", 0)],
    ),
    "another size in a marker": (
        lambda job: edit(job / ".mintage/000000.json", lambda marker: marker.update(bytes=3)),
        [("WRONG_MARKER", 0)],
    ),
    "another digest in the manifest": (
        lambda job: edit(job / "manifest.json", lambda all_: all_["shards"][1].update(digest="0" * 64)),
        [("WRONG_MANIFEST", 1)],
    ),
    "another root digest": (
        lambda job: edit(job / "manifest.json", lambda all_: all_.update(root_digest="0" * 64)),
        [("WRONG_MANIFEST", None)],
    ),
    "a shard less in the manifest": (
        lambda job: edit(job / "manifest.json", lambda all_: all_["shards"].pop()),
        [("WRONG_MANIFEST", 2)],
    ),
    "a shard twice in the manifest": (
        lambda job: edit(job / "manifest.json", lambda all_: all_["shards"].append(all_["shards"][-1])),
        [("WRONG_MANIFEST", 2)],
    ),
    "a shard that there is not": (
        lambda job: edit(job / "manifest.json", lambda all_: all_["shards"][2].update(shard=3)),
        [("WRONG_MANIFEST", 3), ("WRONG_MANIFEST", 2)],
    ),
    "another cut": (
        lambda job: edit(job / "manifest.json", lambda all_: all_["shards"][0].update(count=5)),
        [("WRONG_MANIFEST", 0)],
    ),
    "no manifest": (lambda job: (job / "manifest.json").unlink(), [("WRONG_MANIFEST", None)]),
    "a damaged manifest": (lambda job: (job / "manifest.json").write_text("[]"), [("WRONG_MANIFEST", None)]),
    "another plan": (
        lambda job: edit(job / "plan.json", lambda plan: plan.update(count=11)),
        [("WRONG_MANIFEST", None)],
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_whatever_was_changed_is_found_and_nothing_else(with_job: Use, what: str) -> None:
    damage, expected = DAMAGE[what]

    async def act(bench: Bench) -> None:
        damage(bench.folder)
        assert await bench.findings() == expected

    with_job(act)


def test_a_missing_shard_is_named_by_its_path_in_the_folder(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        (bench.folder / "data/train-00002-of-00003.tar").unlink()
        found, *_ = (part.finding for part in await bench.parts() if part.WhichOneof("part") == "finding")
        assert found.detail == "data/train-00002-of-00003.tar is missing"

    with_job(act)


def test_a_file_that_was_changed_together_with_marker_and_manifest_is_found(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        flip(bench.folder / "data/train-00001-of-00003.tar")
        for name in (".mintage/000001.json", "manifest.json", ".mintage/contact-sheet.png"):
            (bench.folder / name).unlink()
        await ShardRunner(bench.settings, bench.ledger, bench.models, "w").run_shard(PLAN.job, 1)
        assert [kind for kind, _ in await bench.findings()] == ["WRONG_MANIFEST", "WRONG_DIGEST", "WRONG_MARKER"]

    with_job(act)


def test_a_finding_says_what_was_expected_and_what_is_there(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        expected = (await bench.ledger.shards(PLAN.job, first=1, limit=1))[0].digest
        flip(bench.folder / "data/train-00001-of-00003.tar")
        found = next(part.finding for part in await bench.parts() if part.WhichOneof("part") == "finding")
        assert found.expected == expected and len(found.found) == 64 and found.found != expected

    with_job(act)


def test_a_job_that_succeeded_in_part_and_was_forgotten_by_redis_is_sound(with_job: Use, valkey: Valkey) -> None:
    async def act(bench: Bench) -> None:
        for name in ("data/train-00001-of-00003.tar", ".mintage/000001.json", "manifest.json"):
            (bench.folder / name).unlink()
        finalize(open_store(bench.settings), PLAN, cancelled=False, errors={1: "BAD: x"})
        with contextlib.closing(valkey.client()) as client:
            client.flushall()
        await rebuild(bench.ledger, open_store(bench.settings))
        assert (await bench.ledger.job(PLAN.job)).state == "PARTIALLY_SUCCEEDED"
        assert await bench.findings(recompute=10) == []
        assert bench.models.generated == [range(0, 3), range(3, 4), range(8, 9), range(9, 10)]

    with_job(act)


def test_a_job_that_goes_on_or_does_not_exist_is_not_verified(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        other = dataclasses.replace(PLAN, job="01k0000000000009", prefix="other")
        await bench.ledger.create(write_plan(open_store(bench.settings), other))
        for name, error in (
            (f"jobs/{other.job}", FailedPrecondition),
            ("jobs/nosuch", NotFound),
            ("x", InvalidArgument),
        ):
            with pytest.raises(error):
                await anext(bench.api.VerifyJob(verification_pb2.VerifyJobRequest(name=name), None))
        with pytest.raises(InvalidArgument, match="recompute_count"):
            await bench.parts(recompute=-1)

    with_job(act)


def test_a_job_that_is_deleted_meanwhile_has_no_verdict(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        parts = bench.api.VerifyJob(verification_pb2.VerifyJobRequest(name=NAME), None)
        await anext(parts)
        await Control(bench.ledger).delete(PLAN.job, open_store(bench.settings))
        with pytest.raises(NotFound):
            _ = [part async for part in parts]

    with_job(act)


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "shards/../../x", ""])
def test_a_manifest_that_names_files_elsewhere_is_damaged(tmp_path: Path, name: str) -> None:
    output = LocalStore(tmp_path).output("a/b")
    files = {name: "0" * 64}
    manifest = {"job": "x", "plan_digest": "", "state": "SUCCEEDED", "root_digest": "", "shards": [], "files": files}
    output.put("manifest.json", json.dumps(manifest).encode())
    found = manifest_or_finding(output)
    assert isinstance(found, Finding) and found.kind == "WRONG_MANIFEST" and "damaged" in found.detail
