"""The network behind LitServe (lightning.ai/litserve): PEER_PORT=8000 python benchmarks/peers/litserve_server.py."""

import os
from collections.abc import Sequence

import litserve
from fastapi import Response
from pydantic import BaseModel

from benchmarks.peers.network import Module
from benchmarks.peers.protocol import Asked


class Ask(BaseModel):
    """A request; LitServe reads the annotation, so it must not be a string."""

    seed: int
    first_index: int
    count: int


class Generator(litserve.LitAPI):  # type: ignore[misc]
    """Answers a batch of requests."""

    def setup(self, device: str) -> None:
        """Load the network."""
        self.module = Module.from_environment()

    def decode_request(self, request: Ask) -> Asked:
        """Read a request."""
        return request.seed, request.first_index, request.count

    def batch(self, inputs: Sequence[Asked]) -> Sequence[Asked]:
        """Keep requests apart: they ask for different numbers of images."""
        return inputs

    def predict(self, x: Sequence[Asked]) -> list[bytes]:
        """Answer a batch."""
        return self.module.images(x)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """One answer per request."""
        return output

    def encode_response(self, output: bytes) -> Response:
        """Send the pixels as they are."""
        return Response(content=output, media_type="application/octet-stream")


if __name__ == "__main__":
    batch, wait_s = int(os.environ["PEER_BATCH"]), int(os.environ["PEER_WAIT_MS"]) / 1000
    api = Generator(max_batch_size=batch, batch_timeout=wait_s)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=int(os.environ["PEER_PORT"]), generate_client_file=False, log_level="warning")
