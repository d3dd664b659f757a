"""The network behind BentoML (docs.bentoml.com): bentoml serve benchmarks.peers.bentoml_service:Front.

Two services, as its documentation advises where the front and the model scale apart: only a method that takes and
returns a list is batched, and only one that does not can answer raw bytes.
"""

import os
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from benchmarks.peers.network import Module
from benchmarks.peers.protocol import Asked

# A renewed session of the front drops the calls that are under way in the old one, by default every 100 calls.
LASTING = {"max_requests": 10**9, "max_age": 1e9}


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 512}, runner_connection=LASTING)
class Generator:
    """Answers a batch of requests."""

    def __init__(self) -> None:
        self.module = Module.from_environment()

    @bentoml.api(batchable=True, max_batch_size=int(os.environ["PEER_BATCH"]), max_latency_ms=10_000)  # type: ignore[untyped-decorator]
    def images(self, requests: list[Asked]) -> list[bytes]:
        """Answer a batch of requests (seed, first index, count)."""
        return self.module.images(requests)


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 512})
class Front:
    """Takes requests and answers raw pixels."""

    generator = bentoml.depends(Generator)

    @bentoml.api(route="/generate")  # type: ignore[untyped-decorator]
    async def generate(
        self, seed: int, first_index: int, count: int
    ) -> Annotated[bytes, ContentType("application/octet-stream")]:
        """Answer one request."""
        pixels: bytes
        [pixels] = await self.generator.to_async.images([(seed, first_index, count)])
        return pixels
