"""Generate the Python code of every .proto in place: python protos/generate.py [output folder].

A test runs this into an empty folder and compares, so the committed code is always that of the committed contract.
"""

from __future__ import annotations

import importlib.resources
import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent


def generate(output: Path) -> None:
    """Write *_pb2.py, *_pb2.pyi, *_pb2_grpc.py and *_pb2_grpc.pyi of each .proto below `output`."""
    sources = [str(path.relative_to(ROOT)) for path in sorted(ROOT.rglob("*.proto"))]
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    outputs = [f"--{plugin}={output}" for plugin in ("python_out", "grpc_python_out", "mypy_out", "mypy_grpc_out")]
    status = protoc.main(["protoc", f"--proto_path={ROOT}", f"--proto_path={well_known}", *outputs, *sources])
    if status != 0:
        raise SystemExit(f"protoc failed with status {status}")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
