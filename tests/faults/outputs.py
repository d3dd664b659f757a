"""What the files of a job hold."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
from mintage.v1 import jobs_pb2
from numpy.typing import NDArray
from PIL import Image


def samples(job: jobs_pb2.Job) -> list[int]:
    """The indices of all samples in a job's files, in order of shards."""
    indices: list[int] = []
    for shard in sorted(Path(job.output_uri).glob("data/*.tar")):
        with tarfile.open(shard) as tar:
            members = [member for member in tar if member.name.endswith(".json")]
            indices += [json.load(tar.extractfile(member))["index"] for member in members]  # type: ignore[arg-type]
    return indices


def pictures(job: jobs_pb2.Job) -> NDArray[np.uint8]:
    """All images in a job's files, in order: uint8 [N, H, W, C]."""
    images = []
    for shard in sorted(Path(job.output_uri).glob("data/*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith(".png"):
                    images.append(np.asarray(Image.open(tar.extractfile(member))))  # type: ignore[arg-type]
    return np.stack(images)


def files(job: jobs_pb2.Job) -> dict[str, bytes]:
    """Every shard of a job, and that nothing else was left behind."""
    folder = Path(job.output_uri)
    assert not (folder / ".tmp").exists(), list((folder / ".tmp").iterdir())
    data = [path for path in folder.glob("data/**/*") if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted([*data, *folder.glob("*.npz")])
        if path.suffix != ".json"
    }
