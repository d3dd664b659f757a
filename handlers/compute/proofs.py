"""The proof of a model's batch sizes: made once for an archive on a kind of device, then read from a file.

A proof takes seconds, and a model's workers start again and again. So it is kept under everything that may change its
outcome. The worker that comes first makes it; the others wait and read it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from handlers.compute.batch_sizes import ROWS, BatchSizes, prove
from handlers.compute.latents import latents
from handlers.compute.model import Model

LOG = logging.getLogger("mintage.handlers")
VERSION = 3  # of how proofs are made
SEED = 0x5EED  # of the rows that are compared
LIBRARY_SETTINGS = (  # that choose kernels
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
)


def with_proven_sizes(
    model: Model, weights_sha256: str, folder: Path | None, told: Callable[[int, int], None] = lambda *_: None
) -> Model:
    """Return a model whose batch sizes are proven.

    Args:
        model: as it was loaded.
        weights_sha256: of the archive's weights, in hexadecimal.
        folder: where proofs are kept; None proves anew.
        told: hears how many sizes were tried, and of how many.
    """
    if model.kind == "discriminator":  # each request has passes of the reference size to itself
        return model
    if folder is None:
        return dataclasses.replace(model, sizes=_proven(model, told))
    path = _path(model, weights_sha256, folder)
    with _locked(path.with_suffix(".lock")):
        sizes = _read(path, model.micro_batch)
        if sizes is None:
            sizes = _proven(model, told)
            _write(path, sizes)
    return dataclasses.replace(model, sizes=sizes)


def withdraw(model: Model, weights_sha256: str, folder: Path | None, sizes: BatchSizes) -> None:
    """Keep that only these sizes of a model's proof are good, for its other workers when they start again."""
    if folder is None:
        return
    path = _path(model, weights_sha256, folder)
    with _locked(path.with_suffix(".lock")):
        kept = _read(path, model.micro_batch) or sizes
        _write(path, dataclasses.replace(sizes, proven=tuple(size for size in sizes.proven if size in kept.proven)))


def _path(model: Model, weights_sha256: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{_key(model, weights_sha256)}.json"


def _proven(model: Model, told: Callable[[int, int], None]) -> BatchSizes:
    count = max(ROWS, model.micro_batch)
    return prove(forward_of(model), rows_of(model, count).to(model.device), model.micro_batch, told=told)


def rows_of(model: Model, count: int, *, seed: int = SEED) -> Tensor:
    """Different inputs of the network: latents [N, Z], or images [N, C, H, W] of noise in [-1, 1]."""
    config = model.config
    if model.kind == "generator":
        return torch.from_numpy(latents(seed, 0, count, config.latent_size, config.latent_distribution))
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((count, *config.image_shape), generator=generator) * 2 - 1


def forward_of(model: Model) -> Callable[[Tensor], Tensor]:
    """The network as a function of rows alone: every way through it that an answer takes, side by side, [n, values]."""
    if model.kind == "neurons":
        autoencoder = model.autoencoder
        return lambda rows: _beside([*autoencoder(rows), autoencoder.reconstruct(rows)])
    if model.kind == "classifier" and model.features:
        return lambda rows: _beside([model.network(rows), *model.classifier.logits_and_features(rows)])
    if classes := model.config.condition_classes if model.kind == "generator" else 0:
        return lambda rows: model.network(rows, rows[:, 0].contiguous().view(torch.int32).long() % classes)
    return model.network


def _beside(results: Sequence[Tensor]) -> Tensor:
    return torch.cat([result.flatten(1).float() for result in results], dim=1)


def _key(model: Model, weights_sha256: str) -> str:
    """Name everything that decides which sizes agree."""
    facts = {
        "version": VERSION,
        "weights": weights_sha256,
        "config": model.config.to_json(),
        "kind": model.kind,
        "reference": model.micro_batch,
        **model.facts,
        "libraries": torch.__config__.show(),
        "settings": {name: os.environ.get(name, "") for name in LIBRARY_SETTINGS},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _read(path: Path, reference: int) -> BatchSizes | None:
    """Read a proof; None if there is none, or it is damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        proven, free = tuple(values["proven"]), values["free"]
    except FileNotFoundError:
        return None
    except (OSError, KeyError, TypeError, ValueError):
        LOG.warning("the proof %s is damaged and made anew", path)
        return None
    sound = all(type(size) is int and size > 0 for size in proven) and reference in proven and isinstance(free, bool)
    return BatchSizes(reference, tuple(sorted(proven)), free) if sound else None


def _write(path: Path, sizes: BatchSizes) -> None:
    """Keep a proof, whole or not at all; where that fails the next worker proves anew."""
    text = json.dumps({"reference": sizes.reference, "proven": sizes.proven, "free": sizes.free})
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=".proof-", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
        Path(file.name).replace(path)
    except OSError as error:
        LOG.warning("a proof of batch sizes is not kept: %s", error)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
