"""What TorchServe is asked: to register, scale, list and describe models, and each model worker for a proof."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service import errors
from service.backend.torchserve import TorchServe
from service.backend.torchserve_answers import BackendStatus
from tests.support.scripted_torchserve import Script, blob, described, outcome, registered


def test_from_another_host_requests_go_through_torchserve_and_name_their_caller(tmp_path: Path) -> None:
    script = Script(prediction=blob())

    async def called(client: TorchServe) -> bytes:
        elsewhere = TorchServe(
            inference=script.address, management=script.address, sockets=tmp_path / "none", max_message_bytes=2**20
        )
        try:
            await elsewhere.wait_until_ready("m", 10)
            return await elsewhere.predict("m", {"request": b"{}"}, timeout_s=10, client="painter", priority="bulk")
        finally:
            await elsewhere.close()

    assert outcome(script, called) == blob() and script.asked == []
    assert dict(script.calls[-1].input) == {"request": b"{}", "client": b"painter", "class": b"bulk"}


def test_a_registration_waits_for_the_workers_and_sets_the_limits() -> None:
    script = Script(prediction=blob())
    outcome(script, registered)
    request = script.calls[0]
    assert (request.url, request.model_name, request.initial_workers, request.synchronous) == ("m.mar", "m", 2, True)
    assert (request.startup_timeout, request.response_timeout, request.batch_size) == (6, 7, 1)


def test_every_page_of_models_is_listed() -> None:
    script = Script(pages=[["b", "a"], ["d"], ["c"]])
    assert outcome(script, lambda client: client.list_models()) == ["a", "b", "c", "d"]


def test_workers_are_described() -> None:
    script = Script(descriptions=[described(1, 2)])
    status = outcome(script, lambda client: client.describe("m"))
    assert status == BackendStatus(workers_ready=1, workers_total=2)
    assert not status.ready
    assert not BackendStatus(0, 0).ready
    assert BackendStatus(2, 2).ready


@pytest.mark.parametrize(("ready", "total", "starting"), [(0, 1, True), (1, 2, True), (2, 2, False), (0, 0, False)])
def test_a_model_starts_while_some_worker_is_not_ready(ready: int, total: int, starting: bool) -> None:
    script = Script(descriptions=[described(ready, total)])
    assert outcome(script, lambda client: client.is_starting("m")) is starting


def test_scaling_sets_both_limits_and_waits() -> None:
    script = Script()
    outcome(script, lambda client: client.scale("m", 3))
    request = script.calls[0]
    assert (request.min_worker, request.max_worker, request.synchronous) == (3, 3, True)


def test_a_proof_waits_for_the_workers_and_has_each_compute() -> None:
    script = Script(prediction=blob(), descriptions=[described(0, 2), described(1, 2), described(2, 2)], sockets=2)
    description = outcome(script, lambda client: client.wait_until_ready("m", 10))
    assert (description.kind, description.micro_batch) == ("generator", 4)
    assert [json.loads(call.input["request"])["op"] for call in script.calls] == ["describe"]
    assert script.asked == ["canary", "canary"]


def test_a_proof_waits_for_the_socket_of_every_worker() -> None:
    script = Script(prediction=blob(), descriptions=[described(2, 2)], sockets=1)
    with pytest.raises(errors.Unavailable, match=r"within 0\.5 s"):
        outcome(script, lambda client: client.wait_until_ready("m", 0.5))


def test_a_proof_fails_if_the_forward_pass_is_not_sound() -> None:
    script = Script(prediction=blob(status="error", message="the model made an image that is not finite"))
    with pytest.raises(errors.Internal, match="not finite"):
        outcome(script, lambda client: client.wait_until_ready("m", 10))


@pytest.mark.parametrize("script", [Script(descriptions=[described(0, 1)]), Script(hang=True)])
def test_a_proof_that_takes_too_long_is_unavailable(script: Script) -> None:
    with pytest.raises(errors.Unavailable, match=r"within 0\.3 s"):
        outcome(script, lambda client: client.wait_until_ready("m", 0.3))
