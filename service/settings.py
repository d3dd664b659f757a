"""Every setting of the service, read from MINTAGE_* variables in this one place: `mintage settings` prints them."""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.setting_values import Endpoint, Folder, Key, Listener, OutputPlace, RedisUrl, Region, Target

SECRETS_DIR = Path("/run/secrets")
S3 = "s3://"
# Variables that are no settings of a process: of the client, Compose, model workers, training and fault injection.
READ_ELSEWHERE = frozenset(
    {
        *("MINTAGE_CLIENT", "MINTAGE_INPUTS", "MINTAGE_PORT", "MINTAGE_CACHE_DIR", "MINTAGE_CRASHES"),
        *("MINTAGE_WORKER_MESSAGE_BYTES", "MINTAGE_WORKER_PROOFS", "MINTAGE_WORKER_QUEUE_IMAGES"),
        *("MINTAGE_WORKER_SOCKETS", "MINTAGE_WORKER_THREADS"),
    }
)
OF_TESTS = "MINTAGE_TEST_"
HOUR_S, DAY_S, YEAR_S = 3_600.0, 86_400.0, 365 * 86_400.0


def _default_state_dir() -> Path:
    return Path.home() / ".local" / "state" / "mintage"


class Settings(BaseSettings):
    """Settings of every process. A secret may also be a file /run/secrets/mintage_{name}."""

    model_config = SettingsConfigDict(
        env_prefix="MINTAGE_",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        secrets_dir=SECRETS_DIR if SECRETS_DIR.is_dir() else None,
    )

    state_dir: Folder = Field(default_factory=_default_state_dir, description="Folder for everything that is kept.")
    archive_dir: Folder | None = Field(
        None, description="Folder of model archives (.mar). Default {state_dir}/archives."
    )
    input_dir: Folder | None = Field(
        None, description="Folder below which folders of images may be scored. Default {state_dir}/inputs."
    )
    output_dir: OutputPlace = Field(
        "", description="Folder that jobs write below, or s3://bucket/prefix. Default {state_dir}/outputs."
    )
    spool_dir: Folder | None = Field(
        None, description="Folder for files on their way to an object store. Default {state_dir}/spool."
    )
    s3_endpoint: Endpoint = Field("", description="https:// address of an S3-compatible store. Default: that of AWS.")
    s3_region: Region = Field("us-east-1", description="Region of the bucket.")
    s3_access_key_id: Key = Field(
        SecretStr(""), description="Access key of the object store. Default: what AWS's own tools find."
    )
    s3_secret_access_key: Key = Field(SecretStr(""), description="Secret of that key.")
    s3_allow_http: bool = Field(False, description="Allow http:// in s3_endpoint, which anyone on the way can read.")

    api_address: Listener = Field("127.0.0.1:50051", description="host:port on which the gRPC API listens.")
    metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of Prometheus metrics on api_address's host; 0: off."
    )
    redis_url: RedisUrl = Field(
        SecretStr("redis://127.0.0.1:6379/0"), description="Redis >= 6.2 or Valkey: ledger and Celery broker."
    )
    torchserve_inference: Target = Field("127.0.0.1:7070", description="host:port of TorchServe's gRPC inference.")
    torchserve_management: Target = Field("127.0.0.1:7071", description="host:port of TorchServe's gRPC management.")
    sockets_dir: Path | None = Field(
        None,
        description="Folder of the model workers' sockets, on this host. Default {state_dir}/torchserve/workers.",
    )
    torchserve_heap_mib: int = Field(512, ge=128, le=2**20, description="Largest heap of TorchServe's JVM, in MiB.")
    torchserve_threads: int = Field(0, ge=0, le=1024, description="Passes at once of a model worker; 0: one per core.")
    load_models: str = Field(
        "", description="Models that the API loads unless they are recorded: NAME=ARCHIVE.mar, separated by commas."
    )

    max_images: int = Field(1024, ge=1, le=1024, description="Most images of one Generate or Classify call.")
    max_stream_images: int = Field(100_000, ge=1, le=2**31 - 1, description="Most images of one StreamGenerate call.")
    max_image_pixels: int = Field(4_000_000, ge=1, le=2**28, description="Most pixels of an uploaded image file.")
    max_archive_bytes: int = Field(
        4 * 2**30, ge=0, le=2**50, description="Most bytes of a model archive that clients push; 0: they push none."
    )
    max_message_bytes: int = Field(
        64 * 2**20, ge=2**16, le=2**30, description="Most bytes of one gRPC message, either way."
    )
    max_deadline_s: float = Field(
        60.0, gt=0, le=HOUR_S, description="Longest unary call in seconds, and the default deadline."
    )
    max_calls: int = Field(
        1024, ge=1, le=100_000, description="Calls that one API has at one model; further ones get RESOURCE_EXHAUSTED."
    )
    max_queued_images: int = Field(
        16_384,
        ge=1024,
        le=2**24,
        description="Images that wait in one model worker, of calls and of jobs each; further ones are refused.",
    )
    drain_s: float = Field(
        10.0, ge=0, le=HOUR_S, description="Seconds that running calls may still take after SIGTERM."
    )

    lease_s: float = Field(
        30.0, ge=1, le=DAY_S, description="Seconds without renewal after which a worker loses its shard."
    )
    max_attempts: int = Field(3, ge=1, le=100, description="Failed attempts after which a shard counts as failed.")
    retry_pause_s: float = Field(
        1.0,
        ge=0,
        le=HOUR_S,
        description="Seconds before a shard is tried again after its first failure; doubles each time.",
    )
    space_pause_s: float = Field(
        30.0, ge=0, le=DAY_S, description="The same where the disk is full or storage refuses: time to put that right."
    )
    storage_wait_s: float = Field(
        600.0,
        ge=0,
        le=DAY_S,
        description="Seconds for which storage may refuse the manifest of a job before the job fails.",
    )
    backend_retry_s: float = Field(
        120.0,
        ge=0,
        le=DAY_S,
        description="Seconds for which a worker retries a model that does not answer.",
    )
    quota_jobs: int = Field(0, ge=0, le=2**53, description="Most unfinished jobs of one client; 0: no limit.")
    quota_images: int = Field(
        0, ge=0, le=2**53, description="Most images in unfinished jobs of one client; 0: no limit."
    )
    quota_bytes: int = Field(
        0,
        ge=0,
        le=2**53,
        description="Bytes of a client's finished shards, of all its jobs, at which it gets no more jobs; 0: no limit.",
    )
    job_ttl_s: float = Field(
        0.0,
        ge=0,
        le=10 * YEAR_S,
        description="Seconds after its end until a job without a ttl of its own is deleted with its files; 0: never.",
    )
    stack_id: str = Field(
        "", description="Set by `mintage up`: a word by which it tells its own API from another on the same port."
    )
    worker_name: str = Field("", description="Name of this worker in jobs and logs. Default: the host's name.")
    worker_processes: int = Field(1, ge=1, le=1024, description="Shards that one worker runs at once.")
    messages_per_slot: int = Field(2, ge=1, le=1000, description="Hints kept in the broker for each worker process.")

    log_format: Literal["json", "console"] = Field("json", description="One JSON object per line, or text for people.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged.")

    @model_validator(mode="after")
    def _check_variables(self) -> Settings:
        """Refuse variables of the environment that look like settings and are none."""
        if problem := mistyped(os.environ):
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _check_store(self) -> Settings:
        """Refuse contradictory settings of the object store."""
        if self.s3_endpoint.startswith("http://") and not self.s3_allow_http:
            raise ValueError("s3_endpoint is http://; use https://, or set s3_allow_http where the network is trusted")
        if bool(self.s3_access_key_id.get_secret_value()) != bool(self.s3_secret_access_key.get_secret_value()):
            raise ValueError("s3_access_key_id and s3_secret_access_key are given together or not at all")
        return self

    @property
    def stack_entry(self) -> str:
        """The entry of the API's health service that only an API of this stack has; empty outside a stack."""
        return f"stacks/{self.stack_id}" if self.stack_id else ""

    @property
    def archives(self) -> Path:
        """Folder of model archives."""
        return self.archive_dir or self.state_dir / "archives"

    @property
    def sockets(self) -> Path:
        """Folder of the model workers' sockets."""
        return self.sockets_dir or self.state_dir / "torchserve" / "workers"

    @property
    def inputs(self) -> Path:
        """Folder below which folders of images may be scored."""
        return self.input_dir or self.state_dir / "inputs"

    @property
    def spool(self) -> Path:
        """Folder for files on their way to an object store."""
        return self.spool_dir or self.state_dir / "spool"

    @property
    def outputs(self) -> str:
        """Folder that jobs write below; `service.jobs.storage.store.open_store` opens it."""
        return self.output_dir or str(self.state_dir / "outputs")


def mistyped(names: Iterable[str]) -> str:
    """What is wrong with variables that begin with MINTAGE_ and that nothing reads; empty if there are none."""
    known = {f"MINTAGE_{name.upper()}" for name in Settings.model_fields} | READ_ELSEWHERE
    unknown = [
        name
        for name in sorted(names)
        if name.startswith("MINTAGE_") and name not in known and not name.startswith(OF_TESTS)
    ]
    return "; ".join(f"{name} is no setting{_nearest(name, known)}" for name in unknown)


def _nearest(name: str, known: Iterable[str]) -> str:
    """The known variable that a mistyped one is likely to be; the prefix that all share says nothing."""
    ends = [each.removeprefix("MINTAGE_") for each in known]
    near = difflib.get_close_matches(name.removeprefix("MINTAGE_"), ends, n=1)
    return f"; did you mean MINTAGE_{near[0]}?" if near else ", see `mintage settings`"


@functools.cache
def settings() -> Settings:
    """Read the environment, once per process."""
    return Settings()
