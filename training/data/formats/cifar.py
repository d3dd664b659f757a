"""CIFAR-10 and CIFAR-100 in their binary version, unpacked or in the `.tar.gz`.

A batch is a sequence of records: one byte for the label (CIFAR-100: a coarse and a fine label; the fine one is used),
then 32 x 32 bytes each of red, green and blue. A text file names the classes, one per line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from training.data.formats.tar import first_name, read_members
from training.data.labelled import Split
from training.data.report import Report
from training.data.splits import Pixels
from training.errors import DataError

SIDE = 32  # px
PIXEL_BYTES = 3 * SIDE * SIDE
MAX_BYTES = 2**28  # per batch; CIFAR-100's train.bin has 154 MB
ARCHIVES = (".tar.gz", ".tgz", ".tar")
PACKED = "cifar-10"  # how the names in an archive begin, CIFAR-100's and the Python versions' too


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of a data set: batches per split, class names, and the label bytes of a record."""

    splits: dict[Split, tuple[str, ...]]
    names: str
    classes: int
    label_bytes: int

    @property
    def batches(self) -> tuple[str, ...]:
        """The batches of all splits."""
        return tuple(name for names in self.splits.values() for name in names)

    def files(self, split: Split) -> tuple[str, ...]:
        """The batches of a split, and the file of class names."""
        return (*self.splits[split], self.names)


CIFAR_10 = Layout(
    {"train": tuple(f"data_batch_{n}.bin" for n in range(1, 6)), "test": ("test_batch.bin",)},
    "batches.meta.txt",
    classes=10,
    label_bytes=1,
)
CIFAR_100 = Layout({"train": ("train.bin",), "test": ("test.bin",)}, "fine_label_names.txt", classes=100, label_bytes=2)
FOLDERS = {"cifar-10-batches-bin": CIFAR_10, "cifar-100-binary": CIFAR_100}


def recognises(source: Path) -> bool:
    """Return whether a source is a folder with binary batches, its parent, or an archive of such a folder."""
    if source.is_dir():
        return _folder(source) is not None
    return source.name.lower().endswith(ARCHIVES) and first_name(source).startswith(PACKED)


def has_split(source: Path, split: Split) -> bool:
    """Return whether all batches of a split are there; an archive is assumed complete."""
    found = _folder(source)
    return found is None or all((found[0] / name).is_file() for name in found[1].splits[split])


def open_split(source: Path, split: Split, limit: int | None, report: Report) -> Pixels:
    """Read a split, all of its batches.

    Returns:
        Images [N, 32, 32, 3] and the fine labels, in the order of the batches.

    Raises:
        DataError: if a batch is missing or damaged, or a label has no name.
    """
    found = _folder(source) if source.is_dir() else None
    layout, files = (found[1], _unpacked(*found, split)) if found else _packed(source, split)
    records = np.concatenate([_records(files[name], f"{source}: {name}", layout) for name in layout.splits[split]])
    names = tuple(files[layout.names].decode(errors="replace").split()) if layout.names in files else ()
    if names and len(names) != layout.classes:
        raise DataError(f"{source}: {layout.names} names {len(names)} classes, not {layout.classes}; download it again")
    planes = records[:, layout.label_bytes :].reshape(-1, 3, SIDE, SIDE)  # [N, C, H, W]
    images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    labels = records[:, layout.label_bytes - 1].astype(np.int64)
    return Pixels(images, labels, names or tuple(str(number) for number in range(layout.classes)))


def _folder(source: Path) -> tuple[Path, Layout] | None:
    """Return the folder with the batches and its layout: the source, or its subfolder of the usual name."""
    for folder, layout in ((source / name, layout) for name, layout in FOLDERS.items()):
        if folder.is_dir():
            return folder, layout
    for layout in FOLDERS.values():
        if any((source / name).is_file() for name in layout.batches):
            return source, layout
    return None


def _unpacked(folder: Path, layout: Layout, split: Split) -> dict[str, bytes]:
    """Read the files of a split from a folder."""
    files = {}
    for name in layout.files(split):
        path = folder / name
        if not path.is_file() and name == layout.names:
            continue
        try:
            if path.stat().st_size > MAX_BYTES:
                raise DataError(f"{path} holds {path.stat().st_size} bytes; a batch holds at most {MAX_BYTES}")
            files[name] = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}; download it again") from None
    return files


def _packed(archive: Path, split: Split) -> tuple[Layout, dict[str, bytes]]:
    """Read the files of a split from a `.tar.gz`; the folder inside tells the data set."""
    layouts = set()
    files = {}
    for name, content in read_members(archive, _wanted(split), max_bytes=MAX_BYTES):
        path = PurePosixPath(name)
        layouts.add(path.parent.name)
        files[path.name] = content
    if len(layouts) != 1:
        raise DataError(f"{archive} holds no {split} batches of one CIFAR set; expected {' or '.join(FOLDERS)} in it")
    layout = FOLDERS[layouts.pop()]
    for name in layout.splits[split]:
        if name not in files:
            raise DataError(f"{archive} holds no {name}; download it again")
    return layout, files


def _wanted(split: Split) -> Callable[[str], bool]:
    """Return whether a member's name is a file of a split."""
    wanted = {f"{folder}/{name}" for folder, layout in FOLDERS.items() for name in layout.files(split)}
    return lambda name: "/".join(PurePosixPath(name).parts[-2:]) in wanted


def _records(content: bytes, name: str, layout: Layout) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Split a batch into records [N, label bytes + 3072]."""
    size = layout.label_bytes + PIXEL_BYTES
    if not content or len(content) % size:
        raise DataError(f"{name} holds {len(content)} bytes, no multiple of a record's {size}; download it again")
    return np.frombuffer(content, np.uint8).reshape(-1, size)
