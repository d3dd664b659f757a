"""What the API can be asked, apart from how it is asked: one call, a list in pages, or a stream.

The functions in `image_calls`, `model_calls`, `job_calls` and `neuron_calls` make these. Their signatures and
docstrings are those of the methods of both clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.message import Message

from mintage.errors import InputError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One call, or one stream of answers.

    Attributes:
        method: Full name, such as `/mintage.v1.JobService/GetJob`.
        request: What is sent, or a function that begins the stream of what is sent.
        answer: Type of what comes back.
        read: What an answer means.
        repeatable: Whether making the call twice is the same as making it once.
        timeout_s: Time limit in seconds, retries included; None is the client's.
    """

    method: str
    request: Message | Callable[[], Iterator[Message]]
    answer: type[Message]
    read: Callable[[Any], T_co]
    repeatable: bool = True
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list, and the token of the next part, empty on the last one."""

    items: Sequence[T]
    next_token: str


@dataclass(frozen=True, slots=True)
class Pages(Generic[T]):
    """A list that comes page by page: the call for the page of each token, '' for the first."""

    call: Callable[[str], Call[Page[T]]]


@dataclass(frozen=True, slots=True)
class Stream(Generic[T]):
    """A stream of answers, and a check to make once all have come."""

    call: Call[T]
    check: Callable[[], None] = lambda: None


class Resumable(Protocol[T_co]):
    """A stream that can be begun again where it broke."""

    @property
    def ended(self) -> bool:
        """Whether everything was read."""

    def call(self) -> Call[T_co]:
        """The stream of what comes after the last answer that was read."""


def sent(call: Call[Any]) -> Any:
    """What is sent of a call: its request, or a new stream of its requests."""
    return call.request() if callable(call.request) else call.request


def made(kind: type[M], /, **fields: Any) -> M:
    """Make a request.

    Raises:
        InputError: if a field cannot hold its value.
    """
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from None


def model_name(name: str) -> str:
    """Resource name of a model given with or without `models/`."""
    return name if name.startswith("models/") else f"models/{name}"


def nothing(answer: Message) -> None:
    """Read an answer that says nothing more."""
    del answer
