from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from mintage.v1.repair_pb2 import RepairJobResponse, RepairOutcome, RepairProgress
from mintage.v1.verification_pb2 import Finding, Verdict, VerificationProgress, VerifyJobResponse

from service.cli import app
from service.cli.jobs import repair, verify
from tests.support.command_line import CliRunner

CHECKED = VerificationProgress(shards_checked=3, shards_total=3)
FOUND = Finding(kind=Finding.KIND_MISSING, shard=1, expected="aa", detail="x.tar is missing", file_name="x.tar")
WHOLE = RepairOutcome(
    sound=True, findings=3, shards_made=2, markers_written=1, files_written=["manifest.json"], root_digest="cc"
)
PARTS = (
    RepairJobResponse(checked=CHECKED),
    RepairJobResponse(finding=FOUND),
    RepairJobResponse(progress=RepairProgress(shards_done=1, shards_total=3)),
)


class Client:
    """Answers with these parts."""

    def __init__(self, *parts: RepairJobResponse, sound: bool = False) -> None:
        self.parts, self.sound = parts, sound
        self.repaired: list[str] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None: ...

    def verify(self, name: str, *, recompute: int, seed: int) -> Iterator[VerifyJobResponse]:
        """Verify."""
        yield VerifyJobResponse(verdict=Verdict(sound=self.sound, findings=int(not self.sound), progress=CHECKED))

    def repair(self, name: str) -> Iterator[RepairJobResponse]:
        """Repair."""
        self.repaired.append(name)
        yield from self.parts


def run(monkeypatch: pytest.MonkeyPatch, client: Client, *arguments: str) -> Any:
    for module in (repair, verify):
        monkeypatch.setattr(module, "connect", lambda _: client)
    return CliRunner().invoke(app, ["jobs", *arguments])


def test_a_repair_says_what_was_wrong_and_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, Client(*PARTS, RepairJobResponse(outcome=WHOLE)), "repair", "a")
    assert result.exit_code == 0
    first, last = result.stdout.splitlines()
    assert first == "MISSING: shard 1: x.tar is missing; expected aa"
    assert last == (
        "jobs/a is whole: 2 shards made again; 1 marker written again; manifest.json written again, root digest cc"
    )


def test_a_job_that_was_whole_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = RepairOutcome(sound=True, root_digest="cc")
    result = run(monkeypatch, Client(RepairJobResponse(outcome=outcome)), "repair", "a")
    assert (result.exit_code, result.stdout) == (0, "jobs/a is whole: nothing was wrong, root digest cc\n")


def test_what_is_still_wrong_is_told_by_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = RepairOutcome(findings=1, error="1 of 3 shards failed")
    parts = (RepairJobResponse(remaining=FOUND), RepairJobResponse(outcome=outcome))
    result = run(monkeypatch, Client(*parts), "repair", "a")
    assert result.exit_code == 1 and result.stdout.startswith("still MISSING: shard 1")
    assert result.stdout.endswith("jobs/a is not whole: nothing was made again; 1 of 3 shards failed\n")


def test_a_machine_gets_one_object_a_line_the_outcome_last(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, Client(*PARTS, RepairJobResponse(outcome=WHOLE)), "repair", "a", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [next(iter(line)) for line in lines] == ["checked", "finding", "progress", "outcome"]
    assert (lines[1]["finding"]["file_name"], lines[-1]["outcome"]["shards_made"]) == ("x.tar", 2)


@pytest.mark.parametrize("sound", [True, False])
def test_verify_repairs_only_what_is_not_sound_and_only_if_asked(monkeypatch: pytest.MonkeyPatch, sound: bool) -> None:
    client = Client(RepairJobResponse(outcome=WHOLE), sound=sound)
    assert run(monkeypatch, client, "verify", "a").exit_code == (0 if sound else 1)
    assert client.repaired == []
    assert run(monkeypatch, client, "verify", "a", "--repair").exit_code == 0
    assert client.repaired == ([] if sound else ["a"])
