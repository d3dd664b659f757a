"""What a scripted server answers, and retries that do not wait."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from mintage.client import Retries
from mintage.v1 import models_pb2

from tests.client.fakes import Step

QUICK = Retries(attempts=4, first_pause_s=0.001, max_pause_s=0.002)
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def fails(code: grpc.StatusCode, *, retry_after_s: float | None = None) -> Step:
    def step(_: Any, context: grpc.ServicerContext) -> NoReturn:
        status = status_pb2.Status(code=code.value[0], message="for this test")
        if retry_after_s is not None:
            packed, delay = any_pb2.Any(), Duration()
            delay.FromMilliseconds(round(retry_after_s * 1e3))
            packed.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
            status.details.append(packed)
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError

    return step


def answers(message: Any) -> Step:
    return lambda _, __: message


MODEL = models_pb2.GetModelResponse(model=models_pb2.Model(name="models/a"))
