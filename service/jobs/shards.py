"""A shard's file and its marker: written the same way every time, published once, read back with suspicion.

A sample job's shard is a USTAR tar for WebDataset, `000000123.png` and `000000123.json` a sample in order of the
indices, with no times and no owners. A score job's shard is a safetensors file of `probabilities` float32 [n, K] and,
where the classifier can say, `generated` float32 [n]. A shard exists if its file does; the marker is written after it.
"""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import asdict, dataclass
from typing import Annotated, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from service.jobs import png
from service.jobs.faults import crash_point
from service.jobs.output import Output, OutputError, Temporary, file_digest
from service.jobs.plan import Digest, Natural, Plan, Positive, canonical_json

BLOCK = 512
MAX_SAMPLE_BYTES = 1 << 28


class DeterminismError(Exception):
    """Raised when a shard was struck twice with different bytes; the first file stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """What is known of a finished shard: `{shard}.json` beside it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    shard: Natural
    first_index: Natural
    count: Positive
    digest: Digest
    bytes: Natural
    attempt: Natural
    worker: str
    plan_digest: Digest
    encoder: str
    source_digest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""


_MARKER = TypeAdapter(Marker)


def data_name(plan: Plan, shard: int) -> str:
    """Name of a shard's file below the job's folder."""
    return f"shards/{shard:06d}.{plan.suffix}"


def marker_name(shard: int) -> str:
    """Name of a shard's marker below the job's folder."""
    return f"shards/{shard:06d}.json"


def temporary_label(shard: int, attempt: int) -> str:
    """Beginning of the name of an attempt's temporary file."""
    return f"{shard:06d}.{attempt}."


class ShardWriter:
    """Hashes and counts what goes into a shard's file. Memory does not grow with the shard."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._hash.update(data)
        self._file.write(data)
        self.size += len(data)

    @property
    def digest(self) -> str:
        """SHA-256 of what was written, in hexadecimal."""
        return self._hash.hexdigest()


class TarWriter(ShardWriter):
    """Writes the shard of a sample job."""

    def __init__(self, file: BinaryIO, plan: Plan) -> None:
        super().__init__(file)
        assert plan.sampling is not None  # noqa: S101 - only sample jobs have tars
        self._facts = {"model_digest": plan.model_digest, "seed": plan.sampling.seed}

    def add(self, first_index: int, images: NDArray[np.uint8]) -> None:
        """Append images uint8 [N, H, W, C] of consecutive indices."""
        for index, image in enumerate(png.encode(images), start=first_index):
            self._member(f"{index:09d}.png", image)
            self._member(f"{index:09d}.json", canonical_json({"index": index, **self._facts}))

    def finish(self) -> None:
        """End the tar: two empty blocks."""
        self.write(bytes(2 * BLOCK))

    def _member(self, name: str, data: bytes) -> None:
        self.write(_tar_header(name, len(data)) + data + bytes(-len(data) % BLOCK))


class TensorWriter(ShardWriter):
    """Writes the shard of a score job. `generated` (4 bytes an image) waits in memory for its place at the end."""

    def __init__(self, file: BinaryIO, plan: Plan, shard: int) -> None:
        super().__init__(file)
        assert plan.scoring is not None  # noqa: S101 - only score jobs have tensors
        self._shape = (len(plan.span(shard)), len(plan.scoring.classes))
        self._generated: list[NDArray[np.float32]] | None = None

    def add(self, probabilities: NDArray[np.float32], generated: NDArray[np.float32] | None) -> None:
        """Append probabilities float32 [N, K] and p(generated) float32 [N] of the next images."""
        if self.size == 0:
            self._generated = None if generated is None else []
            self.write(self._header())
        if (generated is None) != (self._generated is None):
            raise ValueError("the classifier says p(generated) of some images only")
        self.write(probabilities.astype("<f4").tobytes())
        if self._generated is not None and generated is not None:
            self._generated.append(generated)

    def finish(self) -> None:
        """Append what waited."""
        for generated in self._generated or ():
            self.write(generated.astype("<f4").tobytes())

    def _header(self) -> bytes:
        count, classes = self._shape
        end = 4 * count * classes
        tensors = {"probabilities": {"dtype": "F32", "shape": [count, classes], "data_offsets": [0, end]}}
        if self._generated is not None:
            tensors["generated"] = {"dtype": "F32", "shape": [count], "data_offsets": [end, end + 4 * count]}
        text = canonical_json(tensors).rstrip()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text


def publish(output: Output, plan: Plan, marker: Marker, temporary: Temporary) -> None:
    """Publish a written shard and its marker; a shard that is there already must have the same bytes.

    Raises:
        DeterminismError: if it has not.
    """
    name = data_name(plan, marker.shard)
    if not output.publish(temporary, name):
        with output.open(name) as file:
            _same(plan, marker, file_digest(file))
    crash_point("after_publish")
    _mark(output, plan, marker)
    crash_point("after_marker")


def adopt(output: Output, plan: Plan, orphan: Marker) -> Marker | None:
    """Return the marker of a shard whose file is there, after hashing it; None if there is no file.

    A file gets its name only when it is whole, so one without a marker was struck by an attempt that died; it gets one.

    Args:
        output: the job's folder.
        plan: the job's plan.
        orphan: the marker to complete with digest and size if there is none.

    Raises:
        OutputError: if the file is not what its marker says.
    """
    try:
        with output.open(data_name(plan, orphan.shard)) as file:
            digest = file_digest(file)
            size = file.tell()
    except FileNotFoundError:
        return None
    marker = read_marker(output, orphan.shard)
    if marker is None:
        marker = Marker(**{**asdict(orphan), "digest": digest, "bytes": size})
        _mark(output, plan, marker)
    if marker.digest != digest:
        raise OutputError(f"{data_name(plan, orphan.shard)} was changed: it is not what its marker says")
    return marker


def read_marker(output: Output, shard: int) -> Marker | None:
    """Return a shard's marker, or None if there is none.

    Raises:
        OutputError: if it is damaged.
    """
    data = output.read(marker_name(shard))
    if data is None:
        return None
    try:
        return _MARKER.validate_json(data)
    except ValidationError:
        raise OutputError(f"{marker_name(shard)} is damaged") from None


def stored_images(file: BinaryIO, indices: range, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Read the next images of a tar that `TarWriter` wrote: uint8 [len(indices), H, W, C].

    Raises:
        OutputError: if a header, a name, a format or a size is not exactly what `TarWriter` writes.
    """
    images = np.empty((len(indices), *shape), np.uint8)
    for row, index in enumerate(indices):
        images[row] = _decoded(_read_member(file, f"{index:09d}.png"), shape)
        _read_member(file, f"{index:09d}.json")
    return images


def skip_images(file: BinaryIO, indices: range) -> None:
    """Read past the images of these indices.

    Raises:
        OutputError: as `stored_images`, but no image is decoded.
    """
    for index in indices:
        _read_member(file, f"{index:09d}.png")
        _read_member(file, f"{index:09d}.json")


def _same(plan: Plan, marker: Marker, digest: str) -> None:
    if marker.digest != digest:
        name = data_name(plan, marker.shard)
        raise DeterminismError(f"{name} was struck twice with different bytes: kept {digest}, made {marker.digest}")


def _mark(output: Output, plan: Plan, marker: Marker) -> None:
    """Write the marker after the file; one that is there already must name the same bytes."""
    if not output.put(marker_name(marker.shard), canonical_json(asdict(marker))):
        earlier = read_marker(output, marker.shard)
        _same(plan, marker, earlier.digest if earlier else "")


def _tar_header(name: str, size: int) -> bytes:
    """USTAR header of a plain file that belongs to nobody and has no time."""
    zeros = b"0000000\0"
    fields = (name.encode(), b"0000644\0", zeros, zeros, b"%011o\0" % size, b"00000000000\0", b" " * 8, b"0", b"")
    block = struct.pack("100s8s8s8s12s12s8sc100s8s64s8s8s167x", *fields, b"ustar\00000", b"", b"", b"")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _read_member(file: BinaryIO, name: str) -> bytes:
    header = file.read(BLOCK)
    try:
        size = int(header[124:135], 8)
    except ValueError:
        size = -1
    if not 0 <= size <= MAX_SAMPLE_BYTES or header != _tar_header(name, size):
        raise OutputError(f"the tar does not hold {name} where it must")
    data = file.read(size + -size % BLOCK)
    return data[:size]


def _decoded(data: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Decode one PNG whose size and mode are known beforehand."""
    height, width, channels = shape
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.size != (width, height) or image.mode != {1: "L", 3: "RGB"}[channels]:
                raise OutputError(f"an image is {image.mode} {image.size}, not {channels} x {(width, height)}")
            return np.asarray(image).reshape(shape)
    except (OSError, SyntaxError) as error:
        raise OutputError("an image of the source is damaged") from error
