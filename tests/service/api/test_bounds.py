"""Every field of a request that can hold any amount has a bound, and the bounds are checked before anything else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from mintage import latents
from mintage.v1 import (
    classification_pb2,
    explanation_pb2,
    generation_pb2,
    jobs_pb2,
    latents_pb2,
    models_pb2,
    neurons_pb2,
)
from mintage.v1.latents_pb2 import Latent

from service.api import bounds
from service.api.bounds import BOUNDS, PLAIN_MESSAGE_BYTES
from service.errors import InvalidArgument, TooLarge
from tests.support.world import failure_of, run, world

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
)
RUNNING = jobs_pb2.Job.STATE_RUNNING
METHODS = [
    method for file in FILES for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods
]


def fields(message: Descriptor, seen: set[str]) -> Iterator[FieldDescriptor]:
    """Every field that a message reaches."""
    if message.full_name not in seen:
        seen.add(message.full_name)
        for field in message.fields:
            yield field
            if field.message_type is not None:
                yield from fields(field.message_type, seen)


def test_every_field_that_can_hold_any_amount_has_a_bound_and_no_other() -> None:
    seen: set[str] = set()
    found = {f.full_name for method in METHODS for f in fields(method.input_type, seen) if bounds.needs_bound(f)}
    assert found == set(BOUNDS)


def test_a_list_bounds_its_items_and_a_text_its_length() -> None:
    seen: set[str] = set()
    for field in {f.full_name: f for method in METHODS for f in fields(method.input_type, seen)}.values():
        if not bounds.needs_bound(field):
            continue
        bound = BOUNDS[field.full_name]
        assert (bound.items is not None) == bool(field.is_repeated), field.full_name
        if field.type == FieldDescriptor.TYPE_STRING:
            assert bound.length is not None, field.full_name


@pytest.mark.parametrize(
    ("request_", "field", "what"),
    [
        (neurons_pb2.DetectRequest(concepts=["a"] * 1025), "concepts", "holds 1,025 items; 1,024 are the most"),
        (neurons_pb2.DetectRequest(concepts=["a", "b" * 257]), "concepts", "has a length of 257; 256 is the most"),
        (neurons_pb2.ActivationsRequest(units=[0] * 65_537), "units", "65,536 are the most"),
        (jobs_pb2.ListJobsRequest(states=[RUNNING] * 65), "states", "64 are the most"),
        (jobs_pb2.ListJobsRequest(client="x" * 257), "client", "256 is the most"),
        (jobs_pb2.ListJobsRequest(labels={str(n): "" for n in range(65)}), "labels", "64 are the most"),
        (jobs_pb2.CreateSampleJobRequest(labels={"a": "x" * 257}), "labels", "256 is the most"),
        (jobs_pb2.CreateSampleJobRequest(labels={"k" * 300: ""}), "labels", "has a length of 300"),
        (
            classification_pb2.ClassifyRequest(encoded=classification_pb2.EncodedImages(files=[b""] * 1025)),
            "encoded.files",
            "1,024 are the most",
        ),
        (health_pb2.HealthCheckRequest(service="x" * 300), "service", "256 is the most"),
    ],
)
def test_more_than_the_bound_is_refused_by_the_name_of_its_field(request_: Message, field: str, what: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        bounds.check(request_)
    [violation] = caught.value.violations
    assert violation.field == field
    assert what in violation.description


@pytest.mark.parametrize(
    "request_",
    [
        neurons_pb2.DetectRequest(model="m" * 256, concepts=["c" * 256] * 1024),
        jobs_pb2.ListJobsRequest(states=[RUNNING] * 64, client="x" * 256, labels={str(n): "v" for n in range(64)}),
        classification_pb2.ClassifyRequest(encoded=classification_pb2.EncodedImages(files=[b"x" * 10_000] * 1024)),
        classification_pb2.ClassifyRequest(raw=classification_pb2.RawImages(pixels=b"x" * 10_000_000)),
        models_pb2.ListModelsRequest(),
    ],
)
def test_the_bound_itself_is_allowed(request_: Message) -> None:
    bounds.check(request_)


def test_only_methods_with_images_take_large_messages() -> None:
    large = set()
    for method in METHODS:
        name = f"/{method.containing_service.full_name}/{method.name}"
        try:
            bounds.check_size(name, PLAIN_MESSAGE_BYTES + 1)
        except TooLarge:
            continue
        large.add(method.name)
    assert large == {
        "Activations",
        "Classify",
        "Detect",
        "GuidedBackprop",
        "Invert",
        "Reconstruct",
        "TopPatches",
        "TopStimuli",
    }


def raw(channel: Any, method: str) -> Any:
    return channel.unary_unary(method)


LIST_JOBS = "/mintage.v1.JobService/ListJobs"


def test_all_parts_of_a_request_together_are_bounded() -> None:
    thousand = Latent(mean=latents_pb2.LatentList(latents=[latents.sample(0, 1)] * 1000))
    bounds.check(latents_pb2.DrawRequest(latents=[thousand] * 32))
    with pytest.raises(InvalidArgument) as caught:
        bounds.check(latents_pb2.DrawRequest(latents=[thousand] * 400))
    [violation] = caught.value.violations
    assert violation.field == "latents[32].mean.latents"
    assert "a request has 32,768 items at most" in violation.description


def test_the_server_refuses_before_it_does_anything(tmp_path: Path) -> None:
    many = neurons_pb2.DetectRequest(model="models/x", concepts=[f"a{n:x}" for n in range(30_000)])
    states = jobs_pb2.ListJobsRequest(states=[RUNNING] * 4_000_000)
    client = jobs_pb2.ListJobsRequest(client="x" * (8 * 2**20))

    async def test() -> None:
        options = [("grpc.max_send_message_length", -1)]
        async with world(tmp_path) as at, grpc.aio.insecure_channel(at.address, options=options) as channel:
            refused = await failure_of(raw(channel, "/mintage.v1.NeuronService/Detect")(many.SerializeToString()))
            assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["concepts"])
            refused = await failure_of(raw(channel, LIST_JOBS)(states.SerializeToString()))
            assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["states"])
            refused = await failure_of(raw(channel, LIST_JOBS)(client.SerializeToString()))
            assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")
            assert "RetryInfo" not in refused.details

    run(test())


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_compressed_request_is_refused(tmp_path: Path, algorithm: grpc.Compression) -> None:
    async def test() -> None:
        request = models_pb2.GetModelRequest(name="models/" + "digits" * 20).SerializeToString()
        async with (
            world(tmp_path) as at,
            grpc.aio.insecure_channel(at.address, compression=algorithm) as channel,
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/mintage.v1.ModelService/GetModel")(request)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert "compress" in str(caught.value.details()).lower()

    run(test())


@pytest.mark.parametrize("package", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
def test_both_versions_of_reflection_describe_every_service_and_themselves(tmp_path: Path, package: str) -> None:
    async def test() -> None:
        async with world(tmp_path) as at, grpc.aio.insecure_channel(at.address) as channel:
            ask = channel.stream_stream(
                f"/{package}.ServerReflection/ServerReflectionInfo",
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )
            names = ("grpc.reflection.v1.ServerReflection", "mintage.v1.JobService", "grpc.health.v1.Health")
            requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
            requests += [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in names]
            answers = [answer async for answer in ask(iter(requests))]
            listed = {service.name for service in answers[0].list_services_response.service}
            assert listed >= {*names, "grpc.reflection.v1alpha.ServerReflection"}
            assert all(answer.file_descriptor_response.file_descriptor_proto for answer in answers[1:])

    run(test())
