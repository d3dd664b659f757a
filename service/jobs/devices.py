"""The device class for which a plan promises equal bytes."""

from __future__ import annotations

from service.errors import FailedPrecondition
from service.jobs.plan import Plan


def check_device(plan: Plan, device_class: str, torch_version: str) -> None:
    """Refuse an answer from another device class or torch version than the plan promises equal bytes for.

    Raises:
        FailedPrecondition: if it is from another.
    """
    if (device_class, torch_version) != (plan.device_class, plan.torch_version):
        text = (
            f"the plan was made for {plan.device_class} and torch {plan.torch_version}, but the model now runs on "
            f"{device_class} and torch {torch_version}"
        )
        raise FailedPrecondition(text, reason="DEVICE_CHANGED")
