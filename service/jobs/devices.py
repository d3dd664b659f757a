"""The device class, torch version and numerics for which a plan promises equal bytes."""

from __future__ import annotations

from typing import Protocol

from service.errors import FailedPrecondition
from service.jobs.plan import Plan


class Computed(Protocol):
    """What decides bits besides the model itself, as answers, models and plans say it."""

    @property
    def device_class(self) -> str:
        """The device's, with the precision of the products."""

    @property
    def torch_version(self) -> str:
        """Of the torch that computed."""

    @property
    def numerics(self) -> int:
        """Version of the handlers' arithmetic."""


def check_device(plan: Plan, found: Computed, *, name: str = "the plan") -> None:
    """Refuse what was computed on another device class, torch version or numerics than the plan promises bytes for.

    Raises:
        FailedPrecondition: if it was.
    """
    if (wanted := _shown(plan)) != (shown := _shown(found)):
        text = f"{name} was made for {wanted}, but the model now runs on {shown}"
        raise FailedPrecondition(text, reason="DEVICE_CHANGED")


def _shown(computed: Computed) -> str:
    return f"{computed.device_class}, torch {computed.torch_version} and numerics {computed.numerics}"
