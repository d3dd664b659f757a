"""The plan of a job: the immutable cut into shards, written beside the output before the API answers."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from service.validation import CONCEPT, LABEL_NAME, MAX_LABEL_VALUE, OUTPUT_PREFIX

PLAN_FILE = "plan.json"
VERSION: Final = 6  # of all that is stored about jobs: plans, markers, records in Redis. It rises with their fields.
MAX_COUNT = 100_000_000  # images; file names have nine digits
MAX_SHARD_SIZE = 100_000  # images; what the death of a worker may cost
MAX_SHARDS = 1_000_000  # each is a record in Redis, and a file and a marker on disk
MIN_CHOSEN, MAX_CHOSEN, MANY_SHARDS = 1024, 8192, 128  # see `default_shard_size`
PLANS_KEPT = 32  # that this process has read, and their digests: they never change, and are asked for at every step
MAX_PRIORITY = 10  # 1.25^10 is about nine times the share

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LEFT_OUT = {
    "mintage_version": "",
    "rows_free": False,
    "priority": 0,
    "client": "",
    "labels": {},
    "ttl_ms": 0,
    "max_failed_shards": None,
}
_ALWAYS_SCORED = ("source_job", "source_prefix", "source_root_digest", "splits", "classes")
_STRICT = ConfigDict(extra="forbid", strict=True)

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
JobId = Annotated[str, Field(pattern=r"^[a-z0-9]{1,40}$")]
Prefix = Annotated[str, Field(pattern=rf"^{OUTPUT_PREFIX.pattern}$")]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
LabelName = Annotated[str, Field(pattern=rf"^{LABEL_NAME.pattern}$")]
LabelValue = Annotated[str, Field(max_length=MAX_LABEL_VALUE)]


def default_shard_size(count: int) -> int:
    """Return the default images per shard: 1,024, doubled up to 8,192 while that makes more than 128 shards.

    A shard has a fixed cost, and a worker's death costs at most one shard; so both stay small beside the job. Powers of
    two are whole micro-batches: one that two shards share would be computed for each.
    """
    size = MIN_CHOSEN
    while size < MAX_CHOSEN and count > MANY_SHARDS * size:
        size *= 2
    return size


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The part of the plan that only a sample job has.

    Image i is sample i of `seed`; or, if there are `latents`, what `service.jobs.formulas` makes of them: formulas as
    text. The saved directions that they name are in the plan with their numbers, so nothing saved later matters.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    seed: Annotated[int, Field(ge=0, lt=2**64)]
    encoder: str  # what makes files of pixels, with its version and settings: shards are compared byte by byte
    max_images_per_second: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    latents: Annotated[tuple[str, ...], Field(strict=False)] = ()
    directions: dict[str, Annotated[tuple[Finite, ...], Field(strict=False)]] = field(default_factory=dict, hash=False)
    index_step: Natural = 0
    class_index: Natural | None = None
    classes: Annotated[tuple[str, ...], Field(strict=False)] = ()  # names of those that the generator is asked for

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for the canonical JSON; those of drawn latents only if there are any."""
        fields = dataclasses.asdict(self)
        drawn = ("latents", "directions", "index_step", "class_index")
        return {name: value for name, value in fields.items() if self.latents or name not in drawn}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredConcept:
    """A concept whose neuron is asked: detected if sign * activation is above the threshold."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: Annotated[str, Field(pattern=rf"^{CONCEPT.pattern}$")]
    sign: Literal[-1, 1]
    threshold: Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """Things in a folder that are not scored for one reason, in the plural: how many, and the names of the first."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    reason: str
    count: Positive
    first: Annotated[tuple[str, ...], Field(strict=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """The part of the plan that only a score job has: its images, its questions, its reference.

    The images are those of `source_job`, where the root digest pins every byte that is scored, or of `source_folder`
    below the input folder, where `source_listing` is the digest of the list of its files, and `source_passed_over` says
    what else lay there. A classifier has `classes`,
    an autoencoder `concepts`; `features` is the number of features kept per image, 0 for none.
    `source_shape` is height, width and channels of the images of a job that are resized; empty if they are not.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    source_job: JobId | Literal[""]
    source_prefix: Prefix | Literal[""]
    source_root_digest: Digest | Literal[""]
    splits: Positive
    classes: Annotated[tuple[str, ...], Field(strict=False)]
    features: Natural = 0
    concepts: Annotated[tuple[ScoredConcept, ...], Field(strict=False)] = ()
    source_folder: Prefix | Literal[""] = ""
    source_listing: Digest | Literal[""] = ""
    source_passed_over: Annotated[tuple[PassedOver, ...], Field(strict=False)] = ()
    source_shape: Annotated[tuple[Positive, ...], Field(strict=False)] = ()
    reference_job: JobId | Literal[""] = ""
    reference_prefix: Prefix | Literal[""] = ""
    reference_root_digest: Digest | Literal[""] = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for the canonical JSON, without empty ones that earlier versions did not know."""
        fields = dataclasses.asdict(self)
        return {name: value for name, value in fields.items() if name in _ALWAYS_SCORED or value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that decides a job's bytes, and its client. Exactly one of `sampling` and `scoring` is set.

    The options come last; they decide no byte. `ttl_ms` is how many milliseconds the job is kept after its end, 0 for
    ever; `max_failed_shards` None is any number.

    Shard k holds the samples [k * shard_size, min(count, (k + 1) * shard_size)).
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    version: Literal[6] = VERSION
    job: JobId
    prefix: Prefix
    create_time_ms: Natural
    request_id: str
    request_digest: Digest

    model: str
    model_digest: Digest
    backend_name: str
    device_class: str
    torch_version: str
    numerics: Positive  # the version of the handlers' arithmetic
    precision: Literal["float32", "bfloat16"]  # resolved for the device
    mintage_version: str = ""  # of the code that made the plan; "" in plans that are older than this field
    micro_batch: Positive
    rows_free: bool = False  # whether an image's bits depend on no other of its forward pass, so that any cut is good
    height: Positive
    width: Positive
    channels: Positive

    count: Annotated[int, Field(ge=1, le=MAX_COUNT)]
    shard_size: Annotated[int, Field(ge=1, le=MAX_SHARD_SIZE)]
    format: Literal["webdataset-png", "png-folder", "parquet", "npz", "safetensors"]
    sampling: Sampling | None = None
    scoring: Scoring | None = None
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    client: str = ""
    labels: dict[LabelName, LabelValue] = field(default_factory=dict, hash=False)
    ttl_ms: Natural = 0
    max_failed_shards: Natural | None = None

    @property
    def kind(self) -> Literal["sample", "score"]:
        """What the job does."""
        return "sample" if self.sampling else "score"

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.count // self.shard_size)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: the plan's identity."""
        return _digest(self)

    @property
    def needs(self) -> list[str]:
        """Ids of the jobs whose images this one needs."""
        return [job for job in (self.scoring.source_job, self.scoring.reference_job) if job] if self.scoring else []

    def span(self, shard: int) -> range:
        """Return the indices of a shard's samples."""
        return range(shard * self.shard_size, min(self.count, (shard + 1) * self.shard_size))

    def to_json(self) -> bytes:
        """Return the canonical JSON: sorted names, no spaces, one line, no options at their defaults."""
        fields = dataclasses.asdict(self)
        fields["sampling"] = self.sampling.to_dict() if self.sampling else None
        fields["scoring"] = self.scoring.to_dict() if self.scoring else None
        left_out = {name for name, default in _LEFT_OUT.items() if fields[name] == default}
        return canonical_json({name: value for name, value in fields.items() if name not in left_out})


class PlanError(ValueError):
    """Raised when bytes are not a plan that this version understands."""

    reason = "PLAN_UNREADABLE"


class NewerError(PlanError):
    """Raised when a plan is of a version that only a newer Mintage knows."""

    reason = "NEWER_VERSION"

    def __init__(self, version: int) -> None:
        super().__init__(
            f"made by a newer Mintage: version {version} of what is stored, this one knows {VERSION}; start the newer "
            f"one to go on with the job or to delete it"
        )


def read_plan(data: bytes | str) -> Plan:
    """Read `plan.json`.

    Raises:
        NewerError: if it was made by a newer Mintage.
        PlanError: if it is damaged, or from a version that this one does not know.
    """
    return _read_plan(data)


@functools.lru_cache(maxsize=PLANS_KEPT)
def _read_plan(data: bytes | str) -> Plan:
    try:
        plan = _PLAN.validate_json(data)
    except ValidationError as error:
        check_version(data)
        if error.errors()[0]["loc"] == ("version",):
            text = "a plan of another version: end its job with the Mintage that made it, or create the job anew"
            raise PlanError(text) from None
        raise PlanError(
            f"not a plan of version {VERSION}: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}"
        ) from None
    if (plan.sampling is None) == (plan.scoring is None):
        raise PlanError("a plan has exactly one of sampling and scoring")
    if (plan.format == "safetensors") != (plan.scoring is not None):
        raise PlanError(f"format: no {plan.kind} job is written as {plan.format}")
    return plan


def check_version(data: bytes | str) -> None:
    """Refuse what a newer Mintage stored; nothing else is looked at.

    Raises:
        NewerError: if the JSON object has a newer version.
    """
    try:
        version = _VERSION.validate_json(data).version
    except ValidationError:
        return
    if version > VERSION:
        raise NewerError(version)


def is_damaged(data: bytes) -> bool:
    """Whether bytes are no plan of any Mintage, be it this one or a newer."""
    try:
        read_plan(data)
    except NewerError:
        return False
    except PlanError:
        return True
    return False


def canonical_json(value: object) -> bytes:
    """Return the one JSON text of a value: sorted names, no spaces, ASCII, a newline at the end."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def request_digest(parameters: object) -> str:
    """Return what makes two requests the same: SHA-256 of the canonical JSON of their parameters."""
    return hashlib.sha256(canonical_json(parameters)).hexdigest()


def new_job_id(now_ms: int | None = None) -> str:
    """Return a fresh id of 16 of 0-9 and a-z: 10 for the milliseconds since 1970, so that ids sort by it, 6 random."""
    number = (time.time_ns() // 1_000_000 if now_ms is None else now_ms) << 30 | secrets.randbits(30)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(75, -1, -5))


@functools.lru_cache(maxsize=PLANS_KEPT)
def _digest(plan: Plan) -> str:
    return hashlib.sha256(plan.to_json()).hexdigest()


@dataclass(frozen=True)
class _Versioned:
    version: int


_VERSION = TypeAdapter(_Versioned)
_PLAN = TypeAdapter(Plan)
