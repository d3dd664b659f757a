from __future__ import annotations

from typing import Any

import pytest
from mintage.v1.jobs_pb2 import Job, JobProgress, SampleSpec
from typer.testing import CliRunner

from service.cli import app, jobs

UNMADE = Job(
    state=Job.STATE_QUEUED,
    sample=SampleSpec(model="models/digits", seed=7),
    progress=JobProgress(images_total=10, shards_total=3),
)


class Client:
    """Answers with this job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.asked: list[bool] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None: ...

    def create_sample_job(self, model: str, count: int, *, validate_only: bool, **_: Any) -> Job:
        """Create a job, or only check it."""
        self.asked.append(validate_only)
        return self.job


def dry_run(monkeypatch: pytest.MonkeyPatch, client: Client, *arguments: str) -> Any:
    monkeypatch.setattr(jobs, "connect", lambda _: client)
    return CliRunner().invoke(app, ["jobs", "sample", "digits", "-n", "10", "--dry-run", *arguments])


def test_a_dry_run_shows_the_job_as_it_would_be_and_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(UNMADE)
    result = dry_run(monkeypatch, client)
    assert (result.exit_code, client.asked) == (0, [True])
    assert result.stdout.startswith("the job would be accepted; nothing was created")
    assert "0/3 shards" in result.stdout and "created  " not in result.stdout and "state" not in result.stdout


def test_a_dry_run_of_a_request_that_has_its_job_names_that_job(monkeypatch: pytest.MonkeyPatch) -> None:
    result = dry_run(monkeypatch, Client(Job(name="jobs/a")), "--request-id", "one")
    assert (result.exit_code, result.stdout) == (0, "jobs/a\n")
