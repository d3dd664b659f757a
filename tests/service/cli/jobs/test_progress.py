from __future__ import annotations

import json
from typing import Any

import pytest
import typer
from google.protobuf.duration_pb2 import Duration
from mintage.v1 import jobs_pb2

from service.cli.jobs import progress
from service.cli.jobs.show import print_job

State = jobs_pb2.Job.State


def job(state: int, done: int, rate: float = 0.0, **progress: Any) -> jobs_pb2.Job:
    counts = jobs_pb2.JobProgress(
        images_total=1000, images_done=done, images_per_second=rate, shards_total=10, **progress
    )
    return jobs_pb2.Job(name="jobs/x", state=state, progress=counts)  # type: ignore[arg-type]


def expected(median: int, p10: int, p90: int) -> jobs_pb2.Eta:
    return jobs_pb2.Eta(median=Duration(seconds=median), p10=Duration(seconds=p10), p90=Duration(seconds=p90))


def test_a_log_gets_a_line_for_each_new_state(capsys: pytest.CaptureFixture[str]) -> None:
    states = [
        job(State.STATE_QUEUED, 0),
        job(State.STATE_RUNNING, 100, 50.0, shards_done=1, shards_running=2, attempts=4, eta=expected(18, 12, 27)),
        job(State.STATE_RUNNING, 200, 50.0, shards_done=2, attempts=4),
        job(State.STATE_SUCCEEDED, 1000, 50.0, shards_done=10, attempts=11),
    ]
    assert progress.follow(states, as_json=False) == states[-1]
    assert capsys.readouterr().err.splitlines() == [
        "jobs/x queued: 0/1,000 images, 0/10 shards",
        "jobs/x running: 100/1,000 images, 1/10 shards, 2 running, 1 retried, 50 images/s, 0:18 left (0:12 to 0:27)",
        "jobs/x succeeded: 1,000/1,000 images, 10/10 shards, 1 retried, 50 images/s",
    ]


def test_a_job_says_what_is_done_to_end_it(capsys: pytest.CaptureFixture[str]) -> None:
    counted = jobs_pb2.Finishing(step="adding up the scores", done=620, total=1000)
    progress.follow([job(State.STATE_FINALIZING, 1000, shards_done=10, attempts=10, finishing=counted)], as_json=False)
    told = capsys.readouterr().err
    assert told == "jobs/x finalizing: 1,000/1,000 images, 10/10 shards, adding up the scores 62%\n"
    print_job(job(State.STATE_FINALIZING, 1000, finishing=jobs_pb2.Finishing(step="writing the report")))
    assert "writing the report" in capsys.readouterr().out
    progress.follow([job(State.STATE_FINALIZING, 1000, finishing=counted)], as_json=True)
    shown = json.loads(capsys.readouterr().out)["progress"]["finishing"]
    assert shown == {"step": "adding up the scores", "done": 620, "total": 1000}


def test_a_machine_gets_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    progress.follow([job(State.STATE_QUEUED, 0), job(State.STATE_FAILED, 0)], as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["state"] for line in lines] == ["queued", "failed"]
    assert lines[0]["progress"]["images_total"] == 1000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ((10, 10, 10), "0:10 left"),
        ((10_000, 9_000, 11_111), "2:46:40 left (2:30:00 to 3:05:11)"),
        ((10**6, 9 * 10**5, 2 * 10**6), "11 days left (10 days to 23 days)"),
    ],
)
def test_the_eta_is_told_with_its_range(seconds: tuple[int, int, int], text: str) -> None:
    assert progress.eta(job(State.STATE_RUNNING, 0, eta=expected(*seconds))) == text


def test_no_eta_is_told_before_it_is_known() -> None:
    assert progress.eta(job(State.STATE_RUNNING, 10, 50.0)) == ""


def test_states_are_named_as_they_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    spellings = ("partially_succeeded", "partially-succeeded", "Partially Succeeded", "STATE_PARTIALLY_SUCCEEDED")
    assert {progress.state_of(spelling) for spelling in spellings} == {State.STATE_PARTIALLY_SUCCEEDED}
    assert progress.state_name(job(State.STATE_PARTIALLY_SUCCEEDED, 0)) == spellings[0]
    assert progress.state_of(progress.state_name(job(State.STATE_PAUSED, 0))) == State.STATE_PAUSED
    with pytest.raises(typer.Exit) as left:
        progress.state_of("unspecified")
    assert left.value.exit_code == 2 and "running, finalizing" in capsys.readouterr().err
