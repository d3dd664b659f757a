"""The manifest, `manifest.json`: how a job ended, with the digest of every shard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, BinaryIO, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter

from service.jobs.ledger.views import JobState
from service.jobs.plan import MAX_SHARDS, Digest, Plan, canonical_json
from service.jobs.storage.output import Output
from service.validation import JOB_FILE

MANIFEST_FILE = "manifest.json"
FileName = Annotated[str, Field(pattern=rf"^(?:{JOB_FILE.pattern})$")]
ShardNumber = Annotated[int, Field(ge=0, lt=MAX_SHARDS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedShard:
    """A finished shard; `file` is the name of its file, or of its folder, below the job's folder."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True)

    shard: ShardNumber
    first_index: int
    count: int
    digest: Digest
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFailure:
    """A shard that failed for good, and its last error."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True)

    shard: ShardNumber
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest as stored. `bytes` is the size of all finished shards; None where it was not recorded."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True)

    job: str
    plan_digest: str
    state: JobState
    error: str
    root_digest: str
    shards: list[ListedShard]
    failures: list[ListedFailure]
    round: int = 0
    files: dict[FileName, Digest] = field(default_factory=dict)
    bytes: int | None = None

    @property
    def digests(self) -> dict[int, str]:
        """The digest of each finished shard."""
        return {listed.shard: listed.digest for listed in self.shards}


_MANIFEST = TypeAdapter(Manifest)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended: the content of its manifest, and then of the ledger.

    `size_bytes` is the size of all finished shards; None if it is not known.
    """

    state: JobState
    error: str = ""
    root_digest: str = ""
    result: dict[str, Any] | None = None
    digests: dict[int, str] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    round: int = 0
    files: dict[str, str] = field(default_factory=dict)
    size_bytes: int | None = None

    @property
    def result_json(self) -> str:
        """The result as the ledger keeps it; empty if there is none."""
        return canonical_json(self.result).decode() if self.result else ""


def read_manifest(output: Output) -> Manifest | None:
    """Read a job's manifest; None if there is none.

    Raises:
        ValueError: if it is damaged.
        OSError, OutputError: if it cannot be read.
    """
    data = output.read(MANIFEST_FILE)
    return None if data is None else _MANIFEST.validate_json(data)


def write_manifest(file: BinaryIO, plan: Plan, ending: Ending, name: Callable[[int], str]) -> None:
    """Write the manifest, one shard per line; `name` gives the name of a shard's file."""
    head = {"job": plan.job, "plan_digest": plan.digest, "state": ending.state, "error": ending.error}
    file.write(canonical_json(head)[:-2] + b',\n"shards":[')
    for number, (shard, digest) in enumerate(sorted(ending.digests.items())):
        span = plan.span(shard)
        line = {"shard": shard, "first_index": span.start, "count": len(span), "digest": digest, "file": name(shard)}
        file.write((b",\n" if number else b"\n") + canonical_json(line).rstrip())
    failures = [{"shard": shard, "error": error} for shard, error in sorted(ending.errors.items())]
    tail: dict[str, Any] = {"failures": failures, "root_digest": ending.root_digest, "round": ending.round}
    if ending.files:
        tail["files"] = ending.files
    if ending.size_bytes is not None:
        tail["bytes"] = ending.size_bytes
    file.write(b"],\n" + canonical_json(tail)[1:])
