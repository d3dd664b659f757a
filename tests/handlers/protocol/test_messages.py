"""Both sides of the wire agree: the service writes what handlers read, and reads what handlers write."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from mintage.formulas import parse
from mintage.latents import Path as Way

import training.recipes
from handlers.compute.fast.arithmetic import NUMERICS
from handlers.entry_points import startup
from handlers.entry_points.classifier import ClassifierHandler
from handlers.entry_points.generator import GeneratorHandler
from handlers.protocol.formulas import (
    Formulas,
    Jitter,
    Lerp,
    Mean,
    Part,
    SampleLatent,
    Slerp,
    Sum,
    Truncate,
    Vector,
)
from handlers.protocol.messages import read_request
from handlers.protocol.requests import Canary, Classify, Describe, Draw, Evaluate, Generate
from service.backend.protocol import drawing_messages, messages
from service.backend.protocol.description import Kind
from service.errors import FailedPrecondition, Internal, InvalidArgument

Handler = GeneratorHandler | ClassifierHandler
FORMULAS = (
    "mean(#1, 18446744073709551615#9223372036854775807)",
    "slerp(#1, 18446744073709551615#9223372036854775807, 0.1)",
    "jitter(#1, 9, 1) - 0.5 * lerp([0.1, -2], turn, 2)",
    "truncate(turn, 0.25)",
    "[0.1, -2]",
    "18446744073709551615#9223372036854775807",
)
PARTS: tuple[Part, ...] = (
    SampleLatent(0, 1),
    SampleLatent(2**64 - 1, 2**63 - 1),
    Mean((0, 1)),
    Slerp((0, 1), 0.1),
    Jitter((0,), 9, 1.0),
    Vector((0.1, -2.0)),
    Vector((1.0, 2.0)),
    Lerp((5, 6), 2.0),
    Sum((1.0, -0.5), (4, 7)),
    Truncate((6,), 0.25),
)


def started(handler: Handler, folder: Path) -> Handler:
    handler.initialize(SimpleNamespace(system_properties={"model_dir": str(folder), "gpu_id": None}, model_name="m"))
    return handler


@pytest.fixture
def generator_handler(generator_folder: Path) -> Handler:
    return started(GeneratorHandler(), generator_folder)


@pytest.fixture
def classifier_handler(classifier_folder: Path) -> Handler:
    return started(ClassifierHandler(), classifier_folder)


def as_torchserve(request: dict[str, bytes]) -> dict[str, Any]:
    return {name: bytearray(value) for name, value in request.items()}


def asked(handler: Handler, *requests: dict[str, bytes]) -> list[bytes]:
    return handler.handle([as_torchserve(request) for request in requests], None)


def test_requests_are_read_as_they_were_meant() -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1)
    assert read_request(messages.describe_request()) == Describe()
    assert read_request(messages.canary_request()) == Canary()
    latents = [latent for text in FORMULAS for latent in parse(text)]
    draw = read_request(drawing_messages.draw_request(latents, {"turn": (1.0, 2.0)}, class_index=3))
    assert draw == Draw(Formulas(PARTS, (2, 3, 8, 9, 5, 1)), class_index=3)
    sampled = read_request(drawing_messages.draw_request(latents[-1:], {}, class_sample=9))
    assert sampled == Draw(Formulas((PARTS[1],), (0,)), class_sample=9)
    evaluated = read_request(drawing_messages.evaluate_request(latents, {"turn": (1.0, 2.0)}))
    assert evaluated == Evaluate(Formulas(PARTS, (2, 3, 8, 9, 5, 1)))
    request = read_request(as_torchserve(messages.generate_request(2**64 - 1, 2**63 - 3, 3)))
    assert request == Generate(2**64 - 1, 2**63 - 3, 3)
    classify = read_request(as_torchserve(messages.classify_request(images)))
    assert isinstance(classify, Classify) and np.array_equal(classify.images, images)


def test_features_are_asked_for_and_answered_only_on_request(classifier_handler: Handler) -> None:
    images = np.arange(11 * 60, dtype=np.uint32).astype(np.uint8).reshape(11, 6, 5, 2)
    [described, plain, seen] = asked(
        classifier_handler,
        messages.describe_request(),
        messages.classify_request(images),
        messages.classify_request(images, features=True),
    )
    features = messages.read_description(described).features
    without, both = (
        messages.read_classifications(plain, (11, 3)),
        messages.read_classifications(seen, (11, 3), features=8),
    )
    assert features == 8 and without.features is None
    assert both.features is not None and both.features.shape == (11, 8) and both.features.any()
    assert np.array_equal(without.probabilities, both.probabilities)
    with pytest.raises(Internal, match="it lacks features"):
        messages.read_classifications(plain, (11, 3), features=8)


def test_features_must_be_asked_for_with_true_or_false(classifier_handler: Handler) -> None:
    request = {"request": b'{"op": "classify", "shape": [1, 6, 5, 2], "features": 1}', "pixels": bytes(60)}
    with pytest.raises(InvalidArgument, match="features must be true or false"):
        messages.read_classifications(asked(classifier_handler, request)[0], (1, 3))


def test_images_that_are_a_view_travel_whole() -> None:
    images = np.arange(48, dtype=np.uint8).reshape(2, 4, 6, 1)[:, ::2, ::-1]
    classify = read_request(messages.classify_request(images))
    assert isinstance(classify, Classify) and np.array_equal(classify.images, images)


def test_every_kind_of_the_handlers_is_known_to_the_service() -> None:
    assert set(get_args(training.recipes.Kind)) <= set(get_args(Kind))


def test_a_generator_describes_itself(generator_handler: Handler) -> None:
    description = messages.read_description(asked(generator_handler, messages.describe_request())[0])
    assert (description.kind, description.recipe) == ("generator", "ssgan-digits")
    assert (description.height, description.width, description.channels) == (6, 5, 2)
    assert (description.latent_size, description.micro_batch) == (5, 8)
    assert description.classes == ()  # it takes none; those of its data are the classifier's
    assert description.device_class.startswith("cpu-") and description.device_class.endswith(description.precision)
    assert (description.torch_version, description.numerics) == (torch.__version__, NUMERICS)


def test_a_classifier_describes_itself(classifier_handler: Handler) -> None:
    description = messages.read_description(asked(classifier_handler, messages.describe_request())[0])
    assert (description.kind, description.latent_size) == ("classifier", 0)
    assert description.classes == ("nought", "one", "two")


def test_a_canary_comes_back(generator_handler: Handler, classifier_handler: Handler) -> None:
    for handler in (generator_handler, classifier_handler):
        messages.read_canary(asked(handler, messages.canary_request())[0])


def test_images_come_back(generator_handler: Handler) -> None:
    whole, part = asked(generator_handler, messages.generate_request(1, 0, 20), messages.generate_request(1, 5, 7))
    images = messages.read_images(whole, (20, 6, 5, 2))
    assert (images.torch_version, images.numerics) == (torch.__version__, NUMERICS)
    assert np.array_equal(messages.read_images(part, (7, 6, 5, 2)).images, images.images[5:12])


def test_classifications_come_back(classifier_handler: Handler) -> None:
    images = np.random.default_rng(0).integers(0, 256, (11, 6, 5, 2), dtype=np.uint8)
    found = messages.read_classifications(asked(classifier_handler, messages.classify_request(images))[0], (11, 3))
    assert np.abs(found.probabilities.sum(axis=1) - 1).max() < 1e-6
    assert found.generated is not None and ((found.generated >= 0) & (found.generated <= 1)).all()


BAD: list[tuple[dict[str, bytes], str]] = [
    ({}, "a JSON object with `op`"),
    ({"request": b"\xff"}, "a JSON object with `op`"),
    ({"request": b"[]"}, "a JSON object with `op`"),
    ({"request": b'{"op": "train"}'}, "none of describe, canary, generate, draw, "),
    ({"request": b'{"op": "generate"}'}, "seed must be a whole number"),
    (messages.generate_request(-1, 0, 1), "seed must be a whole number from 0 to 18446744073709551615, not -1"),
    (messages.generate_request(2**64, 0, 1), "seed must be"),
    (messages.generate_request(True, 0, 1), "seed must be"),
    (messages.generate_request(1, -1, 1), "first_index must be"),
    (messages.generate_request(1, 2**63 - 1, 2), "first_index must be"),
    (messages.generate_request(1, 0, 0), "count must be"),
    (messages.generate_request(1, 0, 10**6), "count must be at most"),
    (messages.classify_request(np.zeros((1, 6, 5, 2), np.uint8)), "cannot classify"),
]


@pytest.mark.parametrize(("request_", "message"), BAD)
def test_a_bad_request_fails_alone_and_hears_why(
    generator_handler: Handler, request_: dict[str, bytes], message: str
) -> None:
    good = messages.generate_request(3, 2, 4)
    before, bad, after = asked(generator_handler, good, request_, good)
    with pytest.raises(InvalidArgument, match=message):
        messages.read_images(bad, (1, 6, 5, 2))
    assert before == after == asked(generator_handler, good)[0]


@pytest.mark.parametrize(
    ("shape", "pixels", "message"),
    [
        ("[1, 6, 5, 2]", 59, "60 bytes for shape"),
        ("[1, 6, 5, 2]", 61, "60 bytes for shape"),
        ("[0, 6, 5, 2]", 0, "each at least 1"),
        ("[-1, -6, 5, 2]", 60, "each at least 1"),
        ("[1, 6, 10]", 60, "n, height, width, channels"),
        ('"many"', 60, "n, height, width, channels"),
        ("[true, 6, 5, 2]", 60, "each at least 1"),
        ("[1, 5, 6, 2]", 60, "6 x 5 x 2, not 5 x 6 x 2"),
    ],
)
def test_images_that_are_not_what_they_claim_are_refused(
    classifier_handler: Handler, shape: str, pixels: int, message: str
) -> None:
    request = {"request": f'{{"op": "classify", "shape": {shape}}}'.encode(), "pixels": bytes(pixels)}
    with pytest.raises(InvalidArgument, match=message):
        messages.read_classifications(asked(classifier_handler, request)[0], (1, 3))


def test_an_unexpected_failure_says_nothing_of_the_inside_and_is_logged(
    generator_handler: Handler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*_: object) -> None:
        raise OSError("/secret/path")

    monkeypatch.setattr("handlers.operations.generation.latents", explode)
    answers = asked(generator_handler, messages.generate_request(1, 0, 1), messages.describe_request())
    with pytest.raises(Internal) as failure:
        messages.read_images(answers[0], (1, 6, 5, 2))
    assert "secret" not in failure.value.message
    assert "/secret/path" in caplog.text and "Traceback" in caplog.text
    assert messages.read_description(answers[1]).kind == "generator"


def test_a_device_that_is_lost_ends_the_worker(generator_handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("device-side assert triggered")

    monkeypatch.setattr("handlers.operations.generation.latents", explode)
    monkeypatch.setattr("handlers.compute.device.works", lambda _: False)
    ended: list[bool] = []
    monkeypatch.setattr("handlers.serving.batcher.end_worker", lambda: ended.append(True))
    asked(generator_handler, messages.generate_request(1, 0, 1))
    assert ended


SERVING = b'{"format": 4, "numerics": 2, "precision": "auto", "kind": %s}'


def damaged(folder: Path, tmp_path: Path, name: str, content: bytes) -> Path:
    """Copy an unpacked archive with one file changed."""
    copy = tmp_path / "damaged"
    copy.mkdir()
    for file in folder.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    (copy / name).write_bytes(content)
    return copy


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("weights.safetensors", b"short", "cannot be read"),
        ("config.json", b"{}", "cannot be read"),
        ("serving.json", b"{}", "missing or damaged"),
        ("serving.json", SERVING % b'"classifier", "micro_batch": 8', "its handler serves a generator"),
        ("serving.json", SERVING % b'"generator", "micro_batch": 0', "not a whole number from 1"),
        ("serving.json", b'{"kind": "generator", "micro_batch": 8}', "has format None, not 4; pack it again"),
    ],
)
def test_an_unfit_archive_is_refused_and_every_request_hears_why(
    generator_folder: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    handler = started(GeneratorHandler(), damaged(generator_folder, tmp_path, name, content))
    requests = (messages.describe_request(), messages.canary_request(), messages.generate_request(1, 0, 1))
    for answer in asked(handler, *requests):
        with pytest.raises(FailedPrecondition, match=message) as refusal:
            messages.read_description(answer)
        assert refusal.value.reason == "MODEL_REFUSED"


@pytest.mark.parametrize("handler", ["generator", "classifier"])
def test_a_handler_file_holds_one_class_and_imports_absolutely(handler: str) -> None:
    source = (Path(startup.__file__).parent / f"{handler}.py").read_text()
    assert source.count("\nclass ") == 1
    assert "from ." not in source and "import ." not in source


def test_drawn_images_and_numbers_cross_the_wire(generator_handler: Handler) -> None:
    latents = [latent for text in ("5#2", "5#3", "lerp(5#2, 5#3, 0.5)") for latent in parse(text)]
    drawn, generated, numbers = asked(
        generator_handler,
        drawing_messages.draw_request(latents, {}),
        messages.generate_request(5, 2, 2),
        drawing_messages.evaluate_request(latents, {}),
    )
    images = messages.read_images(drawn, (3, 6, 5, 2)).images
    assert np.array_equal(images[:2], messages.read_images(generated, (2, 6, 5, 2)).images)
    found = drawing_messages.read_numbers(numbers, (3, 5))
    assert np.array_equal(found[2], 0.5 * found[0] + 0.5 * found[1])
    with pytest.raises(Internal, match="latents is float64"):
        drawing_messages.read_numbers(numbers, (3, 6))


def test_frames_of_a_walk_are_written_as_their_formulas_are() -> None:
    through = [latent for text in ("#1", "mean(#1, #2)", "[1, 2]", "#1") for latent in parse(text)]
    for path in (Way(through, 5), Way(through, 3, "lerp", closed=True), Way(through[:2], 1)):
        for frames in (range(path.frames), range(4, min(9, path.frames)), range(path.frames - 1, path.frames)):
            latents = [path.latent(frame) for frame in frames]
            if not latents:
                continue
            walk = drawing_messages.walk_request(path, frames, {}, class_index=None, class_sample=7)
            same = read_request(drawing_messages.draw_request(latents, {}, class_sample=7))
            found = read_request(walk)
            assert isinstance(found, Draw) and isinstance(same, Draw)
            assert [resolved(found.formulas, each) for each in found.formulas.latents] == [
                resolved(same.formulas, each) for each in same.formulas.latents
            ]


def resolved(formulas: Formulas, number: int) -> Any:
    """A part with those inside it in place of their numbers."""
    part = formulas.parts[number]
    inside = [resolved(formulas, each) for each in getattr(part, "of", ())]
    return type(part), inside, [getattr(part, name) for name in part.__slots__ if name != "of"]
