"""The run folder: configuration, weights for serving, and the state that resuming needs. Nothing is ever unpickled.

    runs/ssgan-digits/
    ├── config.json               recipe, every field, image shape, classes, latents, torch version
    ├── metrics.jsonl             one JSON object per report
    ├── checkpoint.safetensors    generator.*, discriminator.*, generator_average.*, discriminator_average.*;
    │                             or autoencoder.*
    ├── state.safetensors         the same weights, the optimisers' moments and the counters: all that resuming reads
    ├── samples/*.png             grids from fixed latents, named by images seen; latest.png
    └── card.md                   the model card

Resuming reads only state.safetensors, which is written first; if a crash, or a person, leaves it without weights of the
same age, they are written again from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from training.config import FREE, RunConfig
from training.errors import DivergedError, RunError
from training.recipes import Kind
from training.runs.files import encoded, write_atomically

CONFIG_FILE, WEIGHTS_FILE, STATE_FILE = "config.json", "checkpoint.safetensors", "state.safetensors"
SECTIONS: Mapping[Kind, Mapping[str, str]] = {  # of the checkpoint by kind: part of the served network -> section
    "generator": {"": "generator_average"},
    "classifier": {"": "discriminator_average"},
    "neurons": {"": "autoencoder"},
    "discriminator": {"generator.": "generator_average", "discriminator.": "discriminator_average"},
}
ENCODER_SECTION = "encoder_average"  # of the checkpoint of an encoder, which serves beside the networks of another run
SCALE = ".int8_scale"  # ends the name of the scales, one per unit, of weights that are stored in 8 bits


@dataclass(frozen=True, slots=True)
class Run:
    """A complete, validated run folder."""

    path: Path
    config: RunConfig
    weights: Mapping[str, Tensor]
    images_seen: int


@dataclass(frozen=True, slots=True)
class State:
    """All that resuming needs: weights, optimiser state and counters."""

    tensors: Mapping[str, Tensor]
    images_seen: int
    seconds: float


def load_run(run: Path) -> Run:
    """Read a run folder's configuration and weights; those in fewer bits are converted to float32.

    Raises:
        RunError: if the folder, its configuration or its weights are missing, truncated, of another recipe, or hold a
            number that is not finite.
    """
    config = load_config(run)
    if not (run / WEIGHTS_FILE).exists():
        missing = f"{run} has no {WEIGHTS_FILE}"
        if (run / STATE_FILE).exists():
            raise RunError(f"{missing}, but {STATE_FILE}: the command that trained it writes the weights again from it")
        raise RunError(f"{missing} yet: train it with `mintage train {config.recipe} --run {run}`")
    weights, metadata = _read(run / WEIGHTS_FILE)
    _must_match(run / WEIGHTS_FILE, metadata, config)
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise RunError(f"{run / WEIGHTS_FILE}: {name} holds a number that is not finite; train the run again")
    return Run(run, config, _widened(weights), int(metadata["images_seen"]))


def served_weights(run: Run, kind: Kind) -> dict[str, Tensor]:
    """Return the weights of one network, as `family_of(run.config).served(kind)` loads them.

    Raises:
        RunError: if the run has none.
    """
    return {
        part + name: tensor
        for part, prefix in SECTIONS[kind].items()
        for name, tensor in section(run.weights, prefix).items()
    }


def holds(run: Run, kind: Kind) -> bool:
    """Whether a run folder has the weights of a kind of network: an exported one may have some only."""
    found = {name.partition(".")[0] for name in run.weights}
    return found.issuperset(SECTIONS[kind].values())


def run_digest(run: Run) -> str:
    """Return the SHA-256 of a run's configuration and all its served weights, in hexadecimal.

    What is packed from one run folder has one run digest, whatever the kind; what is not served does not count, so that
    a run and its export in float32 have the same. Nor does what one machine or one start decided.
    """
    digest = hashlib.sha256(run.config.portable().to_json().encode())
    prefixes = {prefix for parts in SECTIONS.values() for prefix in parts.values()}
    for name in sorted(run.weights):
        if name.partition(".")[0] in prefixes:
            tensor = run.weights[name].contiguous()
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def section(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix.`, without it.

    Raises:
        RunError: if there are none.
    """
    start = prefix + "."
    found = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
    if not found:
        raise RunError(f"the checkpoint holds no {prefix} weights; was it written by another version?")
    return found


def _widened(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights that were stored in fewer bits as float32."""
    found = {}
    for name, tensor in weights.items():
        if name + SCALE in weights:
            found[name] = tensor.float() * weights[name + SCALE].view(-1, *[1] * (tensor.ndim - 1))
        elif not name.endswith(SCALE):
            found[name] = tensor.float() if tensor.dtype is torch.float16 else tensor
    return found


def load_config(run: Path) -> RunConfig:
    """Read a run folder's config.json.

    Raises:
        RunError: if the folder or the file is missing or damaged.
    """
    try:
        return RunConfig.from_json((run / CONFIG_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{run} is not a run folder: it has no {CONFIG_FILE}") from None
    except RunError as error:
        raise RunError(f"{run}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{run / CONFIG_FILE} cannot be read: {error}") from None


def load_state(run: Path, config: RunConfig) -> State | None:
    """Read what resuming needs, or None where no checkpoint was written yet.

    Raises:
        RunError: if the state is truncated, of another recipe, or holds a number that is not finite.
    """
    if not (run / STATE_FILE).exists():
        return None
    tensors, metadata = _read(run / STATE_FILE)
    _must_match(run / STATE_FILE, metadata, config)
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise RunError(
                f"{name} of the saved state is not finite; the run cannot be resumed; train it in a new folder"
            )
    return State(tensors, int(metadata["images_seen"]), float(metadata["seconds"]))


def save_config(run: Path, config: RunConfig) -> None:
    """Create the run folder and write its config.json."""
    run.mkdir(parents=True, exist_ok=True)
    write_atomically(run / CONFIG_FILE, config.to_json().encode())


def save_state(run: Path, config: RunConfig, *, weights: Mapping[str, Tensor], state: State) -> None:
    """Write a checkpoint: first what resuming reads, then what serving reads. The previous one survives any failure.

    Raises:
        DivergedError: if a weight is not finite; nothing is written then.
    """
    for name, tensor in {**weights, **state.tensors}.items():
        if not bool(torch.isfinite(tensor).all()):
            raise DivergedError(f"{name} is no longer finite after {state.images_seen} images; checkpoint not written")
    write_atomically(run / STATE_FILE, save(dict(state.tensors), _metadata(config, state)))
    save_weights(run, config, weights=weights, state=state)


def save_weights(run: Path, config: RunConfig, *, weights: Mapping[str, Tensor], state: State) -> None:
    """Write the part of a checkpoint that serving reads."""
    write_atomically(run / WEIGHTS_FILE, encoded(weights, _metadata(config, state)))


def weights_are_behind(run: Path, state: State) -> bool:
    """Return whether a run's weights are missing or older than its state.

    Raises:
        RunError: if the weights are truncated.
    """
    if not (run / WEIGHTS_FILE).exists():
        return True
    return int(_read(run / WEIGHTS_FILE, tensors=False)[1]["images_seen"]) < state.images_seen


def differences(one: RunConfig, other: RunConfig, *, free: Collection[str] = FREE) -> list[str]:
    """Return how two configurations differ as trainings, but for torch's version, the data's name and free fields."""
    if one.recipe != other.recipe:
        return [f"recipe is {one.recipe}, not {other.recipe}"]
    pairs = [
        *((name, getattr(one, name), getattr(other, name)) for name in ("image_shape", "classes")),
        ("data", one.data_sha256[:16], other.data_sha256[:16]),
        *((name, value, other.settings.to_dict()[name]) for name, value in one.settings.to_dict().items()),
    ]
    return [f"{name} is {mine}, not {yours}" for name, mine, yours in pairs if mine != yours and name not in free]


def _metadata(config: RunConfig, state: State) -> dict[str, str]:
    return {"recipe": config.recipe, "images_seen": str(state.images_seen), "seconds": repr(state.seconds)}


def _read(path: Path, *, tensors: bool = True) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file with the metadata that this module writes, or that alone."""
    try:
        opened: Any = safe_open(path, framework="pt")  # its methods carry no types
        with opened as file:
            names = file.keys() if tensors else ()
            found = {name: file.get_tensor(name) for name in names}
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"{path} is truncated or no safetensors file ({error}); train the run again") from None
    missing = {"recipe", "images_seen", "seconds"} - metadata.keys()
    if missing:
        raise RunError(f"{path} was not written by a training run: its header lacks {', '.join(sorted(missing))}")
    return found, metadata


def _must_match(path: Path, metadata: Mapping[str, str], config: RunConfig) -> None:
    """Refuse weights of another recipe than the configuration beside them."""
    if metadata["recipe"] != config.recipe:
        raise RunError(
            f"{path} holds weights of {metadata['recipe']}, but {CONFIG_FILE} beside it says {config.recipe}"
        )
