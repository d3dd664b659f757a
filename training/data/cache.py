"""The cache of decoded images: each split is decoded once, then mapped into memory.

    ~/.cache/mintage                 or MINTAGE_CACHE_DIR; `off` decodes every time, into memory
    ├── {key}/images.npy             uint8 [N, H, W, C]
    ├── {key}/labels.npy             int64 [N]
    ├── {key}/about.json             digests, what was skipped, classes, and stamps of the written files
    └── known/{question}.json        the key of a source, valid while its files' stamps are unchanged

The key is a digest of the bytes of the source's files, of the options, and of the version of this cache. A folder is
written under a temporary name and renamed when complete: readers never see a partial one, and the second of two writers
discards its own. Files whose stamps changed are compared by digest, and decoded again if they differ. It is always
safe to delete the cache.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from training.data.options import Options
from training.data.report import PassedOver
from training.data.splits import ImageFiles
from training.data.store import IMAGES_FILE, LABELS_FILE, DecodedImages, FileStore, Findings, MemoryStore, sha256
from training.errors import DataError

VERSION = 3  # of the layout and of the decoding
FOLDER_VARIABLE = "MINTAGE_CACHE_DIR"
OFF = "off"
ABOUT_FILE = "about.json"
TEMPORARY = ".new-"
ABANDONED_S = 24 * 3600.0  # a temporary folder this old is taken for that of a dead process

Build = Callable[[FileStore | MemoryStore], Findings]


def cache_folder() -> Path | None:
    """Return the folder of the cache, or None if it is switched off.

    Raises:
        DataError: if neither MINTAGE_CACHE_DIR nor a home folder is known.
    """
    named = os.environ.get(FOLDER_VARIABLE, "")
    if named == OFF:
        return None
    try:
        return Path(named).expanduser() if named else Path.home() / ".cache" / "mintage"
    except RuntimeError:
        raise DataError(
            f"there is no home folder for a cache; set {FOLDER_VARIABLE} to a folder, or to {OFF}"
        ) from None


def fetch(files: ImageFiles, options: Options, build: Build) -> DecodedImages:
    """Return a decoded split from the cache, or decode it into the cache first.

    Args:
        files: the split; a split without known files is decoded into memory.
        options: how to decode it.
        build: decodes it into a store and returns what was skipped.

    Raises:
        DataError: if the cache cannot be written, the disk is full, or the files change meanwhile; and from `build`.
    """
    folder = cache_folder() if files.files else None
    if folder is None:
        store = MemoryStore()
        return store.decoded(build(store))
    fingerprint = _fingerprint_of_source(files)
    with _explained(folder):
        entry = folder / _key(folder, files, options, fingerprint)
        found = _opened(entry)
        if found is None:
            with _temporary(folder) as new:
                _write(new, build)
                if _fingerprint_of_source(files) != fingerprint:
                    raise DataError(f"{files.source} changed while it was read; load it again")
                _publish(new, entry)
            found = _opened(entry)
    if found is None:
        raise DataError(f"{entry} cannot be read back; set {FOLDER_VARIABLE} to a folder on another disk, or to {OFF}")
    return found


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn disk errors into DataErrors that say what to do."""
    try:
        yield
    except OSError as error:
        what = "has no room left" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "cannot be used"
        raise DataError(
            f"the cache {folder} {what} ({error.strerror or error}); free some, or set {FOLDER_VARIABLE} to another "
            f"folder, or to {OFF}"
        ) from None


def _fingerprint_of_source(files: ImageFiles) -> str:
    """Return a digest of the files' metadata: size, times and inode."""
    digest = hashlib.sha256()
    for name, path in files.files:
        try:
            stat = path.lstat() if _leads_nowhere(path) else path.stat()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None
        digest.update(repr((os.fsencode(name), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)).encode())
    return digest.hexdigest()


def _key(folder: Path, files: ImageFiles, options: Options, fingerprint: str) -> str:
    """Return the key of a split: the known one if the files' metadata are unchanged, else from their bytes."""
    question = repr((VERSION, options, [os.fsencode(path.absolute()) for _, path in files.files]))
    known = folder / "known" / f"{hashlib.sha256(question.encode()).hexdigest()}.json"
    values = _json(known)
    key = values.get("key")
    if values.get("looks") == fingerprint and isinstance(key, str) and len(key) == 64 and key.isalnum():
        return key
    key = _content_key(files, options)
    known.parent.mkdir(parents=True, exist_ok=True)
    _write_json(known, {"looks": fingerprint, "key": key})
    return key


def _content_key(files: ImageFiles, options: Options) -> str:
    """Return a digest of the version, the options, and the names and bytes of the files."""
    digest = hashlib.sha256(repr((VERSION, options, files.classes)).encode())
    for name, path in files.files:
        try:
            with io.BytesIO() if _leads_nowhere(path) else path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
        digest.update(repr((os.fsencode(name), content)).encode())
    return digest.hexdigest()


def _leads_nowhere(path: Path) -> bool:
    """Return whether a path is a broken link, which counts as a damaged image."""
    return path.is_symlink() and not path.exists()


def _opened(entry: Path) -> DecodedImages | None:
    """Map an entry of the cache, or return None if it is missing or damaged."""
    about = _json(entry / ABOUT_FILE)
    try:
        images = np.load(entry / IMAGES_FILE, mmap_mode="r", allow_pickle=False)
        labels = np.load(entry / LABELS_FILE, allow_pickle=False)
        findings = Findings(
            tuple(str(name) for name in about["damaged"]),
            tuple(PassedOver(str(reason), int(n), tuple(first)) for reason, n, first in about["passed_over"]),
            tuple(str(name) for name in about["classes"]),
        )
        whole = images.dtype == np.uint8 and images.ndim == 4 and labels.dtype == np.int64
        whole = whole and labels.shape == images.shape[:1] and sha256(labels) == about["labels"]
        if not whole or (about["looks"] != _file_stamp(entry / IMAGES_FILE) and sha256(images) != about["images"]):
            return None
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    return DecodedImages(np.asarray(images), labels, findings)


def _write(new: Path, build: Build) -> None:
    """Decode into a folder."""
    with contextlib.closing(FileStore(new)) as store:
        findings = build(store)
        images, labels = store.finish()
    about = {
        "images": images,
        "labels": labels,
        "damaged": findings.damaged,
        "passed_over": [(each.reason, each.count, each.first) for each in findings.passed_over],
        "classes": findings.classes,
        "looks": _file_stamp(new / IMAGES_FILE),
    }
    _write_json(new / ABOUT_FILE, about)


def _publish(new: Path, entry: Path) -> None:
    """Rename a complete folder to its final name, unless another process was first; replace a damaged one."""
    if _opened(entry) is not None:
        return
    damaged = new.with_name(f"{new.name}-damaged")
    with contextlib.suppress(FileNotFoundError):
        entry.rename(damaged)
    shutil.rmtree(damaged, ignore_errors=True)
    try:
        new.rename(entry)
    except OSError:
        if _opened(entry) is None:
            raise


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder, deleted afterwards unless renamed; delete those of dead processes."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(old, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=folder))
    try:
        yield new
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _file_stamp(path: Path) -> list[int]:
    """Return a file's size and modification time in ns; renaming its folder keeps both."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _json(path: Path) -> dict[str, Any]:
    """Read a JSON object; {} if it is missing or damaged."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=TEMPORARY, delete=False) as file:
        try:
            json.dump(values, file)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
