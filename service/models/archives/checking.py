"""Whether a file is an archive that this service can serve, read before the model server sees it.

The model server unpacks an archive and runs its handler; of a bad one it says little. Here an archive is read as data,
every byte of it once, and refused with the reason. What only a forward pass shows, such as weights that are no numbers,
is found by the canary.
"""

from __future__ import annotations

import json
import stat
import struct
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from service.backend.protocol.description import Kind
from service.errors import FailedPrecondition
from service.models.archives import keeping

MAX_MEMBERS = 64  # ours have seven
MAX_EXPANSION = 4  # of the archive's size; ours are not compressed
MAX_TEXT_BYTES = 2**24  # of one JSON file: concepts are the largest
MANIFEST, SERVING, CONFIG, WEIGHTS = "MAR-INF/MANIFEST.json", "serving.json", "config.json", "weights.safetensors"
_HEADER = struct.Struct("<Q")  # the first bytes of a safetensors file: how long its JSON is


class _Unfit(Exception):
    """Raised with what is wrong with an archive."""


def check(path: Path) -> None:
    """Refuse a file that is no archive of ours, or not a whole one.

    Raises:
        FailedPrecondition: saying what is wrong.
    """
    keeping.check_format(path)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path.stat().st_size)
            _check_manifest(archive)
            _json(archive, CONFIG)
            _check_weights(archive)
            damaged = archive.testzip()
            if damaged is not None:
                raise _Unfit(f"{damaged} is damaged")
    except zipfile.BadZipFile as error:
        raise _refusal(path, f"it is no archive, or not a whole one ({error})") from None
    except (OSError, RuntimeError, NotImplementedError, EOFError, ValueError) as error:  # as damaged files raise
        raise _refusal(path, f"it cannot be read ({error})") from None
    except _Unfit as error:
        raise _refusal(path, str(error)) from None


def _refusal(path: Path, what: str) -> FailedPrecondition:
    text = f"{path.name} cannot be served: {what}; pack the run again with `mintage pack`"
    return FailedPrecondition(text, reason="ARCHIVE_UNFIT")


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Names stay inside the folder into which the model server unpacks them, and the files fit on its disk."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise _Unfit(f"it has {len(members):,} files; {MAX_MEMBERS} are the most")
    names = [member.filename for member in members]
    for member in members:
        parts = PurePosixPath(member.filename).parts
        leads_out = ".." in parts or member.filename.startswith("/") or "\\" in member.filename
        if leads_out or not parts or stat.S_ISLNK(member.external_attr >> 16):
            raise _Unfit(f"its file {member.filename!r} leads out of it")
        if names.count(member.filename) > 1:
            raise _Unfit(f"it has two files called {member.filename!r}")
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_EXPANSION * size:
        raise _Unfit(f"its {size:,} bytes hold {unpacked:,}")


def _check_manifest(archive: zipfile.ZipFile) -> None:
    """The model server runs what the manifest names: it must be our handler of one kind, with nothing besides."""
    model = _json(archive, MANIFEST).get("model")
    kind = _json(archive, SERVING).get("kind")
    if kind not in get_args(Kind):
        raise _Unfit(f"{SERVING} names no kind of model")
    expected = {"handler": f"{kind}.py", "serializedFile": WEIGHTS}
    found = model if isinstance(model, dict) else {}
    for key, value in expected.items():
        if found.get(key) != value:
            raise _Unfit(f"{MANIFEST} names {found.get(key)!r} as {key}, not {value!r}")
        _member(archive, value)
    if {"configFile", "requirementsFile"} & set(found):
        raise _Unfit(f"{MANIFEST} brings settings or requirements of its own")


def _check_weights(archive: zipfile.ZipFile) -> None:
    """The header of the weights names tensors that fill the file."""
    size = _member(archive, WEIGHTS).file_size
    with archive.open(WEIGHTS) as file:
        first = file.read(_HEADER.size)
        length = _HEADER.unpack(first)[0] if len(first) == _HEADER.size else size
        if length > min(size - _HEADER.size, MAX_TEXT_BYTES):
            raise _Unfit(f"{WEIGHTS} is cut off, or no safetensors file")
        header = _parsed(WEIGHTS, file.read(length))
    ends = [
        entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__" and _has_offsets(entry)
    ]
    if max(ends, default=-1) != size - _HEADER.size - length:
        raise _Unfit(f"{WEIGHTS} is cut off, or no safetensors file")


def _has_offsets(entry: Any) -> bool:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    return isinstance(offsets, list) and len(offsets) == 2 and all(type(each) is int for each in offsets)


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    try:
        return archive.getinfo(name)
    except KeyError:
        raise _Unfit(f"it lacks {name}") from None


def _json(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    if _member(archive, name).file_size > MAX_TEXT_BYTES:
        raise _Unfit(f"{name} is too large")
    return _parsed(name, archive.read(name))


def _parsed(name: str, text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _Unfit(f"{name} is no JSON object")
    return value
