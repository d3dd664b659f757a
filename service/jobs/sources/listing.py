"""The listing of a folder when its job was accepted: `source-{digest}.jsonl` in the job's folder, one line per file.

    {"layout":"images"}
    {"name":"cats/7.png","size":5123,"changed_ns":1700000000000000000,"images":1}

It fixes the images and their numbers; the plan has its digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter

from service.images.decode import FORMATS_SHOWN, looks_like_image
from service.jobs.plan import Natural, PassedOver, Plan, Positive, canonical_json
from service.jobs.sources.footers import Footers
from service.jobs.sources.inputs import InputFile, InputFolder, SourceError, Unread
from service.jobs.sources.tars import mark_images
from service.jobs.storage.output import Output, file_digest

LayoutName = Literal["images", "tars", "parquet"]
_PACKED: dict[LayoutName, str] = {"tars": ".tar", "parquet": ".parquet"}  # endings of files that hold many images
_COMPRESSED = (".tar.gz", ".tgz")
EMPTY = "tars and Parquet files without an image"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """A file of the folder and how many images it holds; `marks` has the offset of every 1000th image of a tar."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    name: str
    size: Natural
    changed_ns: int
    images: Positive
    marks: list[Natural] | None = None

    @property
    def file(self) -> InputFile:
        """The file as it was listed."""
        return InputFile(self.name, self.size, self.changed_ns)


@dataclass(frozen=True, slots=True)
class Listing:
    """A whole listing as the bytes of its file, how many images it names, and what else lay in the folder."""

    data: bytes
    images: int
    passed_over: tuple[PassedOver, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Part:
    """Images of one file that a shard needs: the first one's index in the job, and their positions in the file."""

    listed: ListedFile
    first_index: int
    images: range


_LISTED = TypeAdapter(ListedFile)


def file_name(digest: str) -> str:
    """Name of a listing beside its plan; different listings have different names."""
    return f"source-{digest[:16]}.jsonl"


def is_listing(name: str) -> bool:
    """Return whether a file beside a plan is a listing."""
    return name.startswith("source-") and name.endswith(".jsonl")


def list_folder(folder: InputFolder, *, on_file: Callable[[], None] = lambda: None) -> Listing:
    """List a folder of image files, of tars, or of Parquet files; blocks.

    Args:
        folder: to list.
        on_file: called for each file and each image of a tar; may raise to stop.

    Raises:
        FileNotFoundError: if there is no such folder.
        SourceError: if it holds no image, files of several kinds, or one that cannot be read.
    """
    unread = Unread()
    files = folder.files(_holds_images, unread, on_file=on_file)
    layout = _layout(files, folder.folder)
    lines, images = [canonical_json({"layout": layout})], 0
    with Footers() as footers:
        for file in files:
            if not file.name.isprintable():  # this includes names that are not UTF-8
                raise SourceError(f"{file.name!a} is not a printable name; rename the file")
            entry = _entry(folder, file, layout, footers, on_file)
            if entry["images"]:
                lines.append(canonical_json(entry))
                images += entry["images"]
            else:
                unread.add(EMPTY, file.name)
    if not images:
        raise SourceError(f"{folder.folder} holds no image")
    return Listing(b"".join(lines), images, unread.passed_over())


def read_parts(output: Output, plan: Plan, span: range) -> tuple[LayoutName, list[Part]]:
    """Return the layout of a plan's source, and the files that hold the images of a span.

    Raises:
        SourceError: if the listing is missing or was changed.
    """
    with _opened(output, plan) as file:
        layout = json.loads(file.readline())["layout"]
        return layout, list(_parts(file, span))


def read_names(output: Output, plan: Plan) -> Iterator[str]:
    """Yield where each image came from, in order: the file, and `#number` where a file holds many.

    Raises:
        SourceError: as `read_parts`.
    """
    with _opened(output, plan) as file:
        many = json.loads(file.readline())["layout"] != "images"
        for line in file:
            listed = _LISTED.validate_json(line)
            for number in range(listed.images):
                yield f"{listed.name}#{number}" if many else listed.name


def _holds_images(name: str, opened: Callable[[], AbstractContextManager[BinaryIO]]) -> bool:
    return name.lower().endswith((*_PACKED.values(), *_COMPRESSED)) or looks_like_image(name, opened)


def _layout(files: list[InputFile], folder: str) -> LayoutName:
    found = {_layout_of(file.name): file.name for file in reversed(files)}  # the first name of each
    if not found:
        raise SourceError(f"{folder} holds no {FORMATS_SHOWN} file, no tar and no Parquet file")
    if len(found) > 1:
        named = " and ".join(f"{layout} ({ascii(name)[1:-1]})" for layout, name in sorted(found.items()))
        raise SourceError(f"{folder} holds {named}; name a folder with one kind of file")
    return next(iter(found))


def _layout_of(name: str) -> LayoutName:
    if name.lower().endswith(_COMPRESSED):
        raise SourceError(f"{ascii(name)[1:-1]} is compressed, so its images cannot be read one by one; gunzip it")
    return next((layout for layout, ending in _PACKED.items() if name.lower().endswith(ending)), "images")


def _entry(
    folder: InputFolder, file: InputFile, layout: LayoutName, footers: Footers, on_file: Callable[[], None]
) -> dict[str, Any]:
    facts = asdict(file)
    if layout == "images":
        return {**facts, "images": 1}
    with folder.open(file) as opened:
        if layout == "parquet":
            return {**facts, "images": footers.rows(opened, file.name)}
        count, marks = mark_images(opened, file.name, on_file=on_file)
        return {**facts, "images": count, "marks": marks}


@contextlib.contextmanager
def _opened(output: Output, plan: Plan) -> Iterator[BinaryIO]:
    """Open the listing of a plan, hashed first."""
    assert plan.scoring is not None  # noqa: S101 - only score jobs have a source
    name = file_name(plan.scoring.source_listing)
    try:
        with output.open(name) as file:
            if file_digest(file) != plan.scoring.source_listing:
                raise SourceError(f"{name} was changed: it is not what the plan says")
            file.seek(0)
            yield file
    except FileNotFoundError:
        raise SourceError(f"{name} is missing: it says which images are scored") from None


def _parts(file: BinaryIO, span: range) -> Iterator[Part]:
    first = 0
    for line in file:
        if first >= span.stop:
            return
        listed = _LISTED.validate_json(line)
        begin, end = max(span.start - first, 0), min(span.stop - first, listed.images)
        if begin < end:
            yield Part(listed, first + begin, range(begin, end))
        first += listed.images
