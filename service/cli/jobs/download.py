"""`mintage jobs download JOB`: every file of a finished job, from any machine, each compared with its digest.

Run again after an interruption it goes on: what is there with the right digest is not fetched again.

mintage jobs download 01kat7x2m9q3zc5d --to digits
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Protocol

import typer

from service.cli.console import (
    DEFAULT_API,
    ApiOption,
    JsonLinesOption,
    connect,
    errors_console,
    fail,
    friendly_errors,
    if_interrupted,
)
from service.cli.jobs.control import JobArgument
from service.cli.json_lines import print_json

SUMS_FILE, MANIFEST_FILE = "SHA256SUMS", "manifest.json"
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9._/-]+)", re.ASCII)


class DownloadError(Exception):
    """Raised when what the server says of a job's files cannot be followed, or the files are not what it says."""


class Source(Protocol):
    """The part of a client that is needed."""

    def read_file(self, name: str, file_name: str) -> Iterable[bytes]:
        """Yield the bytes of a file beside the shards."""

    def read_shard(self, name: str, index: int) -> Iterable[bytes]:
        """Yield the bytes of a shard."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one call fetches: a shard's file or folder, or a file beside the shards if `shard` is None."""

    name: str
    digests: dict[str, str]  # of its files, by their names below the job's folder
    shard: int | None = None


class Download:
    """A download of one job into a folder.

    Args:
        client: Reads the files.
        job: The job's name.
        folder: Where its folder is made again.

    Raises:
        DownloadError: if the lists of files name anything outside the folder, or not each other.
    """

    def __init__(self, client: Source, job: str, folder: Path) -> None:
        self._client, self._job, self._folder = client, job, folder
        self._sums = b"".join(client.read_file(job, SUMS_FILE))
        digests = _parsed(self._sums)
        manifest = b"".join(client.read_file(job, MANIFEST_FILE))
        if hashlib.sha256(manifest).hexdigest() != digests.get(MANIFEST_FILE):
            raise DownloadError(f"{MANIFEST_FILE} is not what {SUMS_FILE} says; verify the job")
        self.pieces = list(_pieces(digests, json.loads(manifest)["shards"]))

    def run(self) -> Iterator[tuple[Piece, bool]]:
        """Fetch what is not there; yields each piece when it is complete, and whether it was fetched.

        Raises:
            DownloadError: if what came is not what its digest says.
        """
        for piece in self.pieces:
            fetched = not all(_digest(self._folder / name) == digest for name, digest in piece.digests.items())
            if fetched:
                self._fetch(piece)
            yield piece, fetched
        with _whole(self._folder / SUMS_FILE) as file:
            file.write(self._sums)

    def _fetch(self, piece: Piece) -> None:
        if piece.shard is None:
            parts = self._client.read_file(self._job, piece.name)
        else:
            parts = self._client.read_shard(self._job, piece.shard)
        if piece.name in piece.digests:
            with _whole(self._folder / piece.name, piece.digests[piece.name]) as file:
                file.writelines(parts)
        else:
            with tempfile.TemporaryFile() as tar:
                tar.writelines(parts)
                tar.seek(0)
                self._unpack(piece, tar)

    def _unpack(self, piece: Piece, file: BinaryIO) -> None:
        """Take the files of a folder out of the tar that it comes as."""
        missing = dict(piece.digests)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                name = f"{piece.name}/{member.name}"
                content = tar.extractfile(member) if name in missing else None
                if content is None:
                    raise DownloadError(f"{piece.name} came with {member.name!a}, which {SUMS_FILE} does not list")
                with _whole(self._folder / name, missing.pop(name)) as target:
                    target.write(content.read())
        if missing:
            raise DownloadError(f"{piece.name} came without {min(missing)}")


def download(
    job: JobArgument,
    *,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Folder to make, or to complete. Default: the job's id.")
    ] = None,
    api: ApiOption = DEFAULT_API,
    as_json: JsonLinesOption = False,
) -> None:
    """Fetch every file of a finished job and compare each with its digest; again, it fetches only what is missing.

    --json prints an object per shard or file, and one about all at the end.

    Example: mintage jobs download 01kat7x2m9q3zc5d --to digits
    """
    from mintage.errors import NotFound

    name = f"jobs/{job.removeprefix('jobs/')}"
    folder = to or Path(job.removeprefix("jobs/"))
    counts = {True: 0, False: 0}
    with friendly_errors(), connect(api) as client:
        client.job(name)
        try:
            run = Download(client, name, folder)
        except NotFound:
            fail(f"{name} has no {SUMS_FILE} yet: it is written at its end; wait for it: mintage jobs watch {job}", 1)
        except DownloadError as error:
            fail(str(error), 1)
        with if_interrupted("what is there stays; the same command fetches the rest"):
            try:
                for number, (piece, fetched) in enumerate(run.run(), start=1):
                    counts[fetched] += 1
                    _show(piece, number, len(run.pieces), fetched=fetched, as_json=as_json)
            except DownloadError as error:
                fail(str(error), 1)
    if as_json:
        print_json({"name": name, "folder": str(folder), "fetched": counts[True], "kept": counts[False]})
    else:
        typer.echo(f"{name} is in {folder}: {counts[True]} fetched, {counts[False]} were there")


def register(jobs: typer.Typer) -> None:
    """Add the verb."""
    jobs.command()(download)


def _show(piece: Piece, number: int, total: int, *, fetched: bool, as_json: bool) -> None:
    """Say that a piece is complete."""
    if as_json:
        print_json({"file": piece.name, "fetched": fetched, "done": number, "total": total})
    else:
        end = "\r" if errors_console().is_terminal else "\n"
        if fetched or number == total:
            typer.echo(f"{number}/{total} {piece.name}".ljust(70) + end, nl=False, err=True)


def _parsed(sums: bytes) -> dict[str, str]:
    """Return the digest of each file that a job's SHA256SUMS names."""
    digests = {}
    for line in sums.decode("ascii", "replace").splitlines():
        match = _LINE.fullmatch(line)
        if match is None or not {"", ".", ".."}.isdisjoint(match[2].split("/")):
            raise DownloadError(f"{SUMS_FILE} has a line that names no file of the job: {ascii(line)[:100]}")
        digests[match[2]] = match[1]
    return digests


def _pieces(digests: dict[str, str], shards: list[dict[str, Any]]) -> Iterator[Piece]:
    """Sort files by the calls that fetch them."""
    folders: dict[str, dict[str, str]] = {}
    for name, digest in digests.items():
        folders.setdefault(name.rpartition("/")[0], {})[name] = digest
    known: set[str] = set()
    for shard in shards:
        name = str(shard["file"])
        files = {name: digests[name]} if name in digests else folders.get(name)
        if not files:
            raise DownloadError(f"{SUMS_FILE} does not list {name!a}; verify the job")
        known |= files.keys()
        yield Piece(name, files, int(shard["shard"]))
    for name, digest in digests.items():
        if name not in known:
            yield Piece(name, {name: digest})


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file, '' if there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def _whole(path: Path, digest: str = "") -> Iterator[BinaryIO]:
    """Open a file that gets its name only once it is complete, and, if a digest is given, has that.

    Raises:
        DownloadError: if it has another.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w+b") as file:
            yield file
            file.flush()
            file.seek(0)
            if digest and hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise DownloadError(f"{path.name} came with other bytes than {SUMS_FILE} says; verify the job")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
