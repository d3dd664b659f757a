"""Which columns of a table hold images and labels: by their names, or by what the table declares."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from training.errors import DataError

IMAGES = ("image", "img")
LABELS = ("label", "labels", "fine_label", "target", "class")  # in order: the first that is there
OTHERS = "columns that are not read"


def label_column(
    kinds: Mapping[str, str],
    *,
    integers: Collection[str],
    texts: Collection[str],
    declared: Collection[str],
    source: str,
) -> str | None:
    """Return the column with the labels, None if there is none.

    Args:
        kinds: the type of each column, by name.
        integers: the columns of integers.
        texts: the columns of text; a text is the name of a class.
        declared: the columns that are declared to be labels, such as Hugging Face's ClassLabel.
        source: named in the errors.

    Raises:
        DataError: if a column has a label's name but is of another type, or several columns may be meant.
    """
    usual = [name for name in LABELS if name in kinds]
    kinds_in_order = (declared, integers, texts, usual)
    chosen = next((found for kind in kinds_in_order if (found := [name for name in usual if name in kind])), [])
    if not chosen and len(declared) > 1:
        raise DataError(
            f"{source} has {len(declared)} columns of labels, {', '.join(sorted(declared))}; call the one that is "
            "meant label, or leave out the others"
        )
    name = next(iter([*chosen, *declared]), None)
    if name is not None and name not in integers and name not in texts:
        raise DataError(
            f"{source} has a column {name} of {kinds[name]}; integers 0, 1, ... or names of classes were expected: "
            "write one or the other, or leave the column out"
        )
    return name


def class_names(feature: Any) -> tuple[str, ...]:
    """Return the names of the classes that Hugging Face's description of a column lists, () if there are none."""
    names = feature.get("names") if isinstance(feature, dict) else getattr(feature, "names", None)
    return tuple(str(name) for name in names) if isinstance(names, list) else ()
