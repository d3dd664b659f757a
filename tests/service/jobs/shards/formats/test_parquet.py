from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from pyarrow import dataset

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


def test_the_statistics_of_each_row_group_let_a_filter_pass_over_the_others(tmp_path: Path) -> None:
    plan = sample_plan(format="parquet", height=512, width=512, channels=3, count=25, shard_size=25)
    make_shard(output_of(tmp_path, plan), plan)
    path = tmp_path / plan.prefix / "data/train-00000-of-00001.parquet"
    metadata = pq.read_metadata(path)
    column = metadata.schema.to_arrow_schema().get_field_index("index") + 1  # the image's two come first
    found = [metadata.row_group(group).column(column) for group in range(metadata.num_row_groups)]
    assert {each.path_in_schema for each in found} == {"index"}
    assert [(each.statistics.min, each.statistics.max) for each in found] == [(0, 7), (8, 15), (16, 23), (24, 24)]
    wanted = dataset.dataset(path, format="parquet").get_fragments(filter=dataset.field("index") == 17)
    [fragment] = [kept for each in wanted for kept in each.split_by_row_group(dataset.field("index") == 17)]
    assert [group.id for group in fragment.row_groups] == [2]
    assert pq.read_table(path, columns=["index"], filters=[("index", "=", 17)]).to_pylist() == [{"index": 17}]


def test_the_dataset_card_says_what_the_images_are(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    text = (folder / "README.md").read_text()
    assert text.startswith("---\n") and PLAN.model_digest in text and "10 images" in text
    facts = text.split("---\n")[1]  # what makes Hugging Face datasets load it anew, not what it kept of another job
    size_bytes = sum(path.stat().st_size for path in (folder / "data").iterdir())
    assert "config_name: default" in facts and f"num_bytes: {size_bytes}\n    num_examples: 10\n" in facts
    assert "README.md" in json.loads((folder / "manifest.json").read_bytes())["files"]
