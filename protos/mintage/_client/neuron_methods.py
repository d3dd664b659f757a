"""What the two clients can ask an autoencoder; part of `mintage.client`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mintage._client import neuron_calls
from mintage._client.calls import Call, Page
from mintage._client.neuron_calls import Detections, Neuron, OptimalStimulus, TopStimuli
from mintage.pictures import Pictures
from mintage.v1 import neurons_pb2

T = TypeVar("T")


class NeuronMethods:
    """Part of `Client`; images are taken as by `classify`, a neuron is a concept's name or a `Neuron`."""

    def list_concepts(self, model: str) -> list[neurons_pb2.Concept]:
        """Every concept that a model's neurons know, in order of the names."""
        return list(self._items(lambda token: neuron_calls.list_concepts(model, token)))

    def detect(
        self, model: str, images: Pictures, *, concepts: Sequence[str] = (), timeout_s: float | None = None
    ) -> Detections:
        """Which concepts images show; none named means all that the model has."""
        return self._run(neuron_calls.detect(model, images, concepts), timeout_s)

    def top_stimuli(
        self, model: str, neuron: str | Neuron, images: Pictures, *, count: int = 0, timeout_s: float | None = None
    ) -> TopStimuli:
        """Which of the images stimulate a neuron most; count 0 chooses 48."""
        return self._run(neuron_calls.top_stimuli(model, neuron, images, count=count), timeout_s)

    def optimal_stimulus(
        self, model: str, neuron: str | Neuron, *, seed: int = 0, steps: int = 0, timeout_s: float | None = None
    ) -> OptimalStimulus:
        """The image that stimulates a neuron most, found in at most so many steps; 0 chooses 100."""
        return self._run(neuron_calls.optimal_stimulus(model, neuron, seed=seed, steps=steps), timeout_s)

    def activations(
        self, model: str, images: Pictures, *, stage: int, units: Sequence[int] = (), timeout_s: float | None = None
    ) -> NDArray[np.float32]:
        """How images activate units of a stage, from 1, as float32 [N, U]; none named means all."""
        return self._run(neuron_calls.activations(model, images, stage, units), timeout_s)

    def reconstruct(self, model: str, images: Pictures, *, timeout_s: float | None = None) -> NDArray[np.uint8]:
        """What an autoencoder's first stage keeps of images, uint8 [N, H, W, C]."""
        return self._run(neuron_calls.reconstruct(model, images), timeout_s)

    @abstractmethod
    def _run(self, call: Call[T], timeout_s: float | None = None) -> T:
        """Make a call and read its answer."""

    @abstractmethod
    def _items(self, page_of: Callable[[str], Call[Page[T]]]) -> Iterator[T]:
        """The items of every page."""


class AsyncNeuronMethods:
    """Part of `AsyncClient`."""

    async def list_concepts(self, model: str) -> list[neurons_pb2.Concept]:
        """As `Client.list_concepts`."""
        return [concept async for concept in self._items(lambda token: neuron_calls.list_concepts(model, token))]

    async def detect(
        self, model: str, images: Pictures, *, concepts: Sequence[str] = (), timeout_s: float | None = None
    ) -> Detections:
        """As `Client.detect`."""
        return await self._run(neuron_calls.detect(model, images, concepts), timeout_s)

    async def top_stimuli(
        self, model: str, neuron: str | Neuron, images: Pictures, *, count: int = 0, timeout_s: float | None = None
    ) -> TopStimuli:
        """As `Client.top_stimuli`."""
        return await self._run(neuron_calls.top_stimuli(model, neuron, images, count=count), timeout_s)

    async def optimal_stimulus(
        self, model: str, neuron: str | Neuron, *, seed: int = 0, steps: int = 0, timeout_s: float | None = None
    ) -> OptimalStimulus:
        """As `Client.optimal_stimulus`."""
        return await self._run(neuron_calls.optimal_stimulus(model, neuron, seed=seed, steps=steps), timeout_s)

    async def activations(
        self, model: str, images: Pictures, *, stage: int, units: Sequence[int] = (), timeout_s: float | None = None
    ) -> NDArray[np.float32]:
        """As `Client.activations`."""
        return await self._run(neuron_calls.activations(model, images, stage, units), timeout_s)

    async def reconstruct(self, model: str, images: Pictures, *, timeout_s: float | None = None) -> NDArray[np.uint8]:
        """As `Client.reconstruct`."""
        return await self._run(neuron_calls.reconstruct(model, images), timeout_s)

    @abstractmethod
    async def _run(self, call: Call[T], timeout_s: float | None = None) -> T:
        """Make a call and read its answer."""

    @abstractmethod
    def _items(self, page_of: Callable[[str], Call[Page[T]]]) -> AsyncIterator[T]:
        """The items of every page."""
