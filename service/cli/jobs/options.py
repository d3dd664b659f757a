"""Options that the verbs which create or list jobs share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import fail

if TYPE_CHECKING:
    from mintage.v1.jobs_pb2 import Job

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LENGTH = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdw])", re.ASCII)


class ShardState(Enum):
    """State of a shard."""

    READY = "ready"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"


class Kind(Enum):
    """Kind of a job."""

    SAMPLE = "sample"
    SCORE = "score"


class Format(Enum):
    """File format of a sample job's images."""

    WEBDATASET = "webdataset"
    PNG = "png"
    PARQUET = "parquet"
    NPZ = "npz"


PrefixOption = Annotated[
    str, typer.Option("--output", metavar="FOLDER", help="Folder below the server's output folder. Default: jobs/JOB.")
]
PriorityOption = Annotated[
    int,
    typer.Option(min=-10, max=10, help="From -10 to 10; each step is worth 1.25 times the share among your own jobs."),
]
FormatOption = Annotated[
    Format, typer.Option("--format", help="webdataset (tars), png (folders), parquet (Hugging Face) or npz (ADM).")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, including the model, and show the job without creating it.")
]
RequestIdOption = Annotated[
    str | None,
    typer.Option(
        "--request-id", help="The same id with the same parameters is the same job. Default: a new job each time."
    ),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=VALUE", help="A label to find the job by; may be repeated."),
]
TtlOption = Annotated[
    str,
    typer.Option(
        "--ttl",
        metavar="TIME",
        help="Delete the job and its files this long after its end: a number with s, m, h, d or w, such as 7d. "
        "Default: the server's, which keeps them unless configured otherwise.",
    ),
]
MaxFailedOption = Annotated[
    int | None,
    typer.Option(
        "--max-failed-shards", min=0, help="Fail the job when more shards than this have failed. Default: never."
    ),
]


def labels_of(texts: Sequence[str] | None) -> dict[str, str]:
    """Read NAME=VALUE pairs; exits with 2 if one is malformed or a name has two values."""
    labels: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            fail(f"--label {text}: must be NAME=VALUE")
        if labels.setdefault(name, value) != value:
            fail(f"--label {name}: has two values, {labels[name]} and {value}")
    return labels


def seconds_of(text: str) -> float:
    """Read a duration such as 90m or 1.5d, 0 for ''; exits with 2 if it is malformed."""
    if not text:
        return 0.0
    match = _LENGTH.fullmatch(text)
    if match is None or not float(match[1]):
        fail(f"--ttl {text}: must be a positive number with s, m, h, d or w, such as 7d")
    return float(match[1]) * UNITS_S[match[2]]


def kind_of(kind: Kind | None) -> Job.Kind.ValueType:
    """The contract's value."""
    from mintage.v1 import jobs_pb2

    return jobs_pb2.Job.Kind.Value(f"KIND_{kind.name}") if kind else jobs_pb2.Job.KIND_UNSPECIFIED
