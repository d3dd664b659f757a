"""The Mintage API under load: Generate, Classify or Detect, with images raw, as PNG or as JPEG."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import grpc
import numpy as np
from google.protobuf.message import Message
from mintage._client.channels import metadata_of, options_for
from mintage.v1 import (
    classification_pb2,
    classification_pb2_grpc,
    generation_pb2,
    generation_pb2_grpc,
    neurons_pb2,
    neurons_pb2_grpc,
)
from numpy.typing import NDArray
from PIL import Image

from service.cli.load.target import CallFailedError

Kind = Literal["generate", "classify", "detect"]
Encoding = Literal["raw", "png", "jpeg"]

_DISTINCT = 4  # calls with different images, which are made before the load; samples differ from call to call anyway
_FORMATS = {
    "raw": generation_pb2.IMAGE_FORMAT_RAW,
    "png": generation_pb2.IMAGE_FORMAT_PNG,
    "jpeg": generation_pb2.IMAGE_FORMAT_JPEG,
}


@dataclass(frozen=True, slots=True)
class ApiTarget:
    """One model of one API, and what it is asked.

    Attributes:
        address: host:port of the API.
        model: Name of the model, without models/.
        kind: What is asked.
        images: Images per call.
        encoding: Of the images that come back from `generate`, or go to the others.
        shape: (H, W, C) of the model's images.
        seed: Of the samples, or of the images that are sent.
        timeout_s: Deadline of a call.
        client: The client's name, or "".
    """

    address: str
    model: str
    kind: Kind
    images: int
    encoding: Encoding
    shape: tuple[int, int, int]
    seed: int = 0
    timeout_s: float = 30.0
    client: str = ""

    def connect(self) -> ApiConnection:
        """Open a connection of its own, as another client would have."""
        return ApiConnection(self)


class ApiConnection:
    """One client's connection to the API."""

    def __init__(self, target: ApiTarget) -> None:
        self._target = target
        self._channel = grpc.insecure_channel(
            target.address, [*options_for(target.address), ("grpc.use_local_subchannel_pool", 1)]
        )
        self._metadata = metadata_of(target.client)
        self._method = _method(self._channel, target.kind)

    def call(self, number: int) -> None:
        """Make one call and check that as many images are answered as were asked for.

        Raises:
            CallFailedError: with the gRPC code of the failure, or WRONG_ANSWER.
        """
        request = _request(self._target, number)
        try:
            answer = self._method(request, timeout=self._target.timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise CallFailedError(error.code().name, error.details() or "") from None
        if len(_answered(answer)) != self._target.images:
            raise CallFailedError("WRONG_ANSWER", f"{len(_answered(answer))} images, not {self._target.images}")

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


def _method(channel: grpc.Channel, kind: Kind) -> Callable[..., Any]:
    methods: dict[Kind, Callable[..., Any]] = {
        "generate": generation_pb2_grpc.GenerationServiceStub(channel).Generate,
        "classify": classification_pb2_grpc.ClassificationServiceStub(channel).Classify,
        "detect": neurons_pb2_grpc.NeuronServiceStub(channel).Detect,
    }
    return methods[kind]


def _answered(answer: Any) -> Any:
    """The entries of an answer, one per image."""
    return answer.classifications if isinstance(answer, classification_pb2.ClassifyResponse) else answer.images


def _request(target: ApiTarget, number: int) -> Message:
    if target.kind != "generate":
        requests = _upload_requests(target)
        return requests[number % len(requests)]
    return generation_pb2.GenerateRequest(
        model=f"models/{target.model}",
        seed=target.seed,
        first_index=number * target.images,
        count=target.images,
        format=_FORMATS[target.encoding],
    )


@functools.lru_cache(maxsize=1)
def _upload_requests(target: ApiTarget) -> list[Message]:
    """Make the requests that send images, once per process."""
    message = classification_pb2.ClassifyRequest if target.kind == "classify" else neurons_pb2.DetectRequest
    draw = np.random.default_rng(target.seed)
    return [message(model=f"models/{target.model}", **_upload(target, draw)) for _ in range(_DISTINCT)]


def _upload(target: ApiTarget, draw: np.random.Generator) -> dict[str, Any]:
    pixels = smooth_images(target.images, target.shape, draw)
    if target.encoding == "raw":
        count, height, width, channels = pixels.shape
        raw = classification_pb2.RawImages(
            count=count, height=height, width=width, channels=channels, pixels=pixels.tobytes()
        )
        return {"raw": raw}
    return {"encoded": classification_pb2.EncodedImages(files=[_encoded(one, target.encoding) for one in pixels])}


def smooth_images(count: int, shape: tuple[int, int, int], draw: np.random.Generator) -> NDArray[np.uint8]:
    """Draw images [count, H, W, C] that compress about as photographs do: coarse noise enlarged, under fine noise."""
    height, width, channels = shape
    coarse = draw.integers(0, 256, (count, 4, 4, channels)).astype(np.uint8)
    images = np.stack([_enlarged(one, width, height) for one in coarse]).reshape(count, height, width, channels)
    return np.clip(images + draw.normal(0, 4, images.shape), 0, 255).astype(np.uint8)


def _enlarged(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))


def _encoded(image: NDArray[np.uint8], encoding: Encoding) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, encoding.upper())
    return file.getvalue()
