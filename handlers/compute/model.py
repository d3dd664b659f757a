"""Loads and validates an unpacked archive as a model on its device."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from handlers.compute import device as devices
from handlers.compute.batch_sizes import BatchSizes, fixed
from handlers.compute.fast.arithmetic import NUMERICS, is_plain, rewrite
from handlers.compute.fast.packing import pack_weights
from handlers.compute.inside.activations import layer_shapes
from handlers.compute.inside.plain import PlainNetworks
from handlers.compute.precision import Precision, PrecisionChoice, resolved
from handlers.errors import ModelError, RequestError
from training.config import RunConfig
from training.errors import TrainingError
from training.families import family_of
from training.networks.features import MAX_FEATURES, FeatureClassifier
from training.networks.sparse_autoencoder import SparseAutoencoder
from training.neurons.concepts import Concept, read_concepts
from training.recipes import Kind
from training.runs.checkpoint import load_run, run_digest, served_weights

WEIGHTS_FILE, CONFIG_FILE, SERVING_FILE = "weights.safetensors", "config.json", "serving.json"
ENCODER_FILE = "encoder.safetensors"  # of an encoder that was packed beside a discriminator: its section, its config
ARCHIVE_FORMAT = 4  # of what an archive holds, its handler file included; another one is refused


@dataclass(frozen=True, slots=True)
class Model:
    """A network in eval mode with validated weights, rewritten for serving, and how it is served."""

    kind: Kind
    config: RunConfig
    network: nn.Module
    sizes: BatchSizes
    device: torch.device
    precision: Precision
    plain: PlainNetworks
    run_digest: str  # of the run that it comes from, in hexadecimal
    layers: tuple[tuple[int, int, int], ...]  # (maps, height, width) of each hidden layer, none of an autoencoder
    concepts: tuple[Concept, ...] = ()  # of an autoencoder
    encoder: nn.Module | None = None  # beside a discriminator: images, and labels -> latents of its generator

    @property
    def device_class(self) -> str:
        """The device class, precision included; equal bytes are promised only within a class."""
        return devices.device_class(self.device, self.precision)

    @property
    def micro_batch(self) -> int:
        """Rows of a forward pass of the reference size, which defines the model's bits."""
        return self.sizes.reference

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image on the wire: (H, W, C)."""
        return self.config.height, self.config.width, self.config.channels

    @property
    def unit_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(M, H, W) of the units of each stage of an autoencoder."""
        return self.autoencoder.unit_shapes if self.kind == "neurons" else ()

    @property
    def autoencoder(self) -> SparseAutoencoder:
        """The network of a model of kind `neurons`.

        Raises:
            ModelError: if the model is of another kind.
        """
        if self.kind != "neurons":
            raise ModelError(f"a model of kind {self.kind} has no neurons to ask")
        return cast(SparseAutoencoder, self.network)

    @property
    def classifier(self) -> FeatureClassifier:
        """The network of a model of kind `classifier`.

        Raises:
            ModelError: if the model is of another kind.
        """
        if self.kind != "classifier":
            raise ModelError(f"a model of kind {self.kind} has no classes")
        return cast(FeatureClassifier, self.network)

    def check_layer(self, layer: int) -> None:
        """Check that the network has a hidden layer, from 1.

        Raises:
            RequestError: if it has not.
        """
        if not 1 <= layer <= len(self.layers):
            raise RequestError(f"layer must be from 1 to {len(self.layers)}, not {layer}")

    @property
    def features(self) -> int:
        """F, the number of features of an image; 0 if the network has none or more than MAX_FEATURES."""
        if self.kind in ("generator", "discriminator"):
            return 0
        count = self.unit_shapes[-1][0] if self.kind == "neurons" else self.classifier.feature_count
        return count if count <= MAX_FEATURES else 0

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that it knows or takes; those of a discriminator are what its logits stand for."""
        if self.kind == "discriminator":
            known = self.config.condition_classes or self.config.settings.classifies
            return self.config.classes if known else ()
        if self.kind == "generator" and not self.config.condition_classes:
            return ()
        return () if self.kind == "neurons" else self.config.classes

    @property
    def facts(self) -> dict[str, object]:
        """What decides an answer's bits besides the model itself; in every answer's header."""
        return {
            "device_class": self.device_class,
            "torch_version": torch.__version__,
            "numerics": NUMERICS,
            "precision": self.precision,
        }

    @property
    def description(self) -> dict[str, object]:
        """The answer to `describe`, without the facts."""
        return {
            "kind": self.kind,
            "height": self.config.height,
            "width": self.config.width,
            "channels": self.config.channels,
            "classes": list(self.classes),
            "latent_size": self.config.latent_size if self.kind == "generator" else 0,
            "micro_batch": self.micro_batch,
            "batch_sizes": list(self.sizes.proven) if self.sizes.free else [],
            "recipe": self.config.recipe,
            "features": self.features,
            "run_digest": self.run_digest,
            "layers": [list(shape) for shape in self.layers],
            "stages": [list(shape) for shape in self.unit_shapes],
            "concepts": [dataclasses.asdict(concept) for concept in self.concepts],
        }


def load(folder: Path, kind: Kind, device: torch.device) -> Model:
    """Load an unpacked archive.

    Raises:
        ModelError: if a file is missing or damaged, the archive is of another format or numerics, the weights do not
            match the configuration's network exactly or are not finite, its precision is not one that the network has,
            or a concept's unit does not exist in the network.
    """
    serving = _serving(folder, kind)
    try:
        config = RunConfig.from_json((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS_FILE)
        concepts = read_concepts(folder) if kind == "neurons" else ()
        model = _made(kind, config, weights, serving, device)
        encoder = _encoder(folder, model) if kind == "discriminator" and (folder / ENCODER_FILE).exists() else None
    except (OSError, UnicodeDecodeError, SafetensorError, TrainingError) as error:
        raise ModelError(f"the archive cannot be read: {error}") from None
    model = dataclasses.replace(model, concepts=concepts, encoder=encoder)
    for concept in concepts:
        _check_concept(concept, model.unit_shapes)
    return model


def from_run(
    run: Path, kind: Kind, device: torch.device, *, micro_batch: int = 64, precision: PrecisionChoice = "auto"
) -> Model:
    """Load a network of a run folder as its archive would be, without concepts.

    Raises:
        ModelError: if the weights do not fit the network, or it has not that precision.
        TrainingError: if the run is incomplete, or trains no network of that kind.
    """
    loaded = load_run(run)
    serving = _Serving(micro_batch, precision, run_digest(loaded))
    return _made(kind, loaded.config, served_weights(loaded, kind), serving, device)


def _made(
    kind: Kind,
    config: RunConfig,
    weights: Mapping[str, Tensor],
    serving: _Serving,
    device: torch.device,
) -> Model:
    """Build the network of a model, and rewrite it for serving."""
    network = family_of(config).served(kind)
    _fill(network, weights)
    layers = _layers(kind, config, network.eval())
    return Model(
        kind=kind,
        config=config,
        network=network,
        sizes=fixed(serving.micro_batch),
        device=device,
        precision=prepare(network, serving.precision, device),
        plain=PlainNetworks(config, kind, weights, device),
        run_digest=serving.run_digest,
        layers=layers,
    )


def _encoder(folder: Path, model: Model) -> nn.Module:
    """Load the encoder that was packed beside a pair, on the device.

    Raises:
        TrainingError: if its file is damaged, or it is another generator's.
    """
    from training.encoding import unpacked  # noqa: PLC0415 - few models have an encoder, whose code is that of training

    with torch.inference_mode(False):
        return unpacked(folder / ENCODER_FILE, generator_digest=model.run_digest).to(model.device)


def _layers(kind: Kind, config: RunConfig, network: nn.Module) -> tuple[tuple[int, int, int], ...]:
    """Return (maps, height, width) of each hidden layer of a network as it was trained."""
    if kind == "neurons":
        return ()
    if kind != "generator":
        return tuple(layer_shapes(lambda: network(torch.zeros(1, *config.image_shape))))
    labels = [torch.zeros(1, dtype=torch.long)] if config.condition_classes else []
    return tuple(layer_shapes(lambda: network(torch.zeros(1, config.latent_size), *labels)))


def prepare(network: nn.Module, choice: PrecisionChoice, device: torch.device) -> Precision:
    """Make a network with its weights ready to serve, in place, and return the precision that it computes in.

    Raises:
        ModelError: if it cannot compute in the precision that was chosen.
    """
    plain = is_plain(network)
    if plain and choice == "bfloat16":
        raise ModelError("an autoencoder or a discriminator is computed in float32; pack it with --precision auto")
    precision = resolved(choice, device, plain=plain)
    network.eval().requires_grad_(False)
    rewrite(network, precision)
    network.to(device)
    if precision == "bfloat16" and device.type == "cpu":
        pack_weights(network)
    return precision


@dataclass(frozen=True, slots=True)
class _Serving:
    """What serving.json says."""

    micro_batch: int
    precision: PrecisionChoice
    run_digest: str


def _serving(folder: Path, kind: Kind) -> _Serving:
    """Read serving.json, and check the archive's format, numerics and kind of model."""
    try:
        serving: Any = json.loads((folder / SERVING_FILE).read_text(encoding="utf-8"))
        found, micro_batch, layout = serving["kind"], serving["micro_batch"], serving.get("format")
        numerics, precision, digest = (serving.get(name) for name in ("numerics", "precision", "run_digest"))
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"the archive's {SERVING_FILE} is missing or damaged ({error!r})") from None
    for name, said, known in (("format", layout, ARCHIVE_FORMAT), ("numerics", numerics, NUMERICS)):
        if said != known:
            raise ModelError(f"the archive has {name} {said}, not {known}; pack it again")
    if found != kind or found not in get_args(Kind):
        raise ModelError(f"the archive's {SERVING_FILE} says kind {found!r}, but its handler serves a {kind}")
    if type(micro_batch) is not int or micro_batch < 1:
        raise ModelError(f"the archive's {SERVING_FILE} says micro_batch {micro_batch!r}, not a whole number from 1")
    if precision not in get_args(PrecisionChoice):
        choices = ", ".join(get_args(PrecisionChoice))
        raise ModelError(f"the archive's {SERVING_FILE} says precision {precision!r}, none of {choices}")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest, re.ASCII):
        raise ModelError(f"the archive's {SERVING_FILE} says run_digest {digest!r}, not a SHA-256")
    return _Serving(micro_batch, precision, digest)


def _fill(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load weights into a network: all of them, no others, every number finite."""
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"the weights are unfit: {name} holds a number that is not finite")
    try:
        network.load_state_dict(dict(weights), strict=True)
    except RuntimeError as error:
        raise ModelError(f"the weights do not fit the network: {' '.join(str(error).split())}") from None


def _check_concept(concept: Concept, shapes: tuple[tuple[int, int, int], ...]) -> None:
    """Check that a concept's unit exists in the network and that its measurements are in range."""
    counts = concept.stage, concept.unit, concept.positives, concept.distractors
    shares = concept.accuracy, concept.accuracy_low, concept.accuracy_high, concept.auroc
    if not all(type(count) is int and count >= 0 for count in counts) or not all(0 <= share <= 1 for share in shares):
        raise ModelError(f"concept {concept.name}: one of its numbers is impossible")
    units = math.prod(shapes[concept.stage - 1]) if concept.stage <= len(shapes) else 0
    if concept.unit >= units:
        raise ModelError(
            f"concept {concept.name} is said to be unit {concept.unit} of stage {concept.stage}; the network's stages "
            f"have {', '.join(str(math.prod(shape)) for shape in shapes)} units. `mintage neurons find` finds it anew"
        )
