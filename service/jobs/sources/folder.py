"""The images of a folder below the input folder: image files, tars or Parquet files, as the job's listing says."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator, Iterator

import numpy as np
import structlog

from service.images.decode import UnreadableImageError, decode_fitted
from service.jobs.plan import Plan
from service.jobs.shards.formats.scores import SourceStats
from service.jobs.sources.inputs import InputFolder, SourceError
from service.jobs.sources.listing import LayoutName, Part, read_parts
from service.jobs.sources.parquet import rows_of
from service.jobs.sources.source import Images
from service.jobs.sources.tars import MARK_EVERY, images_of
from service.jobs.storage.output import Output

MAX_FILE_BYTES = 64 << 20  # of one image; a larger file counts as unreadable
MAX_PIXELS = 5000 * 5000  # of one image before it is resized: 75 MB in memory
HANDFUL, MAX_UNREADABLE = 5, 10_000  # always allowed, in a large enough folder; never exceeded

log = structlog.get_logger(__name__)


def allowed_unreadable(images: int) -> int:
    """Return how many of a job's images may be unreadable, by the same rule as for training data."""
    return min(max(HANDFUL, images // 1000), images // 10, MAX_UNREADABLE)


@contextlib.contextmanager
def open_folder(output: Output, inputs: InputFolder, plan: Plan, span: range) -> Iterator[FolderSource]:
    """Open the images of a span.

    Raises:
        SourceError: if the listing was changed.
    """
    layout, parts = read_parts(output, plan, span)
    with contextlib.closing(_files(inputs, layout, parts)) as files:
        yield FolderSource(plan, span, files)


class FolderSource:
    """Images of a folder, decoded and resized to the model's size."""

    def __init__(self, plan: Plan, span: range, files: Iterator[tuple[int, str, bytes | None]]) -> None:
        self._plan, self._files, self._next = plan, files, span.start
        self._digests = hashlib.sha256()
        self._resized = self._unreadable = 0

    def read(self, indices: range) -> Images:
        """Decode images; an unreadable one is black.

        Raises:
            SourceError: if a file is gone or was changed, or too many images cannot be decoded.
        """
        plan = self._plan
        pixels = np.zeros((len(indices), plan.height, plan.width, plan.channels), np.uint8)  # [n, H, W, C]
        readable = np.zeros(len(indices), np.bool_)  # [n]
        for row, index in enumerate(indices):
            name, data = self._file(index)
            try:
                pixels[row], resized = self._decoded(data)
            except UnreadableImageError as error:
                self._forgive(name, str(error))
            else:
                readable[row] = True
                self._resized += resized
        return Images(pixels, readable)

    def read_so_far(self) -> SourceStats | None:
        """Return the digest over the digests of all images' bytes in order, and the number of resized images."""
        return SourceStats(self._digests.hexdigest(), self._resized)

    def _file(self, index: int) -> tuple[str, bytes | None]:
        """Return the next image file of this index."""
        for number, name, data in self._files:
            if number == index:
                self._digests.update(hashlib.sha256(data or b"").hexdigest().encode() + b"\n")
                return name, data
        raise SourceError(f"the source no longer has image {index:,}")

    def _decoded(self, data: bytes | None) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], bool]:
        if data is None:
            raise UnreadableImageError(f"has no bytes, or more than {MAX_FILE_BYTES:,}")
        plan = self._plan
        return decode_fitted(data, height=plan.height, width=plan.width, channels=plan.channels, max_pixels=MAX_PIXELS)

    def _forgive(self, name: str, why: str) -> None:
        log.warning("an image cannot be read", job=self._plan.job, image=name, why=why)
        self._unreadable += 1
        allowed = allowed_unreadable(self._plan.count)
        if self._unreadable > allowed:
            raise SourceError(f"{name} {why}; of {self._plan.count:,} images at most {allowed:,} may be unreadable")


def _files(
    inputs: InputFolder, layout: LayoutName, parts: list[Part]
) -> Generator[tuple[int, str, bytes | None], None, None]:
    """Yield index, name and bytes of each image in order; None for one without bytes, or with too many."""
    reader = {"images": _plain, "tars": _of_tar, "parquet": _of_parquet}[layout]
    for part in parts:
        index = part.first_index
        for name, data in reader(inputs, part):
            yield index, name, data
            index += 1


def _plain(inputs: InputFolder, part: Part) -> Iterator[tuple[str, bytes | None]]:
    with inputs.open(part.listed.file) as file:
        data = file.read() if part.listed.size <= MAX_FILE_BYTES else None
    if data is not None and len(data) != part.listed.size:
        raise SourceError(f"{_shown(part.listed.name)} was changed while it was read")
    yield _shown(part.listed.name), data


def _of_tar(inputs: InputFolder, part: Part) -> Iterator[tuple[str, bytes | None]]:
    mark = part.images.start // MARK_EVERY
    with inputs.open(part.listed.file) as file:
        members = images_of(file, _shown(part.listed.name), start=(part.listed.marks or [0])[mark])
        for number, member in enumerate(members, start=mark * MARK_EVERY):
            if number >= part.images.stop:
                return
            if number >= part.images.start:
                file.seek(member.start)
                data = file.read(member.size) if member.size <= MAX_FILE_BYTES else None
                yield f"{_shown(part.listed.name)}#{number}", data


def _of_parquet(inputs: InputFolder, part: Part) -> Iterator[tuple[str, bytes | None]]:
    name = _shown(part.listed.name)
    with inputs.open(part.listed.file) as file:
        for number, data in enumerate(rows_of(file, name, part.images), start=part.images.start):
            yield f"{name}#{number}", data if data is not None and len(data) <= MAX_FILE_BYTES else None


def _shown(name: str) -> str:
    return ascii(name)[1:-1]
