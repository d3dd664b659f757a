"""What lies in a folder: archives and tables, image files, and what is neither, found in one walk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from training.data.image import ENDINGS, FORMATS_SHOWN, UNREAD_ENDINGS, is_image
from training.data.report import Report
from training.errors import DataError

TARS = (".tar", ".tar.gz", ".tgz")
PARQUET = (".parquet",)
ARRAYS = (".npz",)
DEPTH = 2  # folders below the source in which archives and tables are looked for: hub repositories have two
JUNK = ("__macosx", "thumbs.db", "desktop.ini", "@eadir", "__pycache__")  # left by other programs
NO_IMAGES = (".txt", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".md", ".html", ".cls", ".yaml", ".yml")  # not opened
HIDDEN = "hidden files and folders"
OTHER_FILES = "files that are no images"
LOOPS = "links to a folder that holds them"


@dataclass(slots=True)
class Packed:
    """The files below a folder that hold many images each, in order, and the image files beside them."""

    tars: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)  # Parquet
    arrays: list[Path] = field(default_factory=list)  # npz
    images: list[Path] = field(default_factory=list)  # image files, by their endings

    def check_alone(self, source: Path) -> None:
        """Refuse a folder that holds several of them: the others would be left unread.

        Raises:
            DataError: naming one of each.
        """
        kinds = {"tars": self.tars, "Parquet files": self.tables, "npz files": self.arrays, "image files": self.images}
        found = [f"{len(paths)} {what} ({paths[0].relative_to(source)})" for what, paths in kinds.items() if paths]
        if len(found) > 1:
            raise DataError(
                f"{source} holds {' and '.join(found)}; name with --data the file or the folder that is meant"
            )


def packed_below(source: Path) -> Packed:
    """Find the tars, tables and arrays of a folder and of the folders in it, in the order of their paths."""
    found = Packed()
    for path in files_below(source, DEPTH):
        name = path.name.lower()
        if name.endswith(TARS):
            found.tars.append(path)
        elif name.endswith(PARQUET):
            found.tables.append(path)
        elif name.endswith(ARRAYS):
            found.arrays.append(path)
        elif name.endswith(ENDINGS):
            found.images.append(path)
    return found


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or was left by another program."""
    return name.startswith(".") or name.lower() in JUNK


def entries(folder: Path, report: Report) -> tuple[list[Path], list[Path]]:
    """Return the folders and the files of a folder, each in the order of their names, without hidden ones."""
    folders, files = [], []
    for path in sorted(folder.iterdir()):
        if is_hidden(path.name):
            report.pass_over(HIDDEN, path.name)
        elif not path.is_dir():
            files.append(path)
        elif folder.resolve().is_relative_to(path.resolve()):
            report.pass_over(LOOPS, path.name)
        else:
            folders.append(path)
    return folders, files


def images_in(files: list[Path], report: Report) -> list[Path]:
    """Return the files that are images: by the endings that images have, else by their content.

    Images of formats that are not read, and links that lead nowhere, are among them: they count as damaged images when
    they are decoded.
    """
    found = []
    for path in files:
        if looks_like_image(path):
            found.append(path)
        else:
            report.pass_over(OTHER_FILES, path.name)
    return found


def looks_like_image(path: Path) -> bool:
    """Return whether a file is an image, by its name if that is an image's, else by its content."""
    ending = path.suffix.lower()
    return ending in (*ENDINGS, *UNREAD_ENDINGS) or (ending not in NO_IMAGES and is_image(path))


def no_images(what: object) -> DataError:
    """Return the error for something that holds no image."""
    pickled = "; CIFAR's Python batches would have to be unpickled: download the binary version"
    advice = pickled if Path(str(what), "data_batch_1").is_file() else ""
    return DataError(f"{what} holds no image; expected {FORMATS_SHOWN} files{advice}")


def files_below(source: Path, deepest: int) -> Iterator[Path]:
    """Yield the files of a folder and of the folders in it without hidden ones, in the order of their paths."""
    for top, folders, files in os.walk(source, onerror=_raise, followlinks=True):
        depth = len(Path(top).relative_to(source).parts)
        folders[:] = sorted(name for name in folders if not is_hidden(name)) if depth < deepest else []
        yield from (Path(top) / name for name in sorted(files) if not is_hidden(name))


def _raise(error: OSError) -> None:
    raise error
