from __future__ import annotations

from typing import Any

import pytest
from mintage.v1.jobs_pb2 import Arithmetic, Job, JobProgress, SampleSpec

from service.cli import app
from service.cli.jobs import verbs
from tests.support.command_line import CliRunner

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
        self.options: dict[str, Any] = {}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None: ...

    def create_sample_job(self, model: str, count: int, *, validate_only: bool, **options: Any) -> Job:
        """Create a job, or only check it."""
        self.asked.append(validate_only)
        self.options = options
        return self.job

    def jobs(self, states: Any, **wanted: Any) -> list[Job]:
        """List jobs."""
        self.options = {"states": states, **wanted}
        return [self.job]


def dry_run(monkeypatch: pytest.MonkeyPatch, client: Client, *arguments: str) -> Any:
    monkeypatch.setattr(verbs, "connect", lambda _: client)
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


def test_labels_the_time_to_keep_and_failures_are_asked_for_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    arithmetic = Arithmetic(device_class="cpu-x", torch_version="2.13.0", numerics=1, precision="float32")
    job = Job(labels={"b": "2", "a": "1"}, max_failed_shards=0, arithmetic=arithmetic)
    job.MergeFrom(UNMADE)
    job.ttl.FromSeconds(129_600)
    client = Client(job)
    options = ["--label", "a=1", "--label", "b=x=y", "--ttl", "1.5d", "--max-failed-shards", "0"]
    result = dry_run(monkeypatch, client, *options)
    assert client.options["labels"] == {"a": "1", "b": "x=y"}
    assert (client.options["ttl_s"], client.options["max_failed_shards"]) == (129_600.0, 0)
    shown = " ".join(result.stdout.split())
    assert "a=1, b=2" in shown and "at most 0" in shown and "1 day, 12:00:00 after its end" in shown
    assert "cpu-x, torch 2.13.0, numerics 1" in shown


@pytest.mark.parametrize(
    "option",
    [["--label", "a"], ["--label", "=b"], ["--label", "a=1", "--label", "a=2"], ["--ttl", "7"], ["--ttl", "0s"]],
)
def test_an_option_that_cannot_be_read_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, option: list[str]) -> None:
    client = Client(UNMADE)
    result = dry_run(monkeypatch, client, *option)
    assert result.exit_code == 2 and not client.asked and option[0] in result.stderr


def test_jobs_are_listed_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(UNMADE)
    monkeypatch.setattr(verbs, "connect", lambda _: client)
    wanted = ["--label", "a=1", "--kind", "sample", "--client", "lab", "--state", "queued"]
    assert CliRunner().invoke(app, ["jobs", "ls", *wanted]).exit_code == 0
    assert client.options == {
        "states": [Job.STATE_QUEUED],
        "labels": {"a": "1"},
        "kind": Job.KIND_SAMPLE,
        "client": "lab",
    }


def test_an_unreadable_job_is_listed_without_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(Job(name="jobs/a", state=Job.STATE_UNREADABLE))
    monkeypatch.setattr(verbs, "connect", lambda _: client)
    assert CliRunner().invoke(app, ["jobs", "ls"]).stdout.splitlines()[1].split() == ["a", "unreadable", "0/0", "-"]


def test_formulas_and_their_step_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(UNMADE)
    formulas = ["slerp(#0, #1, 0:1:64)", "#3"]
    options = ["--latent", formulas[0], "--latent", formulas[1], "--index-step", "2", "--seed", "7", "--class", "1"]
    assert dry_run(monkeypatch, client, *options).exit_code == 0
    asked = {name: client.options[name] for name in ("latents", "index_step", "seed", "class_index")}
    assert asked == {"latents": formulas, "index_step": 2, "seed": 7, "class_index": 1}
