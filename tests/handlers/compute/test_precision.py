"""What a device makes of the precision that an archive asks for."""

from __future__ import annotations

import pytest
import torch

from handlers.compute import device, precision
from handlers.compute.precision import resolved

CPU = torch.device("cpu")


def test_auto_takes_bfloat16_only_where_the_device_has_units_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for units, expected in (((), "float32"), (("bf16",), "bfloat16"), (("bf16", "amx"), "bfloat16")):
        monkeypatch.setattr(precision, "cpu_units", lambda units=units: units)
        assert resolved("auto", CPU, plain=False) == expected
        assert resolved("auto", CPU, plain=True) == "float32"
        assert resolved("float32", CPU, plain=False) == "float32"
        assert resolved("bfloat16", CPU, plain=False) == "bfloat16"


def test_a_device_class_names_the_units_for_bfloat16_and_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cpu_units", lambda: ("bf16", "amx"))
    instructions = torch.backends.cpu.get_cpu_capability().lower()
    assert device.device_class(CPU, "bfloat16").endswith(f"-{instructions}-bf16-amx-bfloat16")
    monkeypatch.setattr(device, "cpu_units", lambda: ())
    assert device.device_class(CPU, "float32").endswith(f"-{instructions}-float32")
