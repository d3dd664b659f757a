"""The files of jobs, in a folder or in a bucket, read and harmed behind the engine's back."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from pathlib import Path

from mintage.v1 import jobs_pb2

from service.jobs.plan import Plan, read_plan
from service.jobs.shards.formats.choice import layout_of
from service.jobs.shards.marker import marker_name
from tests.support.s3 import BUCKET, S3Server
from tests.support.shards import file_names


class Stored(ABC):
    """The files of jobs."""

    @abstractmethod
    def files(self, job: jobs_pb2.Job) -> dict[str, bytes]:
        """Every file of a job by its name below the job's folder."""

    @abstractmethod
    def names(self, job: jobs_pb2.Job) -> list[str]:
        """The name of every file of a job below the job's folder."""

    @abstractmethod
    def read(self, job: jobs_pb2.Job, name: str) -> bytes:
        """Read a file."""

    @abstractmethod
    def write(self, job: jobs_pb2.Job, name: str, data: bytes) -> None:
        """Overwrite a file."""

    @abstractmethod
    def remove(self, job: jobs_pb2.Job, name: str) -> None:
        """Remove a file."""

    @abstractmethod
    def remove_all(self, job: jobs_pb2.Job) -> None:
        """Remove the whole folder of a job."""

    def data(self, job: jobs_pb2.Job, *, plan: Plan | None = None) -> dict[str, bytes]:
        """The files of all shards, without markers."""
        found = self.files(job)
        plan = plan or read_plan(found["plan.json"])
        names = tuple(layout_of(plan).name(shard) for shard in range(plan.shards))
        return {name: data for name, data in found.items() if name.startswith(names) and not name.endswith(".json")}

    def data_names(self, job: jobs_pb2.Job, shard: int) -> list[str]:
        """The names of a shard's files, the marker left out."""
        name = layout_of(read_plan(self.read(job, "plan.json"))).name(shard)
        return sorted(each for each in self.names(job) if each == name or each.startswith(f"{name}/"))

    def remove_data(self, job: jobs_pb2.Job, shard: int) -> None:
        """Remove a shard's file, or empty its folder."""
        for name in self.data_names(job, shard):
            self.remove(job, name)

    def cut_data(self, job: jobs_pb2.Job, shard: int) -> None:
        """Cut a shard short, or one of its images."""
        self._change(job, self.data_names(job, shard)[0], -100, None)

    def flip_data(self, job: jobs_pb2.Job, shard: int) -> None:
        """Flip a bit of a shard, or of one of its images."""
        self._change(job, self.data_names(job, shard)[0], -30, 1)

    def remove_marker(self, job: jobs_pb2.Job, shard: int) -> None:
        """Remove a marker."""
        self.remove(job, marker_name(shard))

    def cut_marker(self, job: jobs_pb2.Job, shard: int) -> None:
        """Cut a marker short."""
        self._change(job, marker_name(shard), 50, None)

    def remove_both(self, job: jobs_pb2.Job, shard: int) -> None:
        """Remove a shard and its marker."""
        self.remove_data(job, shard)
        self.remove_marker(job, shard)

    def _change(self, job: jobs_pb2.Job, name: str, place: int, flip: int | None) -> None:
        data = bytearray(self.read(job, name))
        if flip is None:
            data = data[: max(place, -len(data) + 1)]
        else:
            data[place] ^= flip
        self.write(job, name, bytes(data))


class InFolder(Stored):
    """Files on this machine."""

    def files(self, job: jobs_pb2.Job) -> dict[str, bytes]:
        """Every file but temporary ones."""
        return {name: self.read(job, name) for name in self.names(job)}

    def names(self, job: jobs_pb2.Job) -> list[str]:
        """The name of every file but temporary ones."""
        return file_names(Path(job.output_uri), but=".tmp")

    def read(self, job: jobs_pb2.Job, name: str) -> bytes:
        """Read a file."""
        return (Path(job.output_uri) / name).read_bytes()

    def write(self, job: jobs_pb2.Job, name: str, data: bytes) -> None:
        """Overwrite a file."""
        (Path(job.output_uri) / name).write_bytes(data)

    def remove(self, job: jobs_pb2.Job, name: str) -> None:
        """Remove a file."""
        (Path(job.output_uri) / name).unlink()

    def remove_all(self, job: jobs_pb2.Job) -> None:
        """Remove the folder, also what a worker was writing into it."""
        while Path(job.output_uri).exists():
            shutil.rmtree(job.output_uri, ignore_errors=True)


class InBucket(Stored):
    """Objects of a bucket."""

    def __init__(self, s3: S3Server) -> None:
        self.s3 = s3

    def files(self, job: jobs_pb2.Job) -> dict[str, bytes]:
        """Every object."""
        prefix = self._key(job, "")
        return {key.removeprefix(prefix): data for key, data in self.s3.objects(prefix).items()}

    def names(self, job: jobs_pb2.Job) -> list[str]:
        """The name of every object."""
        prefix = self._key(job, "")
        return [key.removeprefix(prefix) for key in self.s3.keys(prefix)]

    def read(self, job: jobs_pb2.Job, name: str) -> bytes:
        """Read an object."""
        data: bytes = self.s3.client.get_object(Bucket=BUCKET, Key=self._key(job, name))["Body"].read()
        return data

    def write(self, job: jobs_pb2.Job, name: str, data: bytes) -> None:
        """Overwrite an object."""
        self.s3.client.put_object(Bucket=BUCKET, Key=self._key(job, name), Body=data)

    def remove(self, job: jobs_pb2.Job, name: str) -> None:
        """Remove an object."""
        self.s3.client.delete_object(Bucket=BUCKET, Key=self._key(job, name))

    def remove_all(self, job: jobs_pb2.Job) -> None:
        """Remove every object, also those that a worker was putting."""
        self.remove(job, "plan.json")
        while keys := self.s3.keys(self._key(job, "")):
            for key in keys:
                self.s3.client.delete_object(Bucket=BUCKET, Key=key)

    def _key(self, job: jobs_pb2.Job, name: str) -> str:
        return f"{job.output_uri.removeprefix(f's3://{BUCKET}/')}/{name}"
