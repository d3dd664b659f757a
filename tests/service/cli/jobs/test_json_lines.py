"""What `--json` prints: one object per line, numbers, and the words that options take."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mintage.v1.jobs_pb2 import OUTPUT_FORMAT_WEBDATASET, Job, JobFile, JobProgress, SampleSpec, Shard

from service.cli import app
from service.cli.jobs import control, files, verbs
from service.cli.json_lines import to_dict
from tests.support.command_line import CliRunner

JOB = Job(
    name="jobs/a",
    state=Job.STATE_PARTIALLY_SUCCEEDED,
    sample=SampleSpec(model="models/digits", seed=2**64 - 1, count=10, format=OUTPUT_FORMAT_WEBDATASET),
    progress=JobProgress(images_total=2**40, images_done=3),
    labels={"a": "1"},
)
JOB.create_time.FromSeconds(1_700_000_000)


class Client:
    """Answers with this job, twice where there may be several."""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __getattr__(self, name: str) -> Any:
        answers = {
            "jobs": [JOB, JOB],
            "job": JOB,
            "shards": [Shard(index=4, state=Shard.STATE_DONE)] * 2,
            "files": [JobFile(name="plan.json", size_bytes=7)] * 2,
            "resume": JOB,
            "watch": [JOB, JOB],
            "create_sample_job": JOB,
            "delete": None,
        }
        return lambda *_, **__: answers[name]


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (("ls",), 2),
        (("show", "a"), 1),
        (("shards", "a"), 2),
        (("files", "a"), 2),
        (("resume", "a"), 1),
        (("rm", "a"), 1),
        (("watch", "a"), 2),
        (("sample", "digits", "-n", "10", "--no-wait"), 1),
    ],
)
def test_each_verb_prints_one_object_per_line(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], lines: int
) -> None:
    for module in (verbs, control, files):
        monkeypatch.setattr(module, "connect", lambda _: Client())
    result = CliRunner().invoke(app, ["jobs", *words, "--json"])
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(found) == lines and all(isinstance(each, dict) for each in found), result.output


def test_numbers_are_numbers_and_states_are_what_the_option_takes() -> None:
    found = to_dict(JOB)
    assert found["state"] == "partially_succeeded"
    assert found["sample"]["format"] == "webdataset"
    assert (found["sample"]["seed"], found["progress"]["images_total"]) == (2**64 - 1, 2**40)
    assert found["labels"] == {"a": "1"} and found["create_time"] == "2023-11-14T22:13:20Z"
    assert to_dict(Shard(state=Shard.STATE_READY, index=4))["state"] == "ready"
