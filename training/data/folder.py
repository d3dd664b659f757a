"""A folder of images: one subfolder per class (`data/cat/1.png`, `data/dog/2.jpg`), or no classes and labels.

Splits are outer folders `train` and `test`; without these, all images are training images.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from training.data.image import FORMATS
from training.data.labelled import UNLABELLED, Split
from training.data.splits import ImageFile, ImageFiles
from training.errors import DataError


def recognises(source: Path) -> bool:
    """Return whether this is a folder; its content is checked when it is opened."""
    return source.is_dir()


def has_split(source: Path, split: Split) -> bool:
    """Return whether the split's folder exists; without `train`, all images are training images."""
    return split == "train" or (source / split).is_dir()


def open_split(source: Path, split: Split, limit: int | None) -> ImageFiles:
    """List the images of a split.

    Classes are numbered in order of their names; images are sorted by name within a class. Hidden files and files with
    endings not in `FORMATS` are ignored. A limit takes the first images of each class in turn.

    Raises:
        DataError: if there are no images, a class is empty, or images lie next to the class folders.
    """
    folder = _split_folder(source, split)
    classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))
    if classes:
        _check_none_beside(folder, classes)
        listed = [(label, rank, path) for label, name in enumerate(classes) for rank, path in _ranked(folder / name)]
        first = sorted(listed, key=lambda image: (image[1], image[0]))[:limit]
        chosen = [(label, path) for label, _, path in sorted(first)]
    else:
        chosen = [(UNLABELLED, path) for path in _images_of(folder)][:limit]
    if not chosen:
        raise DataError(
            f"{folder} has neither IDX files nor one folder per class nor images; expected files that end in "
            f"{', '.join(FORMATS)}"
        )
    files = tuple((str(path.relative_to(source)), path) for _, path in chosen)

    def images() -> Iterator[ImageFile]:
        for (name, path), (label, _) in zip(files, chosen, strict=True):
            yield ImageFile(name, path, (FORMATS[path.suffix.lower()],), label)

    return ImageFiles(str(source), files, images, classes, len(files))


def _split_folder(folder: Path, split: Split) -> Path:
    """Return the folder that holds a split."""
    if (folder / split).is_dir():
        return folder / split
    if split == "test" or (folder / "test").is_dir():
        raise DataError(f"{folder} has no {split} folder")
    return folder


def _ranked(folder: Path) -> Iterator[tuple[int, Path]]:
    """Number the images of one class; DataError if there are none."""
    found = _images_of(folder)
    if not found:
        raise DataError(f"{folder} holds no image; expected files that end in {', '.join(FORMATS)}")
    return enumerate(found)


def _check_none_beside(folder: Path, classes: tuple[str, ...]) -> None:
    """Refuse images outside the class folders, which would be silently ignored."""
    beside = _images_of(folder)
    if beside:
        raise DataError(
            f"{folder} has {len(beside)} images, such as {beside[0].name}, beside folders of classes, such as "
            f"{classes[0]}; put all images into folders, or into none"
        )


def _images_of(folder: Path) -> list[Path]:
    """Return the image files of one folder in the order of their names."""
    return sorted(path for path in folder.iterdir() if _is_image(path))


def _is_image(path: Path) -> bool:
    """Return whether a path is a regular file with an image's ending."""
    return path.suffix.lower() in FORMATS and not path.name.startswith(".") and path.is_file()
