"""The models that ship with the project."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from handlers.compute import model
from handlers.compute.fast.arithmetic import NUMERICS
from service.cli.stack import shipped
from service.models.archives import keeping
from training.runs.checkpoint import load_run

MAX_BYTES = 12 * 2**20
PRESENT = shipped.shipped()


def test_every_shipped_model_is_packed_once_and_loaded_unless_it_is_a_discriminator(tmp_path: Path) -> None:
    wanted = shipped.pack_missing(tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.mar")}

    assert wanted == ",".join(f"{name}={name}.mar" for name, _, kind in PRESENT if kind != "discriminator")
    assert {path.stem for path in written} == {name for name, _, _ in PRESENT}
    assert shipped.pack_missing(tmp_path) == wanted
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.mar")}


def test_a_shipped_model_that_another_version_packed_is_packed_again(tmp_path: Path) -> None:
    shipped.pack_missing(tmp_path)
    name = PRESENT[0][0]
    fresh = (tmp_path / f"{name}.mar").read_bytes()
    with zipfile.ZipFile(tmp_path / f"{name}.mar", "w") as archive:
        archive.writestr("serving.json", "{}")
    shipped.pack_missing(tmp_path)
    assert (tmp_path / f"{name}.mar").read_bytes() == fresh


def test_both_sides_mean_the_same_format_and_numerics() -> None:
    assert keeping.ARCHIVE_FORMAT == model.ARCHIVE_FORMAT
    assert keeping.NUMERICS == NUMERICS


@pytest.mark.parametrize("run", sorted({run for _, run, _ in PRESENT}))
def test_a_shipped_run_is_small_has_a_card_and_shows_its_samples(run: str) -> None:
    folder = shipped.MODELS / run

    assert load_run(folder).images_seen > 0
    assert "## Limits" in (folder / "card.md").read_text()
    assert (folder / "samples" / "latest.png").stat().st_size > 1000
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= MAX_BYTES


def test_compose_has_every_shipped_model_and_loads_all_but_discriminators() -> None:
    compose = (shipped.MODELS.parent / "docker-compose.yml").read_text()
    dockerfile = (shipped.MODELS.parent / "Dockerfile").read_text()

    for name, run, kind in PRESENT:
        assert (f"{name}=" in compose) == (kind != "discriminator")
        assert re.search(rf"mintage pack \S*/{run} --name \S+ --kind {kind}", dockerfile), run
