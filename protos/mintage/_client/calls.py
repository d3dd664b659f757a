"""What a call of the API is: its request, how its answer is read, whether it may be repeated.

Here are the calls of images and models; `job_calls` beside it has those of jobs, `neuron_calls` those of neurons.
Both clients use them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from numpy.typing import NDArray

from mintage import pictures
from mintage.errors import InputError
from mintage.v1 import classification_pb2, generation_pb2, models_pb2

T = TypeVar("T")
M = TypeVar("M", bound=Message)

SERVING = 1  # grpc.health.v1.HealthCheckResponse.SERVING


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call, or one stream of answers.

    Attributes:
        method: Full name, such as `/mintage.v1.JobService/GetJob`.
        request: What is sent.
        answer: Type of what comes back.
        read: What the answer means.
        repeatable: Whether making the call twice is the same as making it once.
    """

    method: str
    request: Message
    answer: type[Message]
    read: Callable[[Any], T]
    repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list, and the token of the next part, empty on the last one."""

    items: Sequence[T]
    next_token: str


@dataclass(frozen=True, slots=True)
class Classifications:
    """What a classifier says of N images.

    Attributes:
        model: Resource name of the model that answered.
        digest: SHA-256 of its archive.
        classes: Names of the K classes.
        probabilities: float32 [N, K], of each class given that the image is real; each row sums to 1.
        generated: float32 [N], the probability that the image is generated; None if the model cannot say.
        best: int64 [N], index of the most probable class.
    """

    model: str
    digest: str
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    generated: NDArray[np.float32] | None
    best: NDArray[np.int64]

    @property
    def labels(self) -> list[str]:
        """Name of the most probable class of each image."""
        return [self.classes[index] for index in self.best]


def generate(model: str, count: int, *, seed: int, first_index: int) -> Call[NDArray[np.uint8]]:
    """Images as an array [N, H, W, C]."""
    request = made(
        generation_pb2.GenerateRequest,
        model=model_name(model),
        count=count,
        seed=seed,
        first_index=first_index,
        format=generation_pb2.IMAGE_FORMAT_RAW,
    )
    return Call(_GENERATE, request, generation_pb2.GenerateResponse, _images)


def classify(model: str, images: pictures.Pictures) -> Call[Classifications]:
    """What a classifier says of images."""
    request = made(classification_pb2.ClassifyRequest, model=model_name(model), **pictures.upload_of(images))
    return Call(_CLASSIFY, request, classification_pb2.ClassifyResponse, _classifications)


def list_models(token: str) -> Call[Page[models_pb2.Model]]:
    """A page of the models."""
    request = models_pb2.ListModelsRequest(page_token=token)
    return Call(
        _MODELS + "ListModels", request, models_pb2.ListModelsResponse, lambda a: Page(a.models, a.next_page_token)
    )


def get_model(model: str) -> Call[models_pb2.Model]:
    """One model."""
    request = models_pb2.GetModelRequest(name=model_name(model))
    return Call(_MODELS + "GetModel", request, models_pb2.GetModelResponse, _model)


def load_model(model: str, archive: str, *, workers: int) -> Call[models_pb2.Model]:
    """Load an archive of the server's archive folder."""
    request = made(models_pb2.LoadModelRequest, name=model_name(model), archive=archive, workers=workers)
    return Call(_MODELS + "LoadModel", request, models_pb2.LoadModelResponse, _model)


def unload_model(model: str) -> Call[None]:
    """Unload a model; the second time says NOT_FOUND, so it is not repeated."""
    request = models_pb2.UnloadModelRequest(name=model_name(model))
    return Call(_MODELS + "UnloadModel", request, models_pb2.UnloadModelResponse, nothing, repeatable=False)


def scale_model(model: str, workers: int) -> Call[models_pb2.Model]:
    """Set a model's number of workers."""
    request = made(models_pb2.ScaleModelRequest, name=model_name(model), workers=workers)
    return Call(_MODELS + "ScaleModel", request, models_pb2.ScaleModelResponse, _model)


def health(service: str) -> Call[bool]:
    """Whether an entry of the standard health service serves; not repeated, since the first answer is the answer.

    Its two messages have one field each, on the wire the same as these well-known types: no further package is needed.
    """
    request = StringValue(value=service)
    return Call(_HEALTH, request, Int32Value, lambda a: bool(a.value == SERVING), repeatable=False)


def made(kind: type[M], /, **fields: Any) -> M:
    """Make a request; a value that its field cannot hold is the caller's mistake."""
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from None


def model_name(name: str) -> str:
    """Resource name of a model given with or without `models/`."""
    return name if name.startswith("models/") else f"models/{name}"


_GENERATE = "/mintage.v1.GenerationService/Generate"
_CLASSIFY = "/mintage.v1.ClassificationService/Classify"
_MODELS = "/mintage.v1.ModelService/"
_HEALTH = "/grpc.health.v1.Health/Check"


def _images(answer: generation_pb2.GenerateResponse) -> NDArray[np.uint8]:
    return pictures.from_raw(answer.images, answer.shape.height, answer.shape.width, answer.shape.channels)


def _classifications(answer: classification_pb2.ClassifyResponse) -> Classifications:
    each = answer.classifications
    knows_generated = all(one.HasField("generated_probability") for one in each)
    generated = np.array([one.generated_probability for one in each], np.float32)
    return Classifications(
        model=answer.model,
        digest=answer.model_digest,
        classes=tuple(answer.classes),
        probabilities=np.array([one.probabilities for one in each], np.float32).reshape(len(each), -1),
        generated=generated if knows_generated else None,
        best=np.array([one.best_class for one in each], np.int64),
    )


def _model(answer: Any) -> models_pb2.Model:
    model: models_pb2.Model = answer.model
    return model


def nothing(answer: Message) -> None:
    """Read an answer that says nothing more."""
    del answer
