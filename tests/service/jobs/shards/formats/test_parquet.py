from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from service.jobs.dispatch.finalize import finalize
from service.jobs.plan import Plan
from service.jobs.shards.formats.parquet import ParquetLayout
from service.jobs.storage.local_store import LocalStore
from tests.support.plans import sample_plan
from tests.support.shards import make_shard, output_of, pictures

PLAN = sample_plan(format="parquet", channels=3)


def finished(root: Path, plan: Plan = PLAN) -> Path:
    for shard in range(plan.shards):
        make_shard(output_of(root, plan), plan, shard)
    assert finalize(LocalStore(root), plan, cancelled=False, errors={}).state == "SUCCEEDED"
    return root / plan.prefix


def test_arrow_reads_pictures_paths_and_indices(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    names = sorted(path.name for path in (folder / "data").iterdir())
    assert names == [f"train-{shard:05d}-of-00003.parquet" for shard in range(3)]
    rows = [row for name in names for row in pq.read_table(folder / "data" / name).to_pylist()]
    assert [row["index"] for row in rows] == list(range(10))
    assert [row["image"]["path"] for row in rows] == [f"{index:09d}.png" for index in range(10)]
    stored = [np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in rows]
    assert (np.stack(stored) == pictures(range(10), PLAN)).all()


def test_the_schema_says_that_they_are_images(tmp_path: Path) -> None:
    schema = pq.read_schema(finished(tmp_path) / "data/train-00000-of-00003.parquet")
    assert str(schema.field("image").type) == "struct<bytes: binary, path: string>"
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    value = {"_type": "Value"}
    assert features["image"] == {"_type": "Image"} and features["index"] == {"dtype": "int64", **value}
    assert features["seed"] == {"dtype": "uint64", **value}


def test_row_groups_follow_from_the_size_of_the_images(tmp_path: Path) -> None:
    plan = sample_plan(format="parquet", height=512, width=512, channels=3, count=25, shard_size=25)
    assert ParquetLayout(plan).group_rows == 8
    make_shard(output_of(tmp_path, plan), plan, step=7)
    metadata = pq.read_metadata(tmp_path / plan.prefix / "data/train-00000-of-00001.parquet")
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [8, 8, 8, 1]


def test_the_dataset_card_says_what_the_images_are(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    text = (folder / "README.md").read_text()
    assert text.startswith("---\n") and PLAN.model_digest in text and "10 images" in text
    facts = text.split("---\n")[1]  # what makes Hugging Face datasets load it anew, not what it kept of another job
    size_bytes = sum(path.stat().st_size for path in (folder / "data").iterdir())
    assert "config_name: default" in facts and f"num_bytes: {size_bytes}\n    num_examples: 10\n" in facts
    assert "README.md" in json.loads((folder / "manifest.json").read_bytes())["files"]
