"""TorchServe under load, called directly over its gRPC."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from mintage.torchserve import inference_pb2, inference_pb2_grpc

from benchmarks.peers.protocol import IMAGE_BYTES, request
from service.cli.load.target import CallFailedError

OPTIONS = [
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]


@dataclass(frozen=True, slots=True)
class TorchServeTarget:
    """A model of a TorchServe.

    Attributes:
        address: host:port of its inference service.
        model: Name of the model.
        images: Images per call.
    """

    address: str
    model: str
    images: int

    def connect(self) -> TorchServeConnection:
        """Open a connection of its own."""
        return TorchServeConnection(self)


class TorchServeConnection:
    """One client's connection."""

    def __init__(self, target: TorchServeTarget) -> None:
        self._target = target
        self._channel = grpc.insecure_channel(target.address, OPTIONS)
        self._stub = inference_pb2_grpc.InferenceAPIsServiceStub(self._channel)

    def call(self, number: int) -> None:
        """Ask for the images of one call.

        Raises:
            CallFailedError: with the gRPC code, or WRONG_ANSWER.
        """
        if len(body := self.ask(number * self._target.images)) != self._target.images * IMAGE_BYTES:
            raise CallFailedError("WRONG_ANSWER", f"{len(body)} bytes for {self._target.images} images")

    def ask(self, first_index: int) -> bytes:
        """Return the pixels of consecutive samples of seed 1.

        Raises:
            CallFailedError: with the gRPC code.
        """
        inputs = {"request": request(first_index, self._target.images)}
        asked = inference_pb2.PredictionsRequest(model_name=self._target.model, input=inputs)
        try:
            answer: bytes = self._stub.Predictions(asked, timeout=30).prediction
        except grpc.RpcError as error:
            raise CallFailedError(error.code().name, error.details() or "") from None
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()
