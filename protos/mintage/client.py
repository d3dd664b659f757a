"""The Python client: `Client` for ordinary code, `AsyncClient` for asyncio.

    with Client("127.0.0.1:50051") as client:
        images = client.generate("digits", 64, seed=7)  # uint8 [64, 28, 28, 1]
        for part in client.stream_generate("digits", 50_000):  # as they are made
            ...
        man = client.draw("faces", "mean(#12, #40, #77) - mean(#3, #8, #9) + mean(#21, #33, #54)")
        for frames in client.walk("faces", ["#1", "#2"], frames_per_leg=32):  # with their distances
            ...
        found = client.classify("judge", images)
        print(found.labels, found.generated)
        print(client.detect("face-neuron", faces).confidences)

Every call but a stream has a deadline, which covers its retries. What may safely be repeated is repeated when the
server does not answer or says that it is overloaded. Models and jobs may be named with or without `models/`, `jobs/`.

Errors are those of `mintage.errors`. Besides those that a method lists, every call may raise Unavailable (the server
does not answer, even after retries), TimedOut (the deadline passed), Cancelled (the call was cancelled), and ApiError
for a fault of the server, which the server's log explains.
"""

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
from mintage._client.async_client import AsyncClient
from mintage._client.channels import TIMEOUT_S
from mintage._client.connection import Connection
from mintage._client.direction_calls import Inversion
from mintage._client.explanation_calls import Box, FeatureMap, FoundMaps, GuidedGradients, Patch
from mintage._client.image_calls import Classifications
from mintage._client.latent_calls import Frames
from mintage._client.methods import method
from mintage._client.model_calls import change_error
from mintage._client.neuron_calls import Detections, Neuron, OptimalStimulus, TopStimuli
from mintage.pictures import to_pil
from mintage.retries import Retries

__all__ = [
    "AsyncClient",
    "Box",
    "Classifications",
    "Client",
    "Detections",
    "FeatureMap",
    "FoundMaps",
    "Frames",
    "GuidedGradients",
    "Inversion",
    "Neuron",
    "OptimalStimulus",
    "Patch",
    "Retries",
    "TopStimuli",
    "change_error",
    "to_pil",
]


class Client:
    """A client for code without asyncio; a context manager; threads may share it.

    Each method below is a function that says what is asked, with the method's signature, docstring and errors, and the
    way in which the connection asks it.

    Args:
        address: host:port of the API.
        timeout_s: Longest time of a call in seconds, its retries included, unless the call says otherwise.
        retries: How often a call that may be repeated is.
        name: The client's name: 1 to 64 of A-Z, a-z, 0-9, '.', '_', '@' and '-'. Clients share the workers equally, and
            quotas count by this name; '' leaves it to the caller's address.

    Raises:
        InputError: if the address or the name is not one.
    """

    def __init__(
        self, address: str, *, timeout_s: float = TIMEOUT_S, retries: Retries | None = None, name: str = ""
    ) -> None:
        self.connection = Connection(address, timeout_s=timeout_s, retries=retries, name=name)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls in flight fail."""
        self.connection.close()

    generate = method(image_calls.generate, Connection.run)
    generate_pil = method(image_calls.generate_pil, Connection.run)
    stream_generate = method(image_calls.stream_generate, Connection.resumed)
    stream_generate_png = method(image_calls.stream_generate_png, Connection.resumed)
    classify = method(image_calls.classify, Connection.run)

    draw = method(latent_calls.draw, Connection.run)
    draw_pil = method(latent_calls.draw_pil, Connection.run)
    walk = method(latent_calls.walk, Connection.stream)
    list_directions = method(direction_calls.list_directions, Connection.all)
    save_direction = method(direction_calls.save_direction, Connection.run)
    delete_direction = method(direction_calls.delete_direction, Connection.run)
    direction_between = method(direction_calls.direction_between, Connection.run)
    directions_of_weights = method(direction_calls.directions_of_weights, Connection.run)
    direction_towards = method(direction_calls.direction_towards, Connection.run)
    invert = method(direction_calls.invert, Connection.stream)

    models = method(model_calls.models, Connection.all)
    model = method(model_calls.model, Connection.run)
    load_model = method(model_calls.load_model, Connection.run)
    unload_model = method(model_calls.unload_model, Connection.run)
    scale_model = method(model_calls.scale_model, Connection.run)
    begin_load = method(model_calls.begin_load, Connection.run)
    begin_scale = method(model_calls.begin_scale, Connection.run)
    watch_model = method(model_calls.watch_model, Connection.resumed)
    archives = method(model_calls.archives, Connection.all)
    push_archive = method(model_calls.push_archive, Connection.run)
    health = method(model_calls.health, Connection.run)

    guided_backprop = method(explanation_calls.guided_backprop, Connection.run)
    top_patches = method(explanation_calls.top_patches, Connection.run)
    find_feature_maps = method(explanation_calls.find_feature_maps, Connection.run)

    list_concepts = method(neuron_calls.list_concepts, Connection.all)
    detect = method(neuron_calls.detect, Connection.run)
    top_stimuli = method(neuron_calls.top_stimuli, Connection.run)
    optimal_stimulus = method(neuron_calls.optimal_stimulus, Connection.run)
    activations = method(neuron_calls.activations, Connection.run)
    reconstruct = method(neuron_calls.reconstruct, Connection.run)

    create_sample_job = method(creation_calls.create_sample_job, Connection.run)
    create_score_job = method(creation_calls.create_score_job, Connection.run)
    job = method(job_calls.job, Connection.run)
    jobs = method(job_calls.jobs, Connection.items)
    watch = method(job_calls.watch, Connection.resumed)
    cancel = method(job_calls.cancel, Connection.run)
    pause = method(job_calls.pause, Connection.run)
    resume = method(job_calls.resume, Connection.run)
    retry = method(job_calls.retry, Connection.run)
    delete = method(job_calls.delete, Connection.run)
    read_shard = method(job_calls.read_shard, Connection.stream)
    files = method(job_calls.files, Connection.run)
    read_file = method(job_calls.read_file, Connection.stream)
    shards = method(job_calls.shards, Connection.items)
    verify = method(job_calls.verify, Connection.stream)
    repair = method(job_calls.repair, Connection.stream)
