"""The verbs that fetch a job's files from any machine: `mintage jobs files|read JOB`.

mintage jobs files 01kat7x2m9q3zc5d
mintage jobs read 01kat7x2m9q3zc5d 0 --to train-00000-of-00010.tar
mintage jobs read 01kat7x2m9q3zc5d .mintage/contact-sheet.png --to sheet.png
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from service.cli.console import (
    DEFAULT_API,
    ApiOption,
    JsonLinesOption,
    JsonOption,
    connect,
    console,
    fail,
    friendly_errors,
    table,
)
from service.cli.jobs.control import JobArgument
from service.cli.json_lines import print_json, print_json_lines


def files(job: JobArgument, api: ApiOption = DEFAULT_API, as_json: JsonLinesOption = False) -> None:
    """List the files of a job beside its shards: plan, manifest, contact sheet, scores, report.

    Example: mintage jobs files 01kat7x2m9q3zc5d
    """
    with friendly_errors(), connect(api) as client:
        found = client.files(job)
    if as_json:
        print_json_lines(found)
    else:
        rows = [(file.name, f"{file.size_bytes:,}") for file in found]
        console().print(table(("file", "bytes"), rows, right=("bytes",)))


def read(
    job: JobArgument,
    what: Annotated[
        str,
        typer.Argument(
            metavar="SHARD|FILE", help="Number of a shard, from 0, or a file name that `mintage jobs files` lists."
        ),
    ],
    *,
    to: Annotated[Path | None, typer.Option("--to", metavar="PATH", help="File to write. Default: stdout.")] = None,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Fetch one finished shard, or one other file of a job, checked against its digest.

    PATH appears whole or not at all. --json says what was written, and needs --to.

    Example: mintage jobs read 01kat7x2m9q3zc5d report.html --to report.html
    """
    if as_json and to is None:
        fail("--json needs --to PATH: the file itself goes to stdout otherwise")
    digest, size = hashlib.sha256(), 0
    with friendly_errors(), connect(api) as client, _target(to) as target:
        for data in client.read_shard(job, int(what)) if what.isdecimal() else client.read_file(job, what):
            target.write(data)
            digest.update(data)
            size += len(data)
    if as_json:
        written = {"written": str(to), "size_bytes": size, "digest": digest.hexdigest()}
        print_json({"name": f"jobs/{job.removeprefix('jobs/')}", "read": what, **written})


def register(jobs: typer.Typer) -> None:
    """Add the verbs."""
    for verb in (files, read):
        jobs.command()(verb)


@contextlib.contextmanager
def _target(path: Path | None) -> Iterator[BinaryIO]:
    """Open the destination of the bytes; a file gets its name only once it is complete."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
