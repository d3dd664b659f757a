"""The dataset card, `README.md`, that Hugging Face datasets and people find in the folder of a Parquet job."""

from __future__ import annotations

from service.jobs.plan import Plan, Sampling

CARD_FILE = "README.md"
MAX_FORMULA = 200  # characters of a formula in the card


def card(plan: Plan, count: int, size_bytes: int) -> bytes:
    """Return the card of a job that made `count` images in files of `size_bytes` together.

    Hugging Face datasets keeps what it loaded under the folder's last name and a digest of what the card says before
    its text; the job and the count in there keep another job, or a later round, from being taken for it.
    """
    assert plan.sampling is not None  # noqa: S101 - only sample jobs make images
    missing = f" of {plan.count:,} planned" if count != plan.count else ""
    text = f"""---
configs:
- config_name: "{plan.job}"
  data_files:
  - split: train
    path: data/train-*.parquet
dataset_info:
- config_name: "{plan.job}"
  features:
  - name: image
    dtype: image
  - name: index
    dtype: int64
  splits:
  - name: train
    num_bytes: {size_bytes}
    num_examples: {count}
---

# {count:,}{missing} image{"" if count == 1 else "s"} of {plan.model}

Synthetic images, {plan.height} x {plan.width} pixels, {"grey" if plan.channels == 1 else "RGB"}, made by Mintage.

| | |
| --- | --- |
| job | `jobs/{plan.job}` |
| model | `{plan.model}`, archive `{plan.model_digest}` |
{_what(plan.sampling)}
| made on | {plan.device_class}, torch {plan.torch_version}, numerics {plan.numerics} |

{_meaning(plan.sampling)} on the same kind of device.

```python
from datasets import load_dataset

images = load_dataset("path/of/this/folder", split="train")
```

`manifest.json` lists the SHA-256 of every file, `shards/` what is known of each.
"""
    return text.encode()


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


def _meaning(sampling: Sampling) -> str:
    """Say what `index` means."""
    if not sampling.latents:
        return "`index` is the number of the sample: the same model, seed and index give the same image"
    count = len(sampling.latents)
    return f"`index` i is formula i mod {count:,} of `plan.json`: the same model and formula give the same image"
