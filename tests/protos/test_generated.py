"""The committed generated code is that of the committed contract."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PROTOS = Path(__file__).resolve().parents[2] / "protos"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generate everything into an empty folder."""
    folder = tmp_path_factory.mktemp("generated")
    subprocess.run([sys.executable, PROTOS / "generate.py", folder], check=True, capture_output=True)
    return folder


def test_committed_code_equals_freshly_generated_code(generated: Path) -> None:
    fresh = {path.relative_to(generated): path.read_bytes() for path in generated.rglob("*_pb2*")}

    committed = {
        path.relative_to(PROTOS): path.read_bytes()
        for path in PROTOS.rglob("*_pb2*")
        if "__pycache__" not in path.parts
    }

    assert fresh.keys() == committed.keys()
    assert [str(path) for path in fresh if fresh[path] != committed[path]] == []


def test_no_message_accepts_a_url_or_a_path_to_fetch() -> None:
    modules = [importlib.import_module(f"mintage.v1.{path.stem}_pb2") for path in PROTOS.glob("mintage/v1/*.proto")]
    requests = [
        method.input_type
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]

    names = {field.name for message in requests for field in message.fields}

    assert len(requests) >= 20
    assert not {name for name in names if "url" in name or "uri" in name or "path" in name or "webhook" in name}
