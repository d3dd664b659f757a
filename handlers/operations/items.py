"""Answers a batch of requests item by item: each succeeds or fails alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import torch

from handlers.compute import device as devices
from handlers.errors import ModelError, NotFiniteError, RequestError
from handlers.protocol import messages
from handlers.protocol.messages import Answer, Failure, Request

LOG = logging.getLogger("mintage.handlers")
T = TypeVar("T")
R = TypeVar("R")


def read(data: Sequence[Mapping[str, bytes]], check: Callable[[Request], Request]) -> list[Request | Failure]:
    """Read and check every item of TorchServe's batch."""
    return [attempt(lambda item: check(messages.read_request(item)), item) for item in data]


def answer(
    function: Callable[[Request], Answer | Failure], requests: Sequence[Request | Failure], device: torch.device
) -> list[Answer | Failure]:
    """Answer every request that has not failed yet.

    Raises:
        SystemExit: if one failed and the device no longer computes. TorchServe then starts another worker; on any other
            exception it would keep the broken one.
    """
    answers = [item if isinstance(item, Failure) else attempt(function, item) for item in requests]
    if _any_error(answers) and not devices.works(device):
        LOG.critical("the device no longer computes; this worker ends")
        raise SystemExit(1)
    return answers


def attempt(function: Callable[[T], R], item: T) -> R | Failure:
    """Apply a function to one item, and turn an exception into a failure.

    An invalid request is answered with its error, and a request to an unfit archive with the reason. Anything
    unexpected is logged with its traceback, and answered only with the fact that the model failed.
    """
    try:
        return function(item)
    except RequestError as error:
        return Failure("invalid", str(error))
    except ModelError as error:
        return Failure("refused", str(error))
    except NotFiniteError as error:
        LOG.error("%s", error)
        return Failure("error", str(error))
    except Exception:
        LOG.exception("a request failed")
        return Failure("error", "the model failed on this request")


def _any_error(answers: Iterable[Answer | Failure]) -> bool:
    return any(isinstance(answer, Failure) and answer.status == "error" for answer in answers)
