"""TorchServe's failures, as they were measured, become the errors that they really are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode as Code
from mintage.torchserve import management_pb2
from structlog.testing import capture_logs

from service import errors
from service.backend import torchserve_management
from service.backend.torchserve import TorchServe
from tests.support.scripted_torchserve import Script, blob, outcome, registered

NO_WORKER = 'Model "m" has no worker to serve inference request. Please use scale workers API to add workers.'


@pytest.mark.parametrize(
    ("code", "text", "kind", "reason"),
    [
        (Code.INTERNAL, "Model not found: m", errors.Unavailable, "MODEL_NOT_LOADED"),
        (Code.INTERNAL, NO_WORKER, errors.Unavailable, "NO_WORKER"),
        (Code.INTERNAL, "Worker died.", errors.Unavailable, "WORKER_DIED"),
        (Code.RESOURCE_EXHAUSTED, "Worker died.", errors.Unavailable, "WORKER_DIED"),
        (Code.INTERNAL, "Out of resources", errors.ResourceExhausted, "OUT_OF_MEMORY"),
        (Code.UNAVAILABLE, "Prediction failed", errors.Internal, "MODEL_FAILED"),
        (Code.UNAVAILABLE, "number of batch response mismatched", errors.Internal, "MODEL_FAILED"),
        (Code.UNAVAILABLE, "Invalid model predict output", errors.Internal, "MODEL_FAILED"),
        (Code.UNAVAILABLE, "Socket closed", errors.Unavailable, "MODEL_SERVER_UNAVAILABLE"),
        (Code.PERMISSION_DENIED, "Token Authentication failed.", errors.Internal, "MODEL_FAILED"),
        (Code.UNKNOWN, "", errors.Internal, "MODEL_FAILED"),
    ],
)
def test_each_failure_to_answer_after_a_registration_gets_its_real_name(
    code: Code, text: str, kind: type[errors.MintageError], reason: str
) -> None:
    with pytest.raises(kind) as failure:
        outcome(Script(prediction=(code, text)), registered)
    assert failure.value.reason == reason
    assert type(failure.value) is kind


FULL, UNFIT = errors.ResourceExhausted, errors.FailedPrecondition


@pytest.mark.parametrize(
    ("code", "text", "loaded", "kind", "reason"),
    [
        (Code.NOT_FOUND, "Model not found at: m.mar", [], errors.NotFound, "ARCHIVE_NOT_FOUND"),
        (Code.NOT_FOUND, "Given URL x does not match any allowed URL(s)", [], errors.NotFound, "ARCHIVE_NOT_FOUND"),
        (Code.UNKNOWN, "", ["m"], errors.AlreadyExists, "ALREADY_EXISTS"),
        (Code.ABORTED, "Model version 1.0 is already registered for model m", ["m"], errors.AlreadyExists, None),
        (Code.UNKNOWN, "", [], errors.Unavailable, "MODEL_SERVER_FAILED"),
        (Code.INTERNAL, "Failed to save model: m.mar\norg.pytorch.serve.Exception", [], FULL, "NO_SPACE"),
        (Code.INTERNAL, "java.io.IOException: No space left on device", [], FULL, "NO_SPACE"),
        (Code.INTERNAL, "Out of resources", [], FULL, "OUT_OF_MEMORY"),
        (Code.INTERNAL, "Failed to start workers for model m version: 1.0", [], UNFIT, "MODEL_START_FAILED"),
        (Code.INTERNAL, "Error while creating workers", [], UNFIT, "MODEL_START_FAILED"),
        (Code.PERMISSION_DENIED, "Model API disabled", [], UNFIT, "MODEL_SERVER_FOREIGN"),
        (Code.PERMISSION_DENIED, "Token Authorization failed. Token either incorrect", [], UNFIT, None),
        (Code.INTERNAL, "Timed out while cleaning resources: m", [], errors.Unavailable, "MODEL_SERVER_FAILED"),
        (Code.INTERNAL, "Model file already exists m.mar", [], errors.Unavailable, "MODEL_SERVER_FAILED"),
        (Code.UNAVAILABLE, "Connection refused", [], errors.Unavailable, "MODEL_SERVER_UNAVAILABLE"),
        (Code.INVALID_ARGUMENT, "Parameter url is required.", [], errors.Internal, "MODEL_SERVER_REFUSED"),
    ],
)
def test_each_failure_of_a_registration_gets_its_real_name(
    code: Code, text: str, loaded: list[str], kind: type[errors.MintageError], reason: str | None
) -> None:
    with pytest.raises(kind) as failure:
        outcome(Script(registration=(code, text), pages=[loaded]), registered)
    assert type(failure.value) is kind
    assert reason in (None, failure.value.reason)


def test_a_refusal_that_nobody_knows_has_an_id_that_is_in_the_log() -> None:
    with capture_logs() as logs, pytest.raises(errors.Internal) as failure:
        outcome(Script(registration=(Code.INTERNAL, "the moon is full")), lambda client: client.scale("m", 2))
    [line] = logs
    assert line["text"] == "the moon is full"
    assert f"id={line['error_id']}" in failure.value.message


def test_no_torchserve_at_all_is_unavailable(tmp_path: Path) -> None:
    async def nobody() -> None:
        client = TorchServe(
            inference="127.0.0.1:1", management="127.0.0.1:1", sockets=tmp_path, max_message_bytes=2**20
        )
        try:
            with pytest.raises(errors.Unavailable):
                await client.predict("m", {"request": b"{}"}, timeout_s=60)
            with pytest.raises(errors.Unavailable):
                await client.list_models()
        finally:
            await client.close()

    asyncio.run(nobody())


@pytest.mark.parametrize("call", [registered, lambda client: client.scale("m", 2, timeout_s=600)])
def test_a_long_call_is_given_up_once_torchserve_answers_nothing_any_more(
    call: Callable[[TorchServe], Awaitable[Any]],
) -> None:
    script = Script(prediction=blob(), hang=True)
    with pytest.raises(errors.Unavailable) as failure:
        outcome(script, call)
    assert failure.value.reason == "MODEL_SERVER_UNAVAILABLE"
    assert len(script.calls) == 1  # it is not asked for anything more


def test_a_long_call_that_takes_too_long_is_told_apart_from_a_torchserve_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torchserve_management, "MANAGEMENT_TIMEOUT_S", 0.2)
    with pytest.raises(errors.Unavailable) as failure:
        outcome(Script(hang=True, slow=True), lambda client: client.scale("m", 2, timeout_s=0.5))
    assert failure.value.reason == "MODEL_NOT_STARTED"


def test_an_archive_that_its_worker_refuses_is_unloaded_again_and_the_text_arrives() -> None:
    script = Script(prediction=blob(status="refused", message="output.bias holds a number that is not finite"))
    with pytest.raises(errors.FailedPrecondition, match=r"output\.bias holds a number that is not finite"):
        outcome(script, registered)
    assert isinstance(script.calls[-1], management_pb2.UnregisterModelRequest)


def test_a_model_that_loads_but_does_not_answer_is_unloaded_again() -> None:
    script = Script(prediction=(Code.DEADLINE_EXCEEDED, ""))
    with pytest.raises(errors.Unavailable, match="does not answer"):
        outcome(script, registered)
    assert isinstance(script.calls[-1], management_pb2.UnregisterModelRequest)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.unregister("m"),
        lambda client: client.scale("m", 2),
    ],
)
def test_a_model_that_is_not_loaded_cannot_be_managed(call: Callable[[TorchServe], Awaitable[Any]]) -> None:
    with pytest.raises(errors.NotFound):
        outcome(Script(registration=(Code.NOT_FOUND, "Model not found: m")), call)
