"""How much a request may hold: a bound for every text, block of bytes, list and map of the contract, in one table.

The bounds protect the process: they are checked before anything else is done with a request, in a time that grows with
the request and no faster. They lie above what is right; what a name or a label must be like, each servicer says.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from service.errors import FieldViolation, InvalidArgument, TooLarge

PLAIN_MESSAGE_BYTES = 4 * 2**20  # of a request in which no images travel
MOST_PARTS = 32_768  # messages inside a request, such as the parts of its formulas: a quarter of a second's work


@dataclass(frozen=True, slots=True)
class Bound:
    """Most items of a list or a map; most characters of a text, or bytes; None if the whole message bounds it."""

    items: int | None = None
    length: int | None = None


NAME = Bound(length=256)  # of a resource, a file, a client, a request
TOKEN = Bound(length=1024)
PATH = Bound(length=4096)
STATES = Bound(items=64)
LABELS = Bound(items=64)
LATENTS = Bound(items=1024)  # of a request or of a part of a formula
IMAGES = Bound(items=1024)  # files, each as large as the message allows
PIXELS = Bound()

BOUNDS: Mapping[str, Bound] = {
    "mintage.v1.ListArchivesRequest.page_token": TOKEN,
    "mintage.v1.PushArchiveRequest.Announcement.name": NAME,
    "mintage.v1.PushArchiveRequest.Announcement.digest": NAME,
    "mintage.v1.PushArchiveRequest.data": Bound(length=2 * 2**20),
    "mintage.v1.GenerateRequest.model": NAME,
    "mintage.v1.StreamGenerateRequest.model": NAME,
    "mintage.v1.Latent.direction": NAME,
    "mintage.v1.LatentValues.values": Bound(items=4096),
    "mintage.v1.LatentList.latents": LATENTS,
    "mintage.v1.LatentSum.terms": LATENTS,
    "mintage.v1.FeatureMaps.maps": Bound(items=4096),
    "mintage.v1.DrawRequest.model": NAME,
    "mintage.v1.DrawRequest.latents": LATENTS,
    "mintage.v1.DrawRequest.drop": Bound(items=16),
    "mintage.v1.DrawRequest.keep": Bound(items=16),
    "mintage.v1.WalkRequest.model": NAME,
    "mintage.v1.WalkRequest.through": Bound(items=256),
    "mintage.v1.Direction.name": NAME,
    "mintage.v1.Direction.values": Bound(items=4096),
    "mintage.v1.Direction.description": TOKEN,
    "mintage.v1.Direction.model_digest": NAME,
    "mintage.v1.ListDirectionsRequest.model": NAME,
    "mintage.v1.ListDirectionsRequest.page_token": TOKEN,
    "mintage.v1.SaveDirectionRequest.model": NAME,
    "mintage.v1.DeleteDirectionRequest.model": NAME,
    "mintage.v1.DeleteDirectionRequest.direction": NAME,
    "mintage.v1.FindDirectionsRequest.model": NAME,
    "mintage.v1.FindDirectionsRequest.Between.without": LATENTS,
    "mintage.v1.FindDirectionsRequest.Between.with": LATENTS,
    "mintage.v1.FindDirectionsRequest.Answers.model": NAME,
    "mintage.v1.FindDirectionsRequest.Answers.class_name": NAME,
    "mintage.v1.FindDirectionsRequest.Answers.concept": NAME,
    "mintage.v1.InvertRequest.model": NAME,
    "mintage.v1.GuidedBackpropRequest.model": NAME,
    "mintage.v1.GuidedBackpropRequest.class_name": NAME,
    "mintage.v1.GuidedBackpropRequest.concept": NAME,
    "mintage.v1.TopPatchesRequest.model": NAME,
    "mintage.v1.TopPatchesRequest.maps": Bound(items=64),
    "mintage.v1.FindFeatureMapsRequest.model": NAME,
    "mintage.v1.FindFeatureMapsRequest.latents": LATENTS,
    "mintage.v1.FindFeatureMapsRequest.boxes": Bound(items=4096),
    "mintage.v1.ClassifyRequest.model": NAME,
    "mintage.v1.EncodedImages.files": IMAGES,
    "mintage.v1.RawImages.pixels": PIXELS,
    "mintage.v1.ListConceptsRequest.model": NAME,
    "mintage.v1.ListConceptsRequest.page_token": TOKEN,
    "mintage.v1.DetectRequest.model": NAME,
    "mintage.v1.DetectRequest.concepts": Bound(items=1024, length=256),
    "mintage.v1.TopStimuliRequest.model": NAME,
    "mintage.v1.TopStimuliRequest.concept": NAME,
    "mintage.v1.OptimalStimulusRequest.model": NAME,
    "mintage.v1.OptimalStimulusRequest.concept": NAME,
    "mintage.v1.ActivationsRequest.model": NAME,
    "mintage.v1.ActivationsRequest.units": Bound(items=65_536),
    "mintage.v1.ReconstructRequest.model": NAME,
    "mintage.v1.ListModelsRequest.page_token": TOKEN,
    "mintage.v1.GetModelRequest.name": NAME,
    "mintage.v1.LoadModelRequest.name": NAME,
    "mintage.v1.LoadModelRequest.archive": NAME,
    "mintage.v1.UnloadModelRequest.name": NAME,
    "mintage.v1.ScaleModelRequest.name": NAME,
    "mintage.v1.WatchModelRequest.name": NAME,
    "mintage.v1.CreateSampleJobRequest.model": NAME,
    "mintage.v1.CreateSampleJobRequest.output_prefix": PATH,
    "mintage.v1.CreateSampleJobRequest.request_id": NAME,
    "mintage.v1.CreateSampleJobRequest.latents": Bound(items=4096),
    "mintage.v1.CreateSampleJobRequest.labels": LABELS,
    "mintage.v1.CreateSampleJobRequest.LabelsEntry.key": NAME,
    "mintage.v1.CreateSampleJobRequest.LabelsEntry.value": NAME,
    "mintage.v1.CreateScoreJobRequest.model": NAME,
    "mintage.v1.CreateScoreJobRequest.source_job": NAME,
    "mintage.v1.CreateScoreJobRequest.source_folder": PATH,
    "mintage.v1.CreateScoreJobRequest.reference_job": NAME,
    "mintage.v1.CreateScoreJobRequest.output_prefix": PATH,
    "mintage.v1.CreateScoreJobRequest.request_id": NAME,
    "mintage.v1.CreateScoreJobRequest.labels": LABELS,
    "mintage.v1.CreateScoreJobRequest.LabelsEntry.key": NAME,
    "mintage.v1.CreateScoreJobRequest.LabelsEntry.value": NAME,
    "mintage.v1.GetJobRequest.name": NAME,
    "mintage.v1.ListJobsRequest.page_token": TOKEN,
    "mintage.v1.ListJobsRequest.states": STATES,
    "mintage.v1.ListJobsRequest.labels": LABELS,
    "mintage.v1.ListJobsRequest.LabelsEntry.key": NAME,
    "mintage.v1.ListJobsRequest.LabelsEntry.value": NAME,
    "mintage.v1.ListJobsRequest.client": NAME,
    "mintage.v1.WatchJobRequest.name": NAME,
    "mintage.v1.WatchJobRequest.resume_token": TOKEN,
    "mintage.v1.CancelJobRequest.name": NAME,
    "mintage.v1.PauseJobRequest.name": NAME,
    "mintage.v1.ResumeJobRequest.name": NAME,
    "mintage.v1.RetryFailedShardsRequest.name": NAME,
    "mintage.v1.DeleteJobRequest.name": NAME,
    "mintage.v1.ReadShardRequest.name": NAME,
    "mintage.v1.ListJobFilesRequest.name": NAME,
    "mintage.v1.ReadJobFileRequest.name": NAME,
    "mintage.v1.ReadJobFileRequest.file_name": NAME,
    "mintage.v1.ListShardsRequest.name": NAME,
    "mintage.v1.ListShardsRequest.page_token": TOKEN,
    "mintage.v1.ListShardsRequest.states": STATES,
    "mintage.v1.VerifyJobRequest.name": NAME,
    "mintage.v1.RepairJobRequest.name": NAME,
    "google.longrunning.ListOperationsRequest.name": NAME,
    "google.longrunning.ListOperationsRequest.filter": TOKEN,
    "google.longrunning.ListOperationsRequest.page_token": TOKEN,
    "google.longrunning.GetOperationRequest.name": NAME,
    "google.longrunning.DeleteOperationRequest.name": NAME,
    "google.longrunning.CancelOperationRequest.name": NAME,
    "google.longrunning.WaitOperationRequest.name": NAME,
    "grpc.health.v1.HealthCheckRequest.service": NAME,
}


@dataclass(slots=True)
class _Room:
    """How many more messages a request may hold."""

    left: int = MOST_PARTS

    def take(self, path: str, count: int) -> Iterator[FieldViolation]:
        """Take room for some messages; the first that find too little are a violation."""
        before, self.left = self.left, self.left - count
        if self.left < 0 <= before:
            yield FieldViolation(
                path, f"is too much: a request has {MOST_PARTS:,} items at most, parts of formulas included"
            )


_Check = Callable[[Any, str, _Room], Iterator[FieldViolation]]


def check_size(method: str, size_bytes: int) -> None:
    """Refuse a request that is larger than its method needs; called before the request is read.

    Raises:
        TooLarge: if it is.
    """
    if size_bytes > PLAIN_MESSAGE_BYTES and not _carries_images(method):
        raise TooLarge(f"the request has {size_bytes:,} bytes; this method takes {PLAIN_MESSAGE_BYTES:,} at most")


def check(request: Message) -> None:
    """Refuse a request of which a field holds more than its bound.

    Raises:
        InvalidArgument: naming every such field.
    """
    room = _Room()
    found = [violation for check in _checks(request.DESCRIPTOR) for violation in check(request, "", room)]
    if found:
        raise InvalidArgument(found)


def needs_bound(field: FieldDescriptor) -> bool:
    """Tell whether a field can hold any amount."""
    return bool(field.is_repeated) or field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


def request_of(method: str) -> Descriptor | None:
    """Return the request of a method such as `/mintage.v1.JobService/GetJob`; None if nothing describes it."""
    service, _, name = method.removeprefix("/").partition("/")
    try:
        return descriptor_pool.Default().FindMethodByName(f"{service}.{name}").input_type
    except KeyError:
        return None


@functools.cache
def _carries_images(method: str) -> bool:
    request = request_of(method)
    return request is not None and any(
        field.message_type is not None
        and any(BOUNDS.get(inner.full_name) is kind for inner in field.message_type.fields for kind in (IMAGES, PIXELS))
        for field in request.fields
    )


@functools.cache
def _checks(message: Descriptor) -> tuple[_Check, ...]:
    """What is to be checked of a message, and nothing of fields that cannot hold much."""
    return tuple(check for field in message.fields for check in _checks_of(field))


def _checks_of(field: FieldDescriptor) -> Iterator[_Check]:
    bound = BOUNDS.get(field.full_name, Bound())
    inner = field.message_type
    if field.is_repeated:
        yield functools.partial(_check_items, field, bound)
    elif inner is not None:
        if _holds_any_amount(inner, frozenset()):
            yield functools.partial(_check_message, field)
    elif bound.length is not None:
        yield functools.partial(_check_length, field, bound.length)


def _holds_any_amount(message: Descriptor, outer: frozenset[str]) -> bool:
    """Tell whether a field of a message, or of those inside it, needs a bound; messages may hold themselves."""
    outer |= {message.full_name}
    return any(
        needs_bound(field)
        or (
            field.message_type is not None
            and field.message_type.full_name not in outer
            and _holds_any_amount(field.message_type, outer)
        )
        for field in message.fields
    )


def _check_items(
    field: FieldDescriptor, bound: Bound, message: Any, path: str, room: _Room
) -> Iterator[FieldViolation]:
    """The number of items first, so that no more than the bound are looked at."""
    items = getattr(message, field.name)
    inner = field.message_type
    if bound.items is not None and len(items) > bound.items:
        yield FieldViolation(path + field.name, f"holds {len(items):,} items; {bound.items:,} are the most")
    elif inner is not None and inner.GetOptions().map_entry:
        for part, values in (
            (inner.fields_by_name["key"], items.keys()),
            (inner.fields_by_name["value"], items.values()),
        ):
            yield from _too_long(f"{path}{field.name}", values, BOUNDS.get(part.full_name, Bound()).length)
    elif inner is not None:
        yield from room.take(f"{path}{field.name}", len(items))
        for index, item in enumerate(items) if room.left >= 0 else ():
            for check in _checks(inner):
                yield from check(item, f"{path}{field.name}[{index}].", room)
    else:
        yield from _too_long(f"{path}{field.name}", items, bound.length)


def _check_message(field: FieldDescriptor, message: Any, path: str, room: _Room) -> Iterator[FieldViolation]:
    if message.HasField(field.name):
        yield from room.take(f"{path}{field.name}", 1)
        for check in _checks(field.message_type) if room.left >= 0 else ():
            yield from check(getattr(message, field.name), f"{path}{field.name}.", room)


def _check_length(field: FieldDescriptor, most: int, message: Any, path: str, _: _Room) -> Iterator[FieldViolation]:
    yield from _too_long(path + field.name, (getattr(message, field.name),), most)


def _too_long(path: str, values: Any, most: int | None) -> Iterator[FieldViolation]:
    """One violation for the values of a field, if any is too long; where nothing bounds them they are not read."""
    longest = 0 if most is None else max(map(len, values), default=0)
    if most is not None and longest > most:
        yield FieldViolation(path, f"has a length of {longest:,}; {most:,} is the most")
