"""Archives as `mintage pack` writes them, of a model that is only a text: what a test's model server makes of it."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from service.models.archives.keeping import ARCHIVE_FORMAT, NUMERICS

_TEXT = "card.md"


def members_of(text: str, **facts: object) -> dict[str, bytes]:
    """The files of an archive whose model the text describes, a kind of model first; with more facts to serve it."""
    kind = text.split(maxsplit=1)[0]
    kind = kind if kind in ("generator", "classifier", "discriminator") else "neurons"
    manifest = {"model": {"handler": f"{kind}.py", "serializedFile": "weights.safetensors"}, "runtime": "python"}
    serving = {"format": ARCHIVE_FORMAT, "numerics": NUMERICS, "kind": kind, "micro_batch": 4, **facts}
    return {
        "MAR-INF/MANIFEST.json": json.dumps(manifest).encode(),
        _TEXT: text.encode(),
        "config.json": b"{}",
        f"{kind}.py": b"",
        "serving.json": json.dumps(serving).encode(),
        "weights.safetensors": save({"w": np.zeros(8, np.float32)}),
    }


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """The bytes of an archive with these files; the same for the same."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = compression
            archive.writestr(entry, content)
    return file.getvalue()


def write_archive(path: Path, text: str, **facts: object) -> Path:
    """Write an archive; returns its path."""
    path.write_bytes(zipped(members_of(text, **facts)))
    return path


def text_of(path: Path) -> str:
    """The text of an archive."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(_TEXT).decode()


def digest_of(text: str) -> str:
    """The sha256 of the archive of a text."""
    return hashlib.sha256(zipped(members_of(text))).hexdigest()
