"""The feature maps that a request names: those of a generator that are dropped or kept."""

from __future__ import annotations

from collections.abc import Sequence

from mintage.v1 import latents_pb2

from service.backend.protocol.drawing_messages import Maps
from service.models.records import ModelRecord
from service.validation import Violations


def masks_of(
    request: latents_pb2.DrawRequest, record: ModelRecord, violations: Violations
) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Return the maps that a request drops and keeps, by layer; notes every one that the model does not have."""
    drop = _by_layer("drop", request.drop, record, (), violations)
    keep = _by_layer("keep", request.keep, record, drop, violations)
    return {layer: maps for layer, maps in drop.items() if maps}, keep


def check_layer(field: str, layer: int, record: ModelRecord, violations: Violations) -> bool:
    """Return whether a model has a hidden layer, from 1; notes `field` if not."""
    violations.in_range(field, layer, 1, len(record.layers))
    return 1 <= layer <= len(record.layers)


def check_map(field: str, number: int, layer: int, record: ModelRecord, violations: Violations) -> None:
    """Note a map that a layer does not have."""
    violations.in_range(field, number, 0, record.layers[layer - 1].maps - 1)


def check_maps(field: str, maps: Sequence[int], layer: int, record: ModelRecord, violations: Violations) -> None:
    """Note each map that a layer does not have, or that is named again."""
    seen: set[int] = set()
    for index, each in enumerate(maps):
        check_map(f"{field}[{index}]", each, layer, record, violations)
        if each in seen:
            violations.add(f"{field}[{index}]", f"names map {each:,} once more")
        seen.add(each)


def _by_layer(
    field: str,
    named: Sequence[latents_pb2.FeatureMaps],
    record: ModelRecord,
    taken: Maps | tuple[()],
    violations: Violations,
) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for index, each in enumerate(named):
        path = f"{field}[{index}]"
        if not check_layer(f"{path}.layer", each.layer, record, violations):
            continue
        if each.layer in found:
            violations.add(f"{path}.layer", f"names layer {each.layer} once more")
        if each.layer in taken:
            violations.add(f"{path}.layer", f"must not be {each.layer}, which stands in `drop`")
        check_maps(f"{path}.maps", each.maps, each.layer, record, violations)
        found[each.layer] = list(each.maps)
    return found
