"""`mintage jobs score` asks for the right job and shows all that it found."""

from __future__ import annotations

import re
from typing import Any

import pytest
from mintage.v1.jobs_pb2 import ClassifierScore, Comparison, ConceptScore, Job, JobProgress, PassedOver, ScoreSpec

from service.cli import app
from service.cli.jobs import score
from tests.support.command_line import CliRunner

DONE = Job(
    name="jobs/b",
    state=Job.STATE_SUCCEEDED,
    score=ScoreSpec(model="models/judge", source_job="jobs/a"),
    progress=JobProgress(images_total=40, images_done=40, shards_total=2, shards_done=2),
)
PLANNED = Job(score=ScoreSpec(model="models/judge", model_digest="d" * 64, source_listing="e" * 64))


class Client:
    """Remembers what was asked; answers with these jobs in turn, the last one again and again."""

    def __init__(self, *jobs: Job) -> None:
        self.jobs = list(jobs)
        self.asked: list[tuple[tuple[str, ...], dict[str, Any]]] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None: ...

    def create_score_job(self, *names: str, **options: Any) -> Job:
        """Create a job, or only check it."""
        self.asked.append((names, {name: value for name, value in options.items() if value}))
        return self.jobs.pop(0) if len(self.jobs) > 1 else self.jobs[0]

    def watch(self, name: str) -> list[Job]:
        """Watch a job."""
        return [self.jobs[0]]


def run(monkeypatch: pytest.MonkeyPatch, client: Client, *arguments: str) -> Any:
    monkeypatch.setattr(score, "connect", lambda _: client)
    return CliRunner().invoke(app, ["jobs", "score", "judge", *arguments])


def test_a_folder_is_scored_against_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(DONE)
    result = run(monkeypatch, client, "--folder", "photos/cats", "--reference", "r", "--shard-size", "7")
    assert result.exit_code == 0, result.output
    options = {"source_folder": "photos/cats", "reference_job": "r", "shard_size": 7}
    assert client.asked == [(("judge", ""), options)]


@pytest.mark.parametrize(
    "arguments", [[], ["a", "--folder", "x"], ["a", "--reference", "r", "--reference-folder", "x"]]
)
def test_what_contradicts_itself_is_refused(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    client = Client(DONE)
    result = run(monkeypatch, client, *arguments)
    assert (result.exit_code, client.asked) == (2, []) and "give either" in result.output


def test_a_folder_becomes_the_reference_that_its_files_and_the_model_name(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for planned in (PLANNED, PLANNED, Job(score=ScoreSpec(model_digest="d" * 64, source_listing="f" * 64))):
        client = Client(planned, Job(name="jobs/r", state=Job.STATE_SUCCEEDED), DONE)
        assert run(monkeypatch, client, "a", "--reference-folder", "real").exit_code == 0
        (_, checked), (_, made), (names, scored) = client.asked
        assert checked == {"source_folder": "real", "validate_only": True}
        assert names == ("judge", "a") and scored["reference_job"] == "jobs/r"
        ids.append(made["request_id"])
    assert ids[0] == ids[1] != ids[2]


def test_a_reference_that_failed_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(PLANNED, Job(name="jobs/r", state=Job.STATE_FAILED, error="SOURCE_DAMAGED: x"))
    result = run(monkeypatch, client, "a", "--reference-folder", "real")
    assert result.exit_code == 1 and "SOURCE_DAMAGED: x; `mintage jobs rm r` and try again" in result.output


def test_a_dry_run_checks_the_reference_folder_and_creates_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(PLANNED)
    result = run(monkeypatch, client, "a", "--reference-folder", "real", "--dry-run")
    assert result.exit_code == 0 and all(options["validate_only"] for _, options in client.asked)


def test_what_of_a_folder_is_passed_over_is_told_at_once_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    unread = [PassedOver(reason="symbolic links", count=4, first=["a", "b", "c"])]
    job = Job()
    job.CopyFrom(DONE)
    job.score.CopyFrom(ScoreSpec(model="models/judge", source_folder="photos", source_passed_over=unread))
    at_once = run(monkeypatch, Client(job), "--folder", "photos", "--no-wait")
    assert at_once.stdout == "jobs/b\n"
    assert at_once.stderr == "photos: 40 images; passed over symbolic links: 4 (a, b, c, ...)\n"
    at_the_end = run(monkeypatch, Client(job), "--folder", "photos").stdout
    assert re.search(r"passed over +symbolic links: 4 \(a, b, c, \.\.\.\)", at_the_end)


def test_everything_that_was_found_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Job()
    found.CopyFrom(DONE)
    found.images_unreadable = 2
    found.classifier_score.CopyFrom(
        ClassifierScore(
            mean=2.5, standard_deviation=0.25, splits=10, images=38, class_counts=[30, 8], classes=["a", "b"]
        )
    )
    found.concept_scores.append(ConceptScore(concept="cat", detected=19, mean_activation=0.5))
    found.comparison.CopyFrom(
        Comparison(
            reference_job="jobs/r",
            reference_images=500,
            images=38,
            features=250,
            model_digest="d" * 64,
            kernel_distance=0.0125,
            kernel_distance_deviation=0.001,
            precision=0.75,
            notes=["Frechet distance: 38 images are too few for 250 features"],
        )
    )
    text = " ".join(run(monkeypatch, Client(found), "a").output.split())
    for shown in (
        "unreadable 2 images were left out",
        "classifier score 2.5000 ± 0.2500 over 10 splits",
        "concept cat in 19 of 38 (50.0%), mean activation 0.5",
        "compared 38 images with 500 of r, 250 features",
        "kernel distance 0.012500 ± 0.001000",
        "precision 0.7500 (higher, at most 1)",
        "left out Frechet distance: 38 images are too few",
    ):
        assert shown in text, (shown, text)
    assert "Frechet distance 0" not in text and "recall" not in text
