from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from mintage.v1.verification_pb2 import Finding, Verdict, VerificationProgress, VerifyJobResponse

from service.cli import app
from service.cli.jobs import verify
from tests.support.command_line import CliRunner

PROGRESS = VerificationProgress(shards_checked=3, shards_total=3, samples_recomputed=2, samples_total=2)
FOUND = Finding(kind=Finding.KIND_WRONG_DIGEST, shard=0, expected="aa", found="bb", detail="000000.tar was changed")


class Client:
    """Answers with these parts."""

    def __init__(self, *parts: VerifyJobResponse) -> None:
        self.parts = parts
        self.asked: list[tuple[str, int, int]] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None: ...

    def verify(self, name: str, *, recompute: int, seed: int) -> Iterator[VerifyJobResponse]:
        """Verify."""
        self.asked.append((name, recompute, seed))
        yield from self.parts


def verified(monkeypatch: pytest.MonkeyPatch, client: Client, *arguments: str) -> Any:
    monkeypatch.setattr(verify, "connect", lambda _: client)
    return CliRunner().invoke(app, ["jobs", "verify", "a", *arguments])


SOUND = VerifyJobResponse(verdict=Verdict(sound=True, progress=PROGRESS, root_digest="cc"))
UNSOUND = VerifyJobResponse(verdict=Verdict(findings=1, progress=PROGRESS))


def test_a_sound_job_is_told_by_status_0(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(VerifyJobResponse(progress=PROGRESS), SOUND)
    result = verified(monkeypatch, client, "--recompute", "2", "--seed", "7")
    assert (result.exit_code, client.asked) == (0, [("a", 2, 7)])
    assert result.stdout == "jobs/a is sound: 3/3 shards hashed, 2/2 samples recomputed, root digest cc\n"


def test_what_is_wrong_is_told_in_a_line_each_and_by_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    result = verified(monkeypatch, Client(VerifyJobResponse(finding=FOUND), UNSOUND))
    assert result.exit_code == 1
    first, last = result.stdout.splitlines()
    assert first == "WRONG_DIGEST: shard 0: 000000.tar was changed; expected aa; found bb"
    assert last.startswith("jobs/a is not sound: 1 finding, 3/3 shards")


def test_a_machine_gets_one_object_a_line_the_verdict_last(monkeypatch: pytest.MonkeyPatch) -> None:
    result = verified(monkeypatch, Client(VerifyJobResponse(finding=FOUND), UNSOUND), "--json")
    found, verdict = (json.loads(line) for line in result.stdout.splitlines())
    assert result.exit_code == 1 and found["finding"]["kind"] == "wrong_digest"
    assert (verdict["verdict"]["sound"], verdict["verdict"]["findings"]) == (False, 1)


def test_an_answer_without_a_verdict_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    result = verified(monkeypatch, Client(VerifyJobResponse(progress=PROGRESS)))
    assert result.exit_code == 1 and "without a verdict" in result.stderr
