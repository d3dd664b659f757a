"""Generate the Python code of every .proto in place: python protos/generate.py [output folder].

A test runs this into an empty folder and compares, so the committed code is always that of the committed contract.
"""

from __future__ import annotations

import importlib.resources
import re
import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
# The generated code refuses every runtime that is older than the generator, although it only hands a serialized
# description to it. Clients share their environment with others: what they may have stands in pyproject.toml, and
# tests/client/test_distribution.py calls a server with the oldest and the newest of it.
CHECKS = {
    "_pb2.py": re.compile(
        r"^from google\.protobuf import runtime_version as _runtime_version\n|"
        r"^_runtime_version\.ValidateProtobufRuntimeVersion\(\n(?: .*\n)+\)\n",
        re.MULTILINE,
    ),
    "_pb2_grpc.py": re.compile(
        r"^import warnings\n|^GRPC_GENERATED_VERSION = (?:.*\n)+?if _version_not_supported:\n(?: .*\n)+\n*",
        re.MULTILINE,
    ),
}


def generate(output: Path) -> None:
    """Write *_pb2.py, *_pb2.pyi, *_pb2_grpc.py and *_pb2_grpc.pyi of each .proto below `output`."""
    sources = [str(path.relative_to(ROOT)) for path in sorted(ROOT.rglob("*.proto"))]
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    outputs = [f"--{plugin}={output}" for plugin in ("python_out", "grpc_python_out", "mypy_out", "mypy_grpc_out")]
    status = protoc.main(["protoc", f"--proto_path={ROOT}", f"--proto_path={well_known}", *outputs, *sources])
    if status != 0:
        raise SystemExit(f"protoc failed with status {status}")
    for ending, checks in CHECKS.items():
        for source in sources:
            file = output / source.replace(".proto", ending)
            file.write_text(checks.sub("", file.read_text()))


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
