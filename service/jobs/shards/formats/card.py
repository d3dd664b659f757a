"""The card, `README.md`, by which people, Hugging Face datasets and its hub know what a sample job wrote."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.jobs.plan import Plan, Sampling

CARD_FILE = "README.md"
MAX_FORMULA = 200  # characters of a formula in the card
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
HUGE = ((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"))

Features = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a format is read.

    Attributes:
        code: Python that does it.
        data_files: What Hugging Face datasets opens, '' where it has no reader.
        features: Its columns, as datasets writes them into Parquet; none where it has no reader.
        untyped: Whether datasets' reader makes columns of its own unless the card names these twice.
        words: What else is to be known of the files.
    """

    code: str
    data_files: str = ""
    features: Features | None = None
    untyped: bool = False
    words: str = ""


def features_of(sampling: Sampling) -> dict[str, dict[str, Any]]:
    """Return what every format says of an image besides its pixels, as Hugging Face datasets writes it."""
    made_of: dict[str, dict[str, Any]] = {"latent": value("string")} if sampling.latents else {"seed": value("uint64")}
    label = {"label": {"names": list(sampling.classes), "_type": "ClassLabel"}} if sampling.classes else {}
    return {"index": value("int64"), **made_of, **label}


def json_features_of(sampling: Sampling) -> dict[str, dict[str, Any]]:
    """Return the same of JSON, as `json_facts` writes it."""
    features = features_of(sampling)
    return features if sampling.seed < 1 << 63 or "seed" not in features else features | {"seed": value("string")}


def value(dtype: str) -> dict[str, Any]:
    """Return a feature that is a plain value."""
    return {"dtype": dtype, "_type": "Value"}


def card(plan: Plan, reading: Reading, count: int, size_bytes: int) -> bytes:
    """Return the card of a job that made `count` images in files of `size_bytes` together.

    Hugging Face datasets keeps what it loaded under the folder's last name and a digest of what the card and the files
    are; count and bytes in there keep another job, or a later round, from being taken for it.
    """
    assert plan.sampling is not None  # noqa: S101 - only sample jobs make images
    sampling = plan.sampling
    missing = f" of {plan.count:,} planned" if count != plan.count else ""
    classes = f"| classes | {', '.join(_cell(name) for name in sampling.classes)} |\n" if sampling.classes else ""
    text = f"""---
pretty_name: {json.dumps(f"{plan.model}, {count:,} generated images")}
license: unknown
task_categories:
- {"image-classification" if sampling.classes else "unconditional-image-generation"}
size_categories:
- {_size(count)}
tags:
- mintage
- synthetic
- generated-images
{_loading(reading, count, size_bytes)}---

# {count:,}{missing} image{"" if count == 1 else "s"} of {plan.model}

Synthetic images, {plan.height} x {plan.width} pixels, {"grey" if plan.channels == 1 else "RGB"}, made by Mintage.
Nobody has said under which licence: that depends on what the model was trained on. Replace `license` above.

![Images from all over the job](.mintage/contact-sheet.png)

```python
{reading.code.strip()}
```

{_meaning(plan, sampling)}{reading.words}

| | |
| --- | --- |
| job | `jobs/{plan.job}` |
| model | `{plan.model}`, archive `{plan.model_digest}` |
{_what(sampling)}
{classes}| made by | `{_command(plan, sampling)}`, Mintage {plan.mintage_version or "of unknown version"} |
| made on | {plan.device_class}, torch {plan.torch_version}, numerics {plan.numerics} |

`sha256sum --check SHA256SUMS` compares every file. `manifest.json` has the digests of the shards, `plan.json` all that
decides their bytes.
"""
    return text.encode()


def _loading(reading: Reading, count: int, size_bytes: int) -> str:
    """Return what Hugging Face datasets reads of the card."""
    if reading.features is None:
        return ""
    features = "".join(_feature(name, feature, "  ") for name, feature in reading.features.items())
    declared = f"  features:\n{features}" if reading.untyped else ""
    return f"""configs:
- config_name: default
  data_files:
  - split: train
    path: {json.dumps(reading.data_files)}
{declared}dataset_info:
- config_name: default
  features:
{features}  splits:
  - name: train
    num_bytes: {size_bytes}
    num_examples: {count}
"""


def _feature(name: str, feature: Mapping[str, Any], indent: str) -> str:
    """Return a feature as datasets has it in a card."""
    begin = f"{indent}- name: {name}\n{indent}  "
    match feature.get("_type"):
        case "Value":
            return f"{begin}dtype: {feature['dtype']}\n"
        case "Image":
            return f"{begin}dtype: image\n"
        case "ClassLabel":
            names = {str(number): name for number, name in enumerate(feature["names"])}
            return f"{begin}dtype:\n{indent}    class_label:\n{indent}      names: {json.dumps(names)}\n"
        case _:
            inner = "".join(_feature(key, each, indent + "  ") for key, each in feature.items())
            return f"{begin}struct:\n{inner}"


def _size(count: int) -> str:
    """Return the hub's word for a number of images."""
    return next((name for below, name in (*SIZES, *HUGE) if count < below), "100M<n<1B")


def command_words(plan: Plan, sampling: Sampling) -> list[str]:
    """Return the words of a command that makes the same images again, in the default format."""
    words = ["mintage", "jobs", "sample", plan.model, "--count", str(plan.count)]
    if not sampling.latents:
        return [*words, "--seed", str(sampling.seed)]
    words += ["--latent", "..."]
    words += ["--index-step", str(sampling.index_step)] if sampling.index_step else []
    return words if sampling.class_index is None else [*words, "--class", str(sampling.class_index)]


def _command(plan: Plan, sampling: Sampling) -> str:
    """Return the command that makes the same files again."""
    files = ["--shard-size", str(plan.shard_size), "--format", FORMAT_WORDS[plan.format]]
    return shlex.join([*command_words(plan, sampling), *files])


def _what(sampling: Sampling) -> str:
    """Return the row that says what the images are."""
    if not sampling.latents:
        return f"| seed | {sampling.seed} |"
    first, others = sampling.latents[0], len(sampling.latents) - 1
    if len(first) > MAX_FORMULA:
        first = first[: MAX_FORMULA - 3] + "..."
    more = f" and {others:,} more" if others else ""
    step = f", samples {sampling.index_step:,} further each round" if sampling.index_step else ""
    return f"| latents | `{first}`{more}{step} |"


def _meaning(plan: Plan, sampling: Sampling) -> str:
    """Say what `index` and `label` mean."""
    where = "`index`" if plan.format != "webdataset-png" else "`index` in `json`"
    label = " `label` is the class that the generator was asked for." if sampling.classes else ""
    same = "give the same image on the same kind of device"
    if not sampling.latents:
        return f"{where} is the number of the sample: the same model, seed and index {same}.{label}"
    count = len(sampling.latents)
    return f"{where} i is formula i mod {count:,} of `plan.json`: the same model and formula {same}.{label}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


FORMAT_WORDS = {"webdataset-png": "webdataset", "png-folder": "png", "parquet": "parquet", "npz": "npz"}
