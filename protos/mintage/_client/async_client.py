"""The Python client for asyncio; `mintage.client` exports it."""

from __future__ import annotations

from mintage._client import (
    creation_calls,
    direction_calls,
    explanation_calls,
    image_calls,
    job_calls,
    latent_calls,
    model_calls,
    neuron_calls,
)
from mintage._client.async_connection import AsyncConnection
from mintage._client.channels import TIMEOUT_S
from mintage._client.methods import method
from mintage.retries import Retries


class AsyncClient:
    """As `Client`, for asyncio; an asynchronous context manager.

    What returns a value there is a coroutine here, what returns an iterator there an asynchronous one here.
    """

    def __init__(
        self, address: str, *, timeout_s: float = TIMEOUT_S, retries: Retries | None = None, name: str = ""
    ) -> None:
        self.connection = AsyncConnection(address, timeout_s=timeout_s, retries=retries, name=name)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls in flight fail."""
        await self.connection.close()

    generate = method(image_calls.generate, AsyncConnection.run)
    generate_pil = method(image_calls.generate_pil, AsyncConnection.run)
    stream_generate = method(image_calls.stream_generate, AsyncConnection.resumed)
    stream_generate_png = method(image_calls.stream_generate_png, AsyncConnection.resumed)
    classify = method(image_calls.classify, AsyncConnection.run)

    draw = method(latent_calls.draw, AsyncConnection.run)
    draw_pil = method(latent_calls.draw_pil, AsyncConnection.run)
    walk = method(latent_calls.walk, AsyncConnection.stream)
    list_directions = method(direction_calls.list_directions, AsyncConnection.all)
    save_direction = method(direction_calls.save_direction, AsyncConnection.run)
    delete_direction = method(direction_calls.delete_direction, AsyncConnection.run)
    direction_between = method(direction_calls.direction_between, AsyncConnection.run)
    directions_of_weights = method(direction_calls.directions_of_weights, AsyncConnection.run)
    direction_towards = method(direction_calls.direction_towards, AsyncConnection.run)
    invert = method(direction_calls.invert, AsyncConnection.stream)

    models = method(model_calls.models, AsyncConnection.all)
    model = method(model_calls.model, AsyncConnection.run)
    load_model = method(model_calls.load_model, AsyncConnection.run)
    unload_model = method(model_calls.unload_model, AsyncConnection.run)
    scale_model = method(model_calls.scale_model, AsyncConnection.run)
    begin_load = method(model_calls.begin_load, AsyncConnection.run)
    begin_scale = method(model_calls.begin_scale, AsyncConnection.run)
    watch_model = method(model_calls.watch_model, AsyncConnection.resumed)
    archives = method(model_calls.archives, AsyncConnection.all)
    push_archive = method(model_calls.push_archive, AsyncConnection.run)
    health = method(model_calls.health, AsyncConnection.run)

    guided_backprop = method(explanation_calls.guided_backprop, AsyncConnection.run)
    top_patches = method(explanation_calls.top_patches, AsyncConnection.run)
    find_feature_maps = method(explanation_calls.find_feature_maps, AsyncConnection.run)

    list_concepts = method(neuron_calls.list_concepts, AsyncConnection.all)
    detect = method(neuron_calls.detect, AsyncConnection.run)
    top_stimuli = method(neuron_calls.top_stimuli, AsyncConnection.run)
    optimal_stimulus = method(neuron_calls.optimal_stimulus, AsyncConnection.run)
    activations = method(neuron_calls.activations, AsyncConnection.run)
    reconstruct = method(neuron_calls.reconstruct, AsyncConnection.run)

    create_sample_job = method(creation_calls.create_sample_job, AsyncConnection.run)
    create_score_job = method(creation_calls.create_score_job, AsyncConnection.run)
    job = method(job_calls.job, AsyncConnection.run)
    jobs = method(job_calls.jobs, AsyncConnection.items)
    watch = method(job_calls.watch, AsyncConnection.resumed)
    cancel = method(job_calls.cancel, AsyncConnection.run)
    pause = method(job_calls.pause, AsyncConnection.run)
    resume = method(job_calls.resume, AsyncConnection.run)
    retry = method(job_calls.retry, AsyncConnection.run)
    delete = method(job_calls.delete, AsyncConnection.run)
    read_shard = method(job_calls.read_shard, AsyncConnection.stream)
    files = method(job_calls.files, AsyncConnection.run)
    read_file = method(job_calls.read_file, AsyncConnection.stream)
    shards = method(job_calls.shards, AsyncConnection.items)
    verify = method(job_calls.verify, AsyncConnection.stream)
    repair = method(job_calls.repair, AsyncConnection.stream)
