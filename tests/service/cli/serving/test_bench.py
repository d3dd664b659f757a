"""`mintage bench` against the real API over a fake model server; the clients are real processes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import structlog
from mintage.client import Client

from service.cli import app
from service.cli.load.api_target import ApiTarget, smooth_images
from service.cli.load.target import CallFailedError
from service.errors import ResourceExhausted
from tests.client.fakes import world_in_a_thread
from tests.faults.engine import wait_until
from tests.support.command_line import CliRunner
from tests.support.formula import put
from tests.support.model_server import FakeModelServer
from tests.support.world import World

SHORT = ("--duration", 0.5, "--warm-up", 0.1)


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for all the tests, with an autoencoder beside its other models."""
    folder = tmp_path_factory.mktemp("state")
    with structlog.testing.capture_logs(), world_in_a_thread(folder, prepare=with_autoencoder) as at:
        yield at


def with_autoencoder(models: FakeModelServer) -> None:
    put(models.archives, "mind", "neurons")


@pytest.fixture
def bench(at: World, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the verb against the world."""
    monkeypatch.setenv("MINTAGE_API_ADDRESS", at.address)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object, status: int = 0) -> Any:
        result = CliRunner().invoke(app, ["bench", *map(str, arguments)])
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        return result

    return run


def test_a_closed_loop_in_two_processes_is_measured(bench: Any, at: World) -> None:
    at.models.requests.clear()
    found = json.loads(bench("digits", "--clients", 3, "--processes", 2, "--images", 5, *SHORT, "--json").stdout)
    (load,) = found["loads"]
    assert (found["kind"], found["encoding"], found["processes"]) == ("generate", "raw", 2)
    assert load["calls"] > 0
    assert load["errors"] == {}
    assert load["images_per_second"] == pytest.approx(5 * load["calls"] / 0.5)
    assert 0 < load["p50_ms"] <= load["p90_ms"] <= load["p99_ms"] <= load["max_ms"]
    assert load["cores"]["client"] > 0
    asked = [request for _, request in at.models.requests if request.get("op") == "generate"]
    samples = [one["first_index"] + row for one in asked for row in range(one["count"])]
    assert len(samples) >= 5 * load["calls"]
    assert len(set(samples)) == len(samples), "no call asks for what another one asked for"


@pytest.mark.parametrize("encoding", ["raw", "png", "jpeg"])
@pytest.mark.parametrize(("model", "kind"), [("digits", "generate"), ("judge", "classify")])
def test_every_encoding_is_answered_without_error(bench: Any, model: str, kind: str, encoding: str) -> None:
    arguments = (model, "--encoding", encoding, "--clients", 1, "--images", 2, *SHORT, "--json")
    found = json.loads(bench(*arguments).stdout)
    assert (found["kind"], found["encoding"]) == (kind, encoding)
    assert found["loads"][0]["calls"] > 0
    assert found["loads"][0]["errors"] == {}


def test_an_open_loop_asks_at_its_rate(bench: Any) -> None:
    shown = bench("digits", "--rate", 40, "--images", 1, "--duration", 1, "--warm-up", 0, "--seed", 3).stdout
    assert "40.0 calls/s" in shown
    assert "generate digits, 1 images per call, raw; latencies in ms" in shown
    assert "cores in use" in shown


def test_saturation_is_found_and_half_of_it_measured(bench: Any) -> None:
    found = json.loads(bench("digits", "--saturate", "--images", 1, *SHORT, "--json").stdout)["loads"]
    *closed, half = found
    assert [one["load"]["clients"] for one in closed[:2]] == [1, 2]
    assert half["load"]["rate"] == pytest.approx(max(one["calls_per_second"] for one in closed) / 2)


def test_errors_are_counted_by_code_and_the_status_tells(bench: Any, at: World) -> None:
    at.models.failure = ResourceExhausted("enough")
    try:
        result = bench("digits", "--clients", 1, *SHORT, status=1)
    finally:
        at.models.failure = None
    # The API calls the model not ready once a canary has failed too.
    assert re.search(r"\d x (RESOURCE_EXHAUSTED: |UNAVAILABLE: models/digits is not ready: )enough", result.stdout)
    with Client(at.address) as client:  # a canary may have failed too
        wait_until(
            lambda: all(each.state == each.STATE_READY for each in client.models()), "every model is ready again"
        )


def test_an_autoencoder_is_asked_what_it_detects(bench: Any, at: World) -> None:
    at.models.requests.clear()
    found = json.loads(bench("mind", "--images", 3, "--clients", 2, *SHORT, "--json").stdout)
    assert found["kind"] == "detect"
    assert found["loads"][0]["calls"] > 0
    assert found["loads"][0]["errors"] == {}
    assert sum(request.get("op") == "detect" for _, request in at.models.requests) >= found["loads"][0]["calls"]


def test_too_few_images_are_a_wrong_answer(at: World) -> None:
    target = ApiTarget(at.address, "digits", "generate", images=2, encoding="raw", shape=(8, 6, 1))
    connection = target.connect()
    connection.call(0)
    connection.close()
    nobody = ApiTarget(at.address, "nobody", "generate", images=2, encoding="raw", shape=(8, 6, 1)).connect()
    with pytest.raises(CallFailedError, match="NOT_FOUND: no model models/nobody is loaded"):
        nobody.call(0)
    nobody.close()


@pytest.mark.parametrize("shape", [(8, 6, 1), (64, 64, 3)])
def test_sent_images_are_of_the_models_size_and_differ(shape: tuple[int, int, int]) -> None:
    images = smooth_images(3, shape, np.random.default_rng(0))
    assert images.shape == (3, *shape)
    assert images.dtype == np.uint8
    assert (images[0] != images[1]).any()
    assert (images == smooth_images(3, shape, np.random.default_rng(0))).all()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nobody",), "no model models/nobody is loaded"),
        (("digits", "--kind", "classify"), "models/digits is of kind generator, which cannot classify"),
        (("judge", "--kind", "detect"), "models/judge is of kind classifier, which cannot detect"),
        (("digits", "--rate", "5", "--saturate"), "--rate and --saturate exclude each other"),
        (("digits", "--clients", "2", "--processes", "3"), "--processes 3 is more than there are clients, 2"),
    ],
)
def test_bad_input_is_one_line(bench: Any, arguments: tuple[str, ...], expected: str) -> None:
    errors = bench(*arguments, status=2).stderr
    assert expected in errors
    assert errors.startswith("mintage: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--images", "0"),
        ("--images", "1025"),
        ("--encoding", "gif"),
        ("--rate", "0"),
        ("--clients", "0"),
        ("--duration", "nan"),
    ],
)
def test_a_value_out_of_range_is_refused(bench: Any, arguments: tuple[str, ...]) -> None:
    assert arguments[0] in bench("digits", *arguments, status=2).stderr
