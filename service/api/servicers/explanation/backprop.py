"""GuidedBackprop: which pixels of images excite a unit."""

from __future__ import annotations

import functools
from typing import Any

from mintage.v1 import explanation_pb2

from service.api.requests import encodings, uploads
from service.api.requests.clients import caller_of
from service.api.requests.feature_maps import check_layer, check_map
from service.api.servicers.neurons.targets import check_target, neuron_of
from service.backend.protocol.description import Kind
from service.backend.protocol.explanation_messages import ClassUnit, MapUnit, Unit
from service.errors import FailedPrecondition
from service.models.asking.explanation import NUMBER_BYTES, Explanation, gradient_bytes
from service.models.asking.inference import Inference
from service.models.records import ModelRecord
from service.models.registry import Registry
from service.settings import Settings
from service.validation import Violations, shown

KINDS: tuple[Kind, ...] = ("discriminator", "classifier", "neurons")


class Backprop:
    """Answers GuidedBackprop."""

    def __init__(self, settings: Settings, registry: Registry, inference: Inference) -> None:
        self._settings = settings
        self._registry = registry
        self._explanation = Explanation(inference)

    async def explain(
        self, request: explanation_pb2.GuidedBackpropRequest, context: Any
    ) -> explanation_pb2.GuidedBackpropResponse:
        """Compute guided gradients."""
        caller = caller_of(context, self._settings.max_deadline_s)
        violations = Violations()
        name = violations.model_name("model", request.model)
        uploads.check(request, self._settings.max_images, violations)
        if request.WhichOneof("target") in ("concept", "neuron"):
            check_target(request, violations)  # type: ignore[arg-type] # of these two it is one
        violations.check()
        record = ready(self._registry, name, KINDS)
        uploads.check_fits(request, record, violations)
        unit = _unit(request, record, violations)
        violations.check()
        image_bytes = gradient_bytes(record) + 2 * NUMBER_BYTES
        uploads.check_answer(request, image_bytes, self._settings.max_message_bytes, violations)
        violations.check()
        found = await self._explanation.explain(
            record,
            unit,
            functools.partial(uploads.pixels, request, record, self._settings.max_image_pixels),
            random=request.random_weights,
            size_bytes=request.ByteSize(),
            caller=caller,
        )
        return explanation_pb2.GuidedBackpropResponse(
            model=f"models/{record.name}",
            model_digest=record.digest,
            shape=encodings.shape_of(record),
            gradients=[gradient.astype("<f4").tobytes() for gradient in found.gradients],
            activations=found.activations.tolist(),
        )


def ready(registry: Registry, name: str, kinds: tuple[Kind, ...]) -> ModelRecord:
    """Return a model that answers, of one of some kinds.

    Raises:
        NotFound: if no model of that name is loaded.
        FailedPrecondition: if it is of another kind, or its record is damaged.
        Unavailable: if it does not answer now.
    """
    record = registry.find(name)
    if record.kind not in kinds:
        what = f"models/{name} is of kind {record.kind}, not {' or '.join(kinds)}"
        hint = f"; {registry.instead_of(record, kinds)}" if record.kind == "generator" else ""
        raise FailedPrecondition(what + hint, reason="WRONG_MODEL_KIND")
    return registry.ready(name, record.kind)


def _unit(request: explanation_pb2.GuidedBackpropRequest, record: ModelRecord, violations: Violations) -> Unit:
    """Return the unit that a request names; notes one that the model does not have.

    Raises:
        NotFound: if it names a concept that the model does not have.
    """
    target = request.WhichOneof("target")
    of_neurons = target in ("concept", "neuron")
    if of_neurons != (record.kind == "neurons"):
        expected = "as concept or neuron" if record.kind == "neurons" else "as class_name or feature_map, or left out"
        violations.add("target", f"must be given {expected}: the model is of kind {record.kind}")
        return None
    if of_neurons:
        return neuron_of(request, record, violations)  # type: ignore[arg-type] # of these two it is one
    if target == "class_name":
        if request.class_name not in record.classes:
            known = ", ".join(record.classes) or "none"
            violations.add("class_name", f"must be one of the model's ({known}), not {shown(request.class_name)}")
            return None
        return ClassUnit(record.classes.index(request.class_name))
    if target == "feature_map":
        named = request.feature_map
        if check_layer("feature_map.layer", named.layer, record, violations):
            check_map("feature_map.map", named.map, named.layer, record, violations)
        return MapUnit(named.layer, named.map)
    return None
