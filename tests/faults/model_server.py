"""A real gRPC server that speaks TorchServe's wire and computes images from (seed, index) by a formula."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from mintage.torchserve import inference_pb2, inference_pb2_grpc, management_pb2, management_pb2_grpc
from numpy.typing import NDArray
from safetensors.numpy import save

from service.backend.neurons import Concept, UnitShape
from service.models.registry import ModelRecord

DEVICE, TORCH = "cpu", "2.13.0"
CLASSES = ("zero", "one", "two")
HEIGHT, WIDTH, CHANNELS = 8, 6, 3
FEATURES = 4
CONCEPTS = (
    Concept("dark", 1, 3, -1, -100.0, 0.1, 0.0, 0.8, 0.7, 0.9, 0.85, 40, 60),
    Concept("light", 1, 1, 1, 120.0, 0.1, 0.0, 0.75, 0.65, 0.85, 0.8, 30, 70),
)
NAMES = {"generator": "digits", "classifier": "judge", "neurons": "eyes"}
GENERATOR_DIGEST = hashlib.sha256(b"generator").hexdigest()
ARCHIVES = {name: kind.encode() for kind, name in NAMES.items()}  # file name without .mar, content


def made_images(seed: int, indices: range, shape: tuple[int, int, int] = (HEIGHT, WIDTH, CHANNELS)) -> NDArray[Any]:
    """The images of a seed: uint8 [len(indices), *shape]."""
    index = np.arange(indices.start, indices.stop, dtype=np.uint64)[:, None]
    pixel = np.arange(int(np.prod(shape)), dtype=np.uint64)[None, :]
    mixed = (index + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15) + pixel * np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(56)).astype(np.uint8).reshape(-1, *shape)


def made_probabilities(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The class probabilities of images: float32 [N, K]."""
    sums = images.reshape(len(images), -1)[:, : len(CLASSES)].astype(np.float64) + 1
    probabilities: NDArray[np.float32] = (sums / sums.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


def made_features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The features of images: float32 [N, F]."""
    pixels = images.reshape(len(images), -1).astype(np.float32) / 255
    features: NDArray[np.float32] = np.stack([pixels[:, k::FEATURES].mean(axis=1) for k in range(FEATURES)], axis=1)
    return features


class ModelServer(inference_pb2_grpc.InferenceAPIsServiceServicer, management_pb2_grpc.ManagementAPIsServiceServicer):
    """Counts what it is asked; `pass_gate` may be cleared to hold every answer back, `failures` are raised first."""

    def __init__(self, shape: tuple[int, int, int] = (HEIGHT, WIDTH, CHANNELS)) -> None:
        self.shape = shape
        self.device = DEVICE
        self.requests: list[dict[str, Any]] = []
        self.failures: list[grpc.StatusCode] = []
        self.poison = range(0)  # images that cannot be made
        self.takes_s = 0.0  # what every request takes
        self.pass_gate = threading.Event()
        self.pass_gate.set()
        self.open_for = 0  # requests that pass a closed gate
        self.address = ""
        self._lock = threading.Lock()

    def Predictions(self, request: Any, context: Any) -> Any:
        """Answer one request."""
        asked = json.loads(request.input["request"])
        if asked["op"] in ("describe", "canary"):
            return inference_pb2.PredictionResponse(prediction=self._description(request.model_name))
        with self._lock:
            self.requests.append(asked)
            failure = self.failures.pop(0) if self.failures else None
            passes = self.open_for > 0
            self.open_for -= passes
        time.sleep(self.takes_s)
        if failure is not None:
            context.abort(failure, "as the test wants it")
        if asked.get("first_index", -1) in self.poison:
            context.abort(grpc.StatusCode.INTERNAL, "poisoned, as the test wants it")
        if not passes:
            while not self.pass_gate.wait(0.05) and context.is_active():
                pass
        return inference_pb2.PredictionResponse(prediction=self.answer(asked, request.input))

    def answer(self, asked: dict[str, Any], inputs: Any) -> bytes:
        """Compute the answer to one request."""
        if asked["op"] == "generate":
            indices = range(asked["first_index"], asked["first_index"] + asked["count"])
            return self._blob(images=made_images(asked["seed"], indices, self.shape))
        images = np.frombuffer(inputs["pixels"], np.uint8).reshape(asked["shape"])
        features = {"features": made_features(images)} if asked.get("features") else {}
        if asked["op"] == "detect":
            levels = images.reshape(len(images), -1).mean(axis=1, dtype=np.float64).astype(np.float32)
            activations = np.stack([levels, levels], axis=1)
            detected = np.stack([levels < 100, levels > 120], axis=1)
            confidences = np.full(detected.shape, 0.5, np.float32)
            return self._blob(activations=activations, detected=detected, confidences=confidences, **features)
        generated = (images.reshape(len(images), -1)[:, 0] / 255).astype(np.float32)
        return self._blob(probabilities=made_probabilities(images), generated=generated, **features)

    def RegisterModel(self, request: Any, context: Any) -> Any:
        """Say that a model is loaded; all of them always are."""
        return management_pb2.ManagementResponse(msg="{}")

    def UnregisterModel(self, request: Any, context: Any) -> Any:
        """Say that a model is unloaded."""
        return management_pb2.ManagementResponse(msg="{}")

    def ScaleWorker(self, request: Any, context: Any) -> Any:
        """Say that a model has as many workers as read_intent."""
        return management_pb2.ManagementResponse(msg="{}")

    def ListModels(self, request: Any, context: Any) -> Any:
        """Name the models."""
        names = [model_record(kind).backend_name for kind in NAMES]
        return management_pb2.ManagementResponse(msg=json.dumps({"models": [{"modelName": name} for name in names]}))

    def DescribeModel(self, request: Any, context: Any) -> Any:
        """Say that a model has a ready worker."""
        return management_pb2.ManagementResponse(msg=json.dumps([{"workers": [{"status": "READY"}]}]))

    def _description(self, backend_name: str) -> bytes:
        kind = next(kind for kind, name in NAMES.items() if backend_name.startswith(f"{name}-"))
        facts = dataclasses.asdict(model_record(kind, shape=self.shape))
        facts["stages"] = [[FEATURES, 1, 1]] if kind == "neurons" else []
        return self._answer(facts)

    def _blob(self, **tensors: NDArray[Any]) -> bytes:
        return self._answer({}, **tensors)

    def _answer(self, facts: dict[str, Any], **tensors: NDArray[Any]) -> bytes:
        header = {**facts, "status": "ok", "message": "", "device_class": self.device, "torch_version": TORCH}
        return save({"header": np.frombuffer(json.dumps(header).encode(), np.uint8), **tensors})


@contextlib.contextmanager
def running_model_server(**options: Any) -> Iterator[ModelServer]:
    """Run a server on a free port for the length of a block."""
    servicer = ModelServer(**options)
    server = grpc.server(ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", 1 << 26)])
    inference_pb2_grpc.add_InferenceAPIsServiceServicer_to_server(servicer, server)
    management_pb2_grpc.add_ManagementAPIsServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield servicer
    finally:
        servicer.pass_gate.set()
        server.stop(0).wait()


def model_record(kind: Any, *, micro_batch: int = 4, shape: tuple[int, int, int] = (HEIGHT, WIDTH, CHANNELS)) -> Any:
    """The record of the generator, the classifier or the neurons that the server plays."""
    name, digest = NAMES[kind], hashlib.sha256(kind.encode()).hexdigest()
    return ModelRecord(
        name=name,
        digest=digest,
        archive=f"{name}.mar",
        workers=1,
        kind=kind,
        height=shape[0],
        width=shape[1],
        channels=shape[2],
        classes=CLASSES if kind == "classifier" else (),
        latent_size=100 if kind == "generator" else 0,
        micro_batch=micro_batch,
        device_class=DEVICE,
        torch_version=TORCH,
        recipe="formula",
        load_time=0.0,
        stages=(UnitShape(FEATURES, 1, 1),) if kind == "neurons" else (),
        concepts=CONCEPTS if kind == "neurons" else (),
        features=FEATURES if kind != "generator" else 0,
    )
