"""Packs a run into an archive that TorchServe loads; equal runs give equal bytes, however often they were interrupted.

torch-model-archiver assembles the archive, which is then rewritten with sorted, uncompressed entries, one fixed time
and no date in the manifest, so that its sha256 identifies the model wherever it was packed. It has no
model-config.yaml: with one, even an empty one, TorchServe ignores the time limits that the model is registered with.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from safetensors.torch import save_file

from handlers.compute import model
from handlers.compute.fast.arithmetic import NUMERICS
from handlers.compute.precision import PrecisionChoice
from handlers.errors import ArchiveError, ModelError
from training.errors import TrainingError
from training.families import family_of
from training.neurons.concepts import CONCEPTS_FILE
from training.recipes import Kind
from training.runs.card import portable_card
from training.runs.checkpoint import Run, load_run, run_digest, served_weights

MAX_MICRO_BATCH = 1024  # images; where rows are not free, a request for one image computes a whole micro-batch
_MANIFEST = "MAR-INF/MANIFEST.json"
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can hold


@dataclass(frozen=True, slots=True)
class PackedArchive:
    """An archive on disk, and its sha256 in hexadecimal."""

    path: Path
    digest: str


def pack(
    run: Path,
    kind: Kind,
    output: Path,
    *,
    micro_batch: int = 64,
    precision: PrecisionChoice = "auto",
    encoder: Path | None = None,
) -> PackedArchive:
    """Pack one network of a run into an archive; on failure an existing file is kept.

    Args:
        run: the run's folder.
        kind: which network: `generator`, `classifier`, `neurons` for the autoencoder with its concepts, or
            `discriminator` with the generator that it was trained against.
        output: file to write, `*.mar`; an existing one is replaced atomically.
        micro_batch: images per forward pass, 1 to 1024. It is part of the model's identity: another value may change
            the last bits of its images.
        precision: of its products, part of its identity too; `auto` is bfloat16 where the device that serves it has
            units for it, and float32 elsewhere.
        encoder: the run of an encoder of this run's generator, which a discriminator's archive holds too.

    Raises:
        ArchiveError: if the run is incomplete, its weights do not fit the network, or the output's name is not that of
            an archive.
    """
    if kind not in get_args(Kind):
        raise ArchiveError(f"kind {kind!r} is none of {', '.join(get_args(Kind))}")
    if output.suffix != ".mar":
        raise ArchiveError(f"an archive's name ends in .mar, not {output.name!r}")
    if precision not in get_args(PrecisionChoice):
        raise ArchiveError(f"precision {precision!r} is none of {', '.join(get_args(PrecisionChoice))}")
    if not 1 <= micro_batch <= MAX_MICRO_BATCH:
        raise ArchiveError(f"micro_batch must be from 1 to {MAX_MICRO_BATCH}, not {micro_batch}")
    with tempfile.TemporaryDirectory(prefix="mintage-pack-") as scratch:
        content = Path(scratch, "content")
        serving = {
            "format": model.ARCHIVE_FORMAT,
            "kind": kind,
            "micro_batch": micro_batch,
            "numerics": NUMERICS,
            "precision": precision,
        }
        _fill(content, run, kind, serving, encoder)
        output.parent.mkdir(parents=True, exist_ok=True)
        return _write(_archived(content, kind, Path(scratch)), output)


def _fill(content: Path, run: Path, kind: Kind, serving: Mapping[str, object], encoder: Path | None) -> None:
    """Write the files of the archive into a new folder, and check that they can be loaded."""
    content.mkdir()
    try:
        loaded = load_run(run)
        family_of(loaded.config).served(kind)  # a recipe without this network says so
        weights = served_weights(loaded, kind)
        if encoder is not None:
            (content / model.ENCODER_FILE).write_bytes(_encoder(encoder, kind, run_digest(loaded)))
    except TrainingError as error:
        raise ArchiveError(str(error)) from None
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, content / model.WEIGHTS_FILE)
    (content / model.CONFIG_FILE).write_text(loaded.config.portable().to_json(), encoding="utf-8")
    serving = {**serving, "run_digest": run_digest(loaded)}
    (content / model.SERVING_FILE).write_text(json.dumps(serving), encoding="utf-8")
    (content / "card.md").write_text(_card(loaded), encoding="utf-8")
    if kind == "neurons" and (run / CONCEPTS_FILE).exists():
        (content / CONCEPTS_FILE).write_bytes((run / CONCEPTS_FILE).read_bytes())
    try:
        model.load(content, kind, torch.device("cpu"))
    except ModelError as error:
        raise ArchiveError(f"{run}: {error}") from None


def _encoder(run: Path, kind: Kind, generator_digest: str) -> bytes:
    from training.encoding import packed  # noqa: PLC0415 - few archives have an encoder, whose code is that of training

    if kind != "discriminator":
        raise ArchiveError(f"an encoder is packed beside a discriminator, not a {kind}")
    return packed(run, generator_digest=generator_digest)


def _card(run: Run) -> str:
    """Return the run's model card without local paths and times; an unfinished run may have none."""
    path = run.path / "card.md"
    if not path.exists():
        return f"# {run.config.recipe}\n\nThis run has no card.\n"
    return portable_card(path.read_text(encoding="utf-8"))


def _archived(content: Path, kind: Kind, scratch: Path) -> Path:
    """Run torch-model-archiver on a folder, as a process whose temporary files lie in `scratch`."""
    extra = [path for path in sorted(content.iterdir()) if path.name != model.WEIGHTS_FILE]
    options = {
        "--model-name": kind,
        "--version": "1.0",
        "--serialized-file": content / model.WEIGHTS_FILE,
        "--handler": Path(__file__).parent / "entry_points" / f"{kind}.py",
        "--extra-files": ",".join(path.name for path in extra),
        "--export-path": scratch,
    }
    command = [sys.executable, "-P", "-m", "model_archiver.model_packaging"]
    for option, value in options.items():
        command += [option, str(value)]
    # The extra files are named as they are in `content`: their list is separated by commas, which a path may hold.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    done = subprocess.run(command, cwd=content, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ArchiveError(f"torch-model-archiver failed: {' '.join(done.stderr.split())[-500:]}")
    return scratch / f"{kind}.mar"


def _write(archive: Path, output: Path) -> PackedArchive:
    """Rewrite an archive so that equal content gives equal bytes."""
    with zipfile.ZipFile(archive) as source, _replaced(output) as path:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
            for name in sorted(source.namelist()):
                entry = zipfile.ZipInfo(name, _ZIP_EPOCH)
                entry.create_system, entry.external_attr = 3, 0o100644 << 16  # Unix, rw-r--r--
                target.writestr(entry, _undated(source.read(name)) if name == _MANIFEST else source.read(name))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return PackedArchive(output, digest)


def _undated(manifest: bytes) -> bytes:
    """Return the manifest without its creation date."""
    values = json.loads(manifest)
    del values["createdOn"]
    return json.dumps(values, indent=2, sort_keys=True).encode()


@contextlib.contextmanager
def _replaced(output: Path) -> Iterator[Path]:
    """Yield a temporary file that replaces the output on success and is deleted on failure."""
    descriptor, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
    path = Path(name)
    try:
        yield path
        path.chmod(0o644)  # mkstemp sets 0600, which a server under another user cannot read
        os.fsync(descriptor)
        path.replace(output)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
