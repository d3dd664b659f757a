"""What the models of tests answer: a formula of (seed, index) for images, and of the pixels for everything else."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from service.backend.protocol.description import ModelDescription
from service.backend.protocol.neurons import Concept, UnitShape
from service.models.records import ModelRecord
from service.models.registry import Registry
from tests.support.archives import digest_of, write_archive

Tensors = dict[str, NDArray[Any]]

FEATURES = 4  # of an image
LEVELS = (0, 100, 255)  # of the first pixel at which a classifier is sure of class 0, 1 and 2
DARK = Concept("dark", 1, 3, -1, -100.0, 0.1, 0.0, 0.8, 0.7, 0.9, 0.85, 40, 60)
LIGHT = Concept("light", 2, 9, 1, 100.0, 0.1, 0.0, 0.75, 0.65, 0.85, 0.8, 30, 70)

PAIR = "c" * 64  # the run digest of generator and discriminator
GENERATOR = ModelDescription(
    *("generator", 8, 6, 1, (), 16, 4, "cpu", "2.13.0", 1, "float32", "improved-gan"),
    run_digest=PAIR,
    layers=(UnitShape(5, 2, 2), UnitShape(3, 4, 3), UnitShape(2, 8, 6)),
)
CLASSIFIER = ModelDescription(
    *("classifier", 8, 6, 1, ("nought", "one", "two"), 0, 4, "cpu", "2.13.0", 1, "float32", "improved-gan"),
    run_digest="d" * 64,
    layers=(UnitShape(4, 4, 3), UnitShape(6, 1, 1)),
)
DISCRIMINATOR = ModelDescription(
    *("discriminator", 8, 6, 1, (), 0, 4, "cpu", "2.13.0", 1, "float32", "improved-gan"),
    run_digest=PAIR,
    layers=(UnitShape(3, 4, 3), UnitShape(4, 2, 2)),
)
AUTOENCODER = ModelDescription(
    *("neurons", 8, 6, 1, (), 0, 4, "cpu", "2.13.0", 1, "float32", "face-neuron"),
    stages=(UnitShape(2, 3, 4), UnitShape(5, 1, 2)),
    concepts=(DARK, LIGHT),
    run_digest="e" * 64,
)
DESCRIPTIONS = {
    "generator": GENERATOR,
    "classifier": CLASSIFIER,
    "neurons": AUTOENCODER,
    "discriminator": DISCRIMINATOR,
    "blank": replace(AUTOENCODER, concepts=()),
}
JOB_MODELS = {  # what jobs are made of: colour, features, and concepts that a whole score job can tell apart
    "digits": replace(GENERATOR, channels=3),
    "judge": replace(CLASSIFIER, channels=3, features=FEATURES),
    "eyes": replace(
        AUTOENCODER,
        channels=3,
        features=FEATURES,
        stages=(UnitShape(FEATURES, 1, 1),),
        concepts=(DARK, replace(LIGHT, stage=1, unit=1, threshold=120.0)),
    ),
}
SHAPE = (8, 6, 3)  # of their images


def made_images(seed: int, indices: range, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.uint8]:
    """The images of a seed: uint8 [len(indices), *shape]."""
    index = np.arange(indices.start, indices.stop, dtype=np.uint64)[:, None]
    pixel = np.arange(int(np.prod(shape)), dtype=np.uint64)[None, :]
    mixed = index * np.uint64(0x9E3779B97F4A7C15) + pixel * np.uint64(0xBF58476D1CE4E5B9)
    mixed += np.array([seed], np.uint64) * np.uint64(0x94D049BB133111EB)
    return (mixed >> np.uint64(56)).astype(np.uint8).reshape(-1, *shape)


def pixels(seed: int, index: int, model: ModelDescription = GENERATOR) -> NDArray[np.uint8]:
    """One image: uint8 [H, W, C]."""
    image: NDArray[np.uint8] = made_images(seed, range(index, index + 1), _shape(model))[0]
    return image


def made_probabilities(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The class probabilities of images: float32 [N, 3], between those of the `LEVELS` around their first pixel."""
    columns = [np.interp(_first_pixels(images), LEVELS, np.eye(3)[k]) for k in range(3)]
    return np.stack(columns, axis=1).astype(np.float32)


def made_features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The features of images: float32 [N, F]."""
    values = images.reshape(len(images), -1).astype(np.float32) / 255
    features: NDArray[np.float32] = np.stack([values[:, k::FEATURES].mean(axis=1) for k in range(FEATURES)], axis=1)
    return features


def answer(
    model: ModelDescription, request: Mapping[str, Any], inputs: Mapping[str, bytes], *, other: range = range(0)
) -> bytes:
    """What a model answers to a request, as it comes over the wire; images of the indices `other` differ by a bit."""
    if request["op"] == "generate":
        indices = range(request["first_index"], request["first_index"] + request["count"])
        images = made_images(request["seed"], indices, _shape(model))
        images[[index in other for index in indices], 0, 0, 0] ^= 1
        return blob(model, {}, images=images)
    if request["op"] in ("draw", "evaluate"):
        samples = [stands_for(request["parts"], latent) for latent in request["latents"]]
        if request["op"] == "evaluate":
            return blob(model, {}, latents=np.array(samples, np.float64)[:, :1].repeat(model.latent_size, axis=1))
        images = np.concatenate([made_images(s, range(i, i + 1), _shape(model)) for s, i in samples])
        return blob(model, {}, images=255 - images if request.get("drop") or request.get("keep") else images)
    if request["op"] == "tap":
        return blob(model, {}, activations=_tapped(model, request))
    if request["op"] == "stimulate":
        activation = np.array([request["sign"] * request["steps"]], np.float32)
        return blob(model, {}, image=pixels(request["seed"], request["unit"], model), activation=activation)
    if "shape" not in request:
        return blob(model, {})
    images = np.frombuffer(inputs["pixels"], np.uint8).reshape(request["shape"])
    features = {"features": made_features(images)} if request.get("features") else {}
    return blob(model, {}, **_ABOUT_IMAGES[request["op"]](model, request, images), **features)


def blob(model: ModelDescription, facts: Mapping[str, Any], **tensors: NDArray[Any]) -> bytes:
    """An answer on the wire: a header, with more facts, and tensors."""
    told = {
        "device_class": model.device_class,
        "torch_version": model.torch_version,
        "numerics": model.numerics,
        "precision": model.precision,
    }
    header = {**facts, "status": "ok", "message": "", **told}
    return save({"header": np.frombuffer(json.dumps(header).encode(), np.uint8), **tensors})


def described(text: str) -> ModelDescription:
    """What a model is whose archive holds this text, which begins with one of DESCRIPTIONS."""
    return DESCRIPTIONS.get(text.split(maxsplit=1)[0], GENERATOR)


def record_of(description: ModelDescription, name: str, *, digest: str = "a" * 64) -> ModelRecord:
    """A record of a model that was loaded from `{name}.mar`."""
    facts = {field: getattr(description, field) for field in ModelDescription.__slots__}
    return ModelRecord(name=name, digest=digest, archive=f"{name}.mar", workers=1, load_time=0.0, **facts)


def put(archives: Path, name: str, text: str, description: ModelDescription | None = None) -> ModelRecord:
    """Write an archive and its record, as if it had been loaded before."""
    archives.mkdir(parents=True, exist_ok=True)
    write_archive(archives / f"{name}.mar", text)
    record = record_of(description or described(text), name, digest=digest_of(text))
    Registry(archives).write(record)
    return record


def put_job_models(archives: Path, **changes: Any) -> Registry:
    """Write the archives and records of `JOB_MODELS`; `changes` are of their descriptions."""
    for name, model in JOB_MODELS.items():
        put(archives, name, model.kind, replace(model, **changes))
    return Registry(archives)


def _classified(_: ModelDescription, __: Mapping[str, Any], images: NDArray[np.uint8]) -> Tensors:
    generated = (_first_pixels(images) / 255).astype(np.float32)
    return {"probabilities": made_probabilities(images), "generated": generated}


def _detected(model: ModelDescription, request: Mapping[str, Any], images: NDArray[np.uint8]) -> Tensors:
    """Every neuron is activated by the mean level of the image."""
    levels = _levels(images)
    known = {concept.name: concept for concept in model.concepts}
    concepts = [known[name] for name in request["concepts"]]
    seen = [each.sign * levels.astype(np.float64) > each.sign * each.threshold for each in concepts]
    return {
        "activations": np.repeat(levels[:, None], len(concepts), axis=1),
        "detected": np.stack(seen, axis=1),
        "confidences": np.repeat(levels[:, None] / 255, len(concepts), axis=1),
    }


def _activated(model: ModelDescription, request: Mapping[str, Any], images: NDArray[np.uint8]) -> Tensors:
    """Every unit is activated by the mean level of the image, and by its own number."""
    units = request["units"] or range(model.stages[request["stage"] - 1].units)
    return {"activations": _levels(images)[:, None] + np.array(units, np.float32)}


def _reconstructed(_: ModelDescription, __: Mapping[str, Any], images: NDArray[np.uint8]) -> Tensors:
    return {"images": 255 - images}


def _explained(_: ModelDescription, request: Mapping[str, Any], images: NDArray[np.uint8]) -> Tensors:
    """The gradient of a unit is the image, negative with random weights; its value is the mean level."""
    sign = -1 if request["random"] else 1
    return {"gradients": sign * images.astype(np.float32), "activations": _levels(images)}


def _peaked(model: ModelDescription, request: Mapping[str, Any], images: NDArray[np.uint8]) -> Tensors:
    """Map m is excited by m times the mean level, and sees two columns of the image from column m on."""
    maps = np.arange(model.layers[request["layer"] - 1].maps)
    boxes = np.stack((maps, 0 * maps, 0 * maps + 2, 0 * maps + model.height), axis=1).astype(np.int32)
    return {
        "values": _levels(images)[:, None] * maps.astype(np.float32),
        "boxes": np.repeat(boxes[None], len(images), axis=0),
    }


def _tapped(model: ModelDescription, request: Mapping[str, Any]) -> NDArray[np.float32]:
    """Map m is active in column m, and nowhere else."""
    maps = np.arange(model.layers[request["layer"] - 1].maps)
    columns = np.array(request["places"])[:, 2]
    active: NDArray[np.float32] = (columns[:, None] == maps).astype(np.float32)
    return active


_ABOUT_IMAGES = {
    "explain": _explained,
    "peaks": _peaked,
    "classify": _classified,
    "detect": _detected,
    "activate": _activated,
    "reconstruct": _reconstructed,
}


def stands_for(parts: Sequence[Any], number: int) -> tuple[int, int]:
    """Which (seed, index) a drawn latent has the image of: a sample its own, any other one that its formula decides."""
    if parts[number][0] == "sample":
        return parts[number][1], parts[number][2]
    return zlib.crc32(json.dumps(_resolved(parts, number)).encode()), 0


def _resolved(parts: Sequence[Any], number: int) -> list[Any]:
    """A part with those that it is made of in place of their numbers."""
    match parts[number]:
        case ["mean" | "sum" as kind, *weights, of]:
            return [kind, *weights, [_resolved(parts, each) for each in of]]
        case ["lerp" | "slerp" as kind, start, end, t]:
            return [kind, _resolved(parts, start), _resolved(parts, end), t]
        case ["jitter" | "truncate" as kind, of, *rest]:
            return [kind, _resolved(parts, of), *rest]
        case part:
            return list(part)


def _shape(model: ModelDescription) -> tuple[int, int, int]:
    return model.height, model.width, model.channels


def _first_pixels(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    first: NDArray[np.uint8] = images.reshape(len(images), -1)[:, 0]
    return first


def _levels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    levels: NDArray[np.float32] = images.reshape(len(images), -1).mean(axis=1, dtype=np.float64).astype(np.float32)
    return levels
