"""What jobs write, opened with the readers of the field: rows, index, seed, class and pixels.

./mint extra readers
.venv/bin/python -m pytest -m readers
"""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.jobs.dispatch.finalize import finalize
from service.jobs.plan import Plan
from service.jobs.storage.local_store import LocalStore
from tests.support.plans import sample_plan, sampling
from tests.support.shards import FORMATS, make_shard, output_of, pictures

READERS = ["datasets", "duckdb", "pandas", "polars", "webdataset"]
MISSING = [name for name in READERS if importlib.util.find_spec(name) is None]
CLASSES = ("cat", 'a "dog"', "Vögel")
COUNT, SHARDS = 250, 3

pytestmark = [
    pytest.mark.readers,
    pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)}: ./mint extra readers"),
    pytest.mark.filterwarnings("ignore"),  # of libraries that are not ours
]

Rows = list[dict[str, Any]]


def plan_of(form: str, kind: str) -> Plan:
    """A plan of small images: of the largest seed, of a generator that takes a class, or of formulas."""
    made_of = sampling(form, seed=2**64 - 1 if kind == "largest seed" else 7)
    if kind == "class":
        made_of = dataclasses.replace(made_of, classes=CLASSES)
    if kind == "formulas":
        made_of = dataclasses.replace(made_of, latents=("7#3", "7#4 + 7#1"), index_step=3)
    name = f"{form}-{kind.replace(' ', '-')}"
    return sample_plan(
        format=form, channels=3, height=8, width=6, count=COUNT, shard_size=100, sampling=made_of, prefix=name
    )


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished jobs of every format and kind."""
    root = tmp_path_factory.mktemp("jobs")
    for form in FORMATS:
        for kind in KINDS:
            plan = plan_of(form, kind)
            output = output_of(root, plan)
            output.put("plan.json", plan.to_json())
            for shard in range(plan.shards):
                make_shard(output, plan, shard, step=50)
            assert finalize(LocalStore(root), plan, cancelled=False, errors={}).state == "SUCCEEDED"
    return root


KINDS = ["largest seed", "class", "formulas"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def folder(jobs: Path, form: str, kind: str) -> Path:
    return jobs / plan_of(form, kind).prefix


def check(rows: Rows, pixels: list[NDArray[np.uint8]], kind: str) -> None:
    """Compare what a reader gave with what was written: every row, in order."""
    assert [row["index"] for row in rows] == list(range(COUNT))
    if kind == "class":
        assert [row["label"] for row in rows] == [index % 3 for index in range(COUNT)]
    if kind == "formulas":
        assert rows[3]["latent"] == "7#7 + 7#4" and "seed" not in rows[3]
    else:
        assert {int(row["seed"]) for row in rows} == {2**64 - 1 if kind == "largest seed" else 7}
    assert (np.stack(pixels) == pictures(range(COUNT), plan_of("npz", kind))).all()


def opened(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)))


def loaded(cache: Path, *arguments: str, **options: Any) -> Any:
    """Load a data set as Hugging Face datasets does, with a cache of its own."""
    from datasets import disable_progress_bars, load_dataset  # type: ignore[import-not-found, import-untyped, unused-ignore]

    disable_progress_bars()
    return load_dataset(*arguments, split="train", cache_dir=str(cache), **options)


PACKAGED = {"webdataset-png": "webdataset", "png-folder": "imagefolder", "parquet": "parquet"}


@every_kind
@pytest.mark.parametrize("form", list(PACKAGED))
@pytest.mark.parametrize("way", ["the job", "its default", "data_dir", "its data", "stream"])
def test_hugging_face_datasets(jobs: Path, tmp_path: Path, form: str, kind: str, way: str) -> None:
    job = folder(jobs, form, kind)
    found = {
        "the job": lambda: loaded(tmp_path, str(job)),
        "its default": lambda: loaded(tmp_path, str(job), "default"),
        "data_dir": lambda: loaded(tmp_path, PACKAGED[form], data_dir=str(job)),
        "its data": lambda: loaded(tmp_path, str(job / "data")),
        "stream": lambda: loaded(tmp_path, str(job), streaming=True),
    }[way]()
    image = "png" if form == "webdataset-png" else "image"
    rows = list(found)
    check([row.get("json", row) for row in rows], [np.asarray(row[image]) for row in rows], kind)
    if kind == "class" and form == "webdataset-png":
        assert [row["cls"] for row in rows] == [index % 3 for index in range(COUNT)]
    if kind == "class" and way in ("the job", "its default", "stream"):
        column = "cls" if form == "webdataset-png" else "label"
        assert found.features[column].names == list(CLASSES)


def test_hugging_face_datasets_takes_no_job_for_another_at_the_same_place(jobs: Path, tmp_path: Path) -> None:
    place = tmp_path / "job"
    counts = []
    for count in (5, 7):
        plan = dataclasses.replace(plan_of("webdataset-png", "class"), count=count, shard_size=3, prefix="job")
        output = LocalStore(tmp_path).output("job")
        output.put("plan.json", plan.to_json())
        for shard in range(plan.shards):
            make_shard(output, plan, shard)
        finalize(LocalStore(tmp_path), plan, cancelled=False, errors={})
        counts.append(len(loaded(tmp_path / "cache", str(place))))
        output.remove_folder()
    assert counts == [5, 7]


def test_hugging_face_datasets_has_no_reader_of_npz_and_takes_nothing_else(jobs: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No \(supported\) data files"):
        loaded(tmp_path, str(folder(jobs, "npz", "class")))


@every_kind
def test_webdataset(jobs: Path, kind: str) -> None:
    import webdataset  # type: ignore[import-not-found, import-untyped, unused-ignore]

    urls = str(folder(jobs, "webdataset-png", kind) / f"data/train-{{00000..{SHARDS - 1:05d}}}-of-{SHARDS:05d}.tar")
    rows = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    check([row["json"] for row in rows], [row["png"] for row in rows], kind)
    if kind == "class":
        assert [row["cls"] for row in rows] == [index % 3 for index in range(COUNT)]
    else:
        assert "cls" not in rows[0]


@every_kind
@pytest.mark.parametrize("reader", ["pyarrow", "pandas", "polars", "duckdb"])
def test_readers_of_parquet(jobs: Path, kind: str, reader: str) -> None:
    data = str(folder(jobs, "parquet", kind) / "data")
    if reader == "pyarrow":
        rows = pq.read_table(data).to_pylist()
    elif reader == "pandas":
        import pandas  # type: ignore[import-not-found, import-untyped, unused-ignore]

        rows = pandas.read_parquet(data).to_dict("records")
    elif reader == "polars":
        import polars  # type: ignore[import-not-found, import-untyped, unused-ignore]

        rows = polars.read_parquet(f"{data}/*.parquet").to_dicts()
    else:
        import duckdb  # type: ignore[import-not-found, import-untyped, unused-ignore]

        found = duckdb.sql(f"SELECT * FROM '{data}/*.parquet' ORDER BY index")
        assert found is not None
        rows = found.to_df().to_dict("records")
    check(rows, [opened(row["image"]["bytes"]) for row in rows], kind)


def test_a_filter_on_the_index_reads_one_row_group(jobs: Path) -> None:
    path = folder(jobs, "parquet", "class") / "data/train-00001-of-00003.parquet"
    metadata = pq.read_metadata(path)
    index = metadata.schema.to_arrow_schema().get_field_index("index") + 1  # the image has two columns
    spans = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(index).statistics
        spans.append((statistics.min, statistics.max))
        assert not metadata.row_group(group).column(0).is_stats_set  # the bytes of images
    assert spans == [(100, 199)]


@every_kind
def test_numpy(jobs: Path, kind: str) -> None:
    job = folder(jobs, "npz", kind)
    for path in [job / f"samples_{COUNT}x8x6x3.npz", *sorted((job / "data").iterdir())]:
        with np.load(path) as arrays:
            index = arrays["index"]
            assert index.tolist() == list(range(index[0], index[-1] + 1)) and index.dtype == np.int64
            assert (arrays["arr_0"] == pictures(range(index[0], index[-1] + 1), plan_of("npz", kind))).all()
            assert (arrays["arr_1"] == index % 3).all() if kind == "class" else "arr_1" not in arrays.files


@pytest.mark.parametrize("form", FORMATS)
def test_every_picture_below_a_job_is_one_of_its_images(jobs: Path, form: str) -> None:
    """Tools such as clean-fid take every image file below a folder that does not begin with a dot."""
    code = "import glob, sys; print(len(glob.glob(sys.argv[1] + '/**/*.png', recursive=True)))"
    command = [sys.executable, "-c", code, str(folder(jobs, form, "class"))]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ}).stdout
    assert int(said) == (COUNT if form == "png-folder" else 0)


@pytest.mark.parametrize("form", FORMATS)
def test_the_card_is_one_that_the_hub_takes(jobs: Path, form: str) -> None:
    from huggingface_hub import DatasetCard  # type: ignore[import-not-found, import-untyped, unused-ignore]

    data = DatasetCard.load(folder(jobs, form, "class") / "README.md").data.to_dict()
    assert data["license"] == "unknown" and data["size_categories"] == ["n<1K"] and "synthetic" in data["tags"]
    assert data["pretty_name"] and data["task_categories"] == ["image-classification"]
    assert ("configs" in data) == (form != "npz")
