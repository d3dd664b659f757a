"""The card of a run as the hub reads it, by the hub's own library."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

from tests.support.runs import tiny_autoencoder, tiny_config, tiny_run
from training.config import Loading, RunConfig
from training.runs.checkpoint import Run, load_run
from training.runs.hub_card import hub_card, licensed

ModelCard: Any = importlib.import_module(
    "huggingface_hub"
).ModelCard  # not in every environment that types are checked in

CARD = """# tiny

A GAN.

| | |
| --- | --- |
| Test accuracy | 98.95 % of 10,000 test images, with averaged weights |

## Limits

- Many.
"""


def metadata_of(run: Run, card: str = CARD) -> dict[str, Any]:
    text = hub_card(run, card, repository="anna/tiny", samples=None)
    found: dict[str, Any] = ModelCard(text).data.to_dict()
    return found


def with_data(folder: Path, *sources: str) -> Run:
    config = tiny_config()
    named: RunConfig = dataclasses.replace(config, data_name="mnist", loading=Loading(sources=sources))
    return load_run(tiny_run(folder, config=named))


def test_a_classifiers_accuracy_is_an_evaluation_that_the_hub_reads(tmp_path: Path) -> None:
    text = hub_card(with_data(tmp_path, "mnist"), CARD, repository="anna/tiny", samples="samples/latest.png")

    data = ModelCard(text).data

    [result] = data.eval_results
    assert (result.task_type, result.dataset_name, result.dataset_split) == ("image-classification", "mnist", "test")
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.9895)
    assert (data.pipeline_tag, data.library_name, data.license) == ("image-classification", "mintage", "unknown")
    assert data.datasets is None
    assert text.index("A GAN.") < text.index("![Samples](samples/latest.png)") < text.index("| Test accuracy")
    assert "hf download anna/tiny --local-dir tiny" in text


def test_data_sets_of_the_hub_are_named(tmp_path: Path) -> None:
    assert metadata_of(with_data(tmp_path, "hf:mint/coins@v2", "more"))["datasets"] == ["mint/coins"]


def test_what_was_not_measured_is_not_claimed(tmp_path: Path) -> None:
    unmeasured = "# tiny\n\nA GAN.\n\n| | |\n| --- | --- |\n| Test accuracy | not measured |\n"
    found = metadata_of(with_data(tmp_path / "run", "mnist"), unmeasured)
    assert "model-index" not in found and "metrics" not in found
    mind = metadata_of(load_run(tiny_autoencoder(tmp_path / "mind")), "# A tiny autoencoder\n")
    assert mind["pipeline_tag"] == "image-feature-extraction" and "gan" not in mind["tags"]


def test_a_licence_is_named_in_the_metadata_alone() -> None:
    card = "---\npretty_name: x\nlicense: unknown\ntags:\n- mintage\n---\n\ntext\nlicense: unknown\n"
    assert licensed(card, "mit") == card.replace("license: unknown", "license: mit", 1)
