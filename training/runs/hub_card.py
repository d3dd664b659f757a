"""The card of a run as model hubs read it: metadata that they index, samples, the run's own card, and how to use it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from training.data.formats.hub import PREFIX
from training.recipes import Kind
from training.runs.checkpoint import Run, holds

UNKNOWN = "unknown"  # the hub's word for a licence that nobody has named
ACCURACY = re.compile(r"^\| Test accuracy \| (\d+(?:\.\d+)?) % of ([\d,]+) test images", re.MULTILINE)
TABLE = "\n\n| | |\n"  # begins the facts in a run's card
LICENSE = re.compile(r"(?<=\nlicense: ).*(?=\n)")


def hub_card(run: Run, card: str, *, repository: str, samples: str | None) -> str:
    """Return the text of a run's README.md on the hub, with the licence `unknown`.

    What stands in the metadata is what the run itself says: data sets that have a name on the hub, and the accuracy of
    images that were not trained on. Scores by our own extractors are no metric that others would know, and stay in the
    card's text.

    Args:
        run: the run.
        card: its own card, without what holds for one machine.
        repository: where it goes, owner/name.
        samples: path of a picture of samples beside the card, None if there is none.
    """
    kinds = [kind for kind in run.config.settings.kinds if holds(run, kind)]
    about, _, facts = card.partition(TABLE)
    facts = f"{TABLE}{facts.strip()}" if facts else ""
    picture = f"\n\n![Samples]({samples})" if samples else ""
    name = repository.rpartition("/")[2]
    metadata = "\n".join(_metadata(run, kinds, card, name))
    return f"""---
{metadata}
---

{about.rstrip()}{picture}{facts}

## Use

With Mintage, which reads this repository as a run folder, and with `mintage up` running:

```
hf download {repository} --local-dir {name}
mintage pack {name} --load
```
"""


def licensed(card: str, license_id: str) -> str:
    """Return a card whose metadata name a licence."""
    head, mark, rest = card.partition("\n---\n")
    return LICENSE.sub(lambda _: license_id, f"{head}\n", count=1).removesuffix("\n") + mark + rest


def _metadata(run: Run, kinds: list[Kind], card: str, name: str) -> Iterator[str]:
    """Yield the lines of the metadata, in YAML."""
    config = run.config
    yield f"license: {UNKNOWN}"
    yield "library_name: mintage"
    task = _task(run, kinds)
    if task:
        yield f"pipeline_tag: {task}"
    yield "tags:"
    for tag in ["mintage", config.recipe, *(["gan"] if "generator" in kinds else [])]:
        yield f"- {tag}"
    datasets = [name for name in map(_on_the_hub, config.loading.sources) if name]
    if datasets:
        yield "datasets:"
        yield from (f"- {each}" for each in datasets)
    accuracy = ACCURACY.search(card)
    if accuracy and "classifier" in kinds:
        data = json.dumps(config.data_name or "unknown", ensure_ascii=False)
        yield f"""metrics:
- accuracy
model-index:
- name: {json.dumps(name)}
  results:
  - task:
      type: image-classification
    dataset:
      name: {data}
      type: {datasets[0] if datasets else data}
      split: test
    metrics:
    - type: accuracy
      name: {json.dumps(f"Accuracy on {accuracy[2]} test images")}
      value: {round(float(accuracy[1]) / 100, 6)}"""


def _task(run: Run, kinds: list[Kind]) -> str:
    """Return the hub's word for what a run's networks do, '' where it has none, as for a generator of classes."""
    if "classifier" in kinds:
        return "image-classification"
    if "neurons" in kinds:
        return "image-feature-extraction"
    return "unconditional-image-generation" if "generator" in kinds and not run.config.condition_classes else ""


def _on_the_hub(source: str) -> str:
    """Return the name on the hub of a source of training images, '' if it has none."""
    return source.removeprefix(PREFIX).partition("@")[0] if source.startswith(PREFIX) else ""
