"""What the clients ask: at least one question for every method of every service that the API offers."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.longrunning import operations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from mintage.v1 import (
    classification_pb2,
    explanation_pb2,
    generation_pb2,
    jobs_pb2,
    latents_pb2,
    models_pb2,
    neurons_pb2,
)

from tests.support.runs import tiny_config

FILES = (
    classification_pb2,
    explanation_pb2,
    generation_pb2,
    jobs_pb2,
    latents_pb2,
    models_pb2,
    neurons_pb2,
    operations_pb2,
    health_pb2,
    reflection_pb2,
)
METHODS: dict[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
Fields = dict[str, Any]

_COLOUR = np.random.default_rng(1).integers(0, 256, (5, 6, 5, 2), np.uint8)
_SQUARE = np.random.default_rng(3).integers(0, 256, (5, 32, 32, 1), np.uint8)
_GREY = np.random.default_rng(2).integers(0, 256, (5, 12, 12, 1), np.uint8)


def _raw(images: np.ndarray) -> Fields:
    count, height, width, channels = images.shape
    return {"count": count, "height": height, "width": width, "channels": channels, "pixels": images.tobytes()}


_NEURON = {"stage": 3, "unit": 0, "sign": 1}
_RAW = generation_pb2.IMAGE_FORMAT_RAW
_SAMPLE = {"sample": {"seed": 3, "index": 4}}
_LATENTS = [_SAMPLE, {"sample": {"seed": 3, "index": 5}}]
_NAMES = ("left", "right")  # of directions
_BOX = {"index": 0, "left": 4, "top": 4, "width": 12, "height": 12}
_JUDGED, _SEEN = {"model": "models/judge", "raw": _raw(_COLOUR)}, {"model": "models/mind", "raw": _raw(_GREY)}
_CRITICISED = {"model": "models/critic", "raw": _raw(_SQUARE)}
# Questions whose answers are known: the same bytes from the same archive, whatever happens meanwhile.
KNOWN: tuple[tuple[str, Fields], ...] = (
    *(
        ("mintage.v1.GenerationService/Generate", {"model": f"models/{model}", "seed": 7, "count": n, "format": _RAW})
        for model in ("gen", "swap")
        for n in (1, 3, 40)
    ),
    *(
        ("mintage.v1.GenerationService/StreamGenerate", {"model": f"models/{model}", "count": 600, "format": _RAW})
        for model in ("gen", "swap")
    ),
    ("mintage.v1.ClassificationService/Classify", _JUDGED),
    ("mintage.v1.NeuronService/ListConcepts", {"model": "models/mind"}),
    ("mintage.v1.NeuronService/Detect", _SEEN),
    ("mintage.v1.NeuronService/TopStimuli", {**_SEEN, "concept": "dots", "count": 2}),
    ("mintage.v1.NeuronService/OptimalStimulus", {"model": "models/mind", "concept": "dots", "steps": 5}),
    ("mintage.v1.NeuronService/Activations", {**_SEEN, "stage": 2, "units": [1, 7]}),
    ("mintage.v1.NeuronService/Reconstruct", {**_SEEN, "format": _RAW}),
    ("mintage.v1.LatentService/Draw", {"model": "models/gen", "latents": [_SAMPLE], "format": _RAW}),
    ("mintage.v1.LatentService/Draw", {"model": "models/artist", "latents": _LATENTS, "format": _RAW}),
    ("mintage.v1.ExplanationService/GuidedBackprop", _CRITICISED),
)
# Of each model that is served throughout, what is asked again and again to see whether it answers.
PROBES = {
    "gen": KNOWN[0],
    "swap": KNOWN[3],
    "judge": KNOWN[8],
    "mind": KNOWN[10],
    "artist": KNOWN[-2],
    "critic": KNOWN[-1],
}
_JOB_METHODS = (
    *("GetJob", "WatchJob", "CancelJob", "PauseJob", "ResumeJob", "RetryFailedShards", "ReadShard", "ListJobFiles"),
    *("ReadJobFile", "ListShards", "VerifyJob", "RepairJob"),
)
_EXTRA: dict[str, Fields] = {"ReadJobFile": {"file_name": "plan.json"}, "VerifyJob": {"recompute_count": 8}}


def _about_a_job(extra: Fields) -> Callable[[str, random.Random], Fields]:
    return lambda job, _: {"name": job, **extra}


# Everything else: `job` is a job that a client created, or one that there is not.
OTHERS: dict[str, Callable[[str, random.Random], Fields]] = {
    "mintage.v1.ModelService/ListModels": lambda _, __: {},
    "mintage.v1.ModelService/ListArchives": lambda _, __: {},
    "mintage.v1.ModelService/GetModel": lambda _, chance: {"name": chance.choice(("models/gen", "models/guest"))},
    "mintage.v1.ModelService/WatchModel": lambda _, chance: {"name": chance.choice(("models/swap", "models/guest"))},
    "mintage.v1.ModelService/LoadModel": lambda _, __: {"name": "models/guest", "archive": "gen-2.mar"},
    "mintage.v1.ModelService/ScaleModel": lambda _, chance: {"name": "models/guest", "workers": chance.randint(1, 2)},
    "mintage.v1.ModelService/UnloadModel": lambda _, __: {"name": "models/guest"},
    "mintage.v1.JobService/CreateSampleJob": lambda _, chance: {
        "model": "models/gen",
        "count": 64,
        "shard_size": 16,
        "request_id": f"soak-{chance.getrandbits(64):x}",
        "ttl": {"seconds": 60},
    },
    "mintage.v1.JobService/CreateScoreJob": lambda job, chance: {
        "model": "models/judge",
        "source_job": job,
        "request_id": f"soak-{chance.getrandbits(64):x}",
        "ttl": {"seconds": 60},
    },
    "mintage.v1.JobService/ListJobs": lambda _, __: {"page_size": 10},
    "mintage.v1.JobService/DeleteJob": lambda job, __: {"name": job, "force": True},
    **{f"mintage.v1.JobService/{method}": _about_a_job(_EXTRA.get(method, {})) for method in _JOB_METHODS},
    "mintage.v1.LatentService/Walk": lambda _, __: {"model": "models/gen", "through": _LATENTS, "format": _RAW},
    "mintage.v1.LatentService/Invert": lambda _, __: {
        "model": "models/artist",
        "raw": _raw(_SQUARE[:1]),
        "steps": 3,
    },
    "mintage.v1.ExplanationService/GuidedBackprop": lambda _, __: {**_JUDGED, "class_name": "one"},
    "mintage.v1.ExplanationService/TopPatches": lambda _, __: {**_CRITICISED, "layer": 1, "maps": [0], "count": 2},
    "mintage.v1.ExplanationService/FindFeatureMaps": lambda _, __: {
        "model": "models/artist",
        "latents": _LATENTS,
        "boxes": [_BOX],
    },
    "mintage.v1.LatentService/ListDirections": lambda _, __: {"model": "models/gen"},
    "mintage.v1.LatentService/SaveDirection": lambda _, chance: {
        "model": "models/gen",
        "direction": {"name": chance.choice(_NAMES), "values": [0.5] * tiny_config().latent_size},
        "replace": True,
    },
    "mintage.v1.LatentService/DeleteDirection": lambda _, chance: {
        "model": "models/gen",
        "direction": chance.choice(_NAMES),
    },
    "mintage.v1.LatentService/FindDirections": lambda _, chance: {
        "model": "models/gen",
        **chance.choice(({"weights": {"count": 2}}, {"between": {"without": _LATENTS[:1], "with": _LATENTS[1:]}})),
    },
    "google.longrunning.Operations/ListOperations": lambda _, __: {"name": "operations"},
    **{
        f"google.longrunning.Operations/{method}": lambda job, _: {"name": job.replace("jobs", "operations")}
        for method in ("GetOperation", "CancelOperation", "DeleteOperation", "WaitOperation")
    },
    "grpc.health.v1.Health/Check": lambda _, chance: {"service": chance.choice(("", "models/gen"))},
    "grpc.health.v1.Health/Watch": lambda _, __: {"service": "models/swap"},
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": lambda _, __: {"list_services": ""},
}


@dataclass(frozen=True, slots=True)
class Question:
    """One call: its method, `/service/name`, what is sent, and whether the answer's bytes are known."""

    method: str
    request: Message
    known: bool = False

    @property
    def key(self) -> str:
        """Name of the question in the history."""
        content = self.request.SerializeToString(deterministic=True)
        return f"{self.method} {hashlib.sha256(content).hexdigest()[:12]}"


def known(question: tuple[str, Fields]) -> Question:
    """A question whose answer is known."""
    return Question(f"/{question[0]}", request_of(f"/{question[0]}", question[1]), known=True)


def other(name: str, job: str, chance: random.Random) -> Question:
    """Another question; `job` is one that it may be about."""
    return Question(f"/{name}", request_of(f"/{name}", OTHERS[name](job, chance)))


def essence(answers: Sequence[Message]) -> tuple[str, str]:
    """Digest of the archive that answered, and of what it answered, however it was cut into messages."""
    archive, content = "", hashlib.sha256()
    for answer in answers:
        archive = getattr(answer, "model_digest", "")
        images = getattr(answer, "images", ())
        if images and isinstance(images[0], bytes):
            for image in images:
                content.update(image)
        else:
            content.update(answer.SerializeToString(deterministic=True))
    return archive, content.hexdigest()


def request_of(method: str, fields: Fields) -> Message:
    """Make a request of a method."""
    request: Message = GetMessageClass(METHODS[method].input_type)(**fields)
    return request
