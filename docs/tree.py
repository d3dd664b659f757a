"""Write the tree of files into README.md, a line a file from its own first line: python docs/tree.py [--check]."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- tree -->\n", "<!-- /tree -->\n"
TOP = {
    "mint": "the way in: makes .venv from the locks when it is stale, then runs the command",
    "pyproject.toml": "one distribution, its extras, and the settings of every tool",
    "locks/": "what is installed, with hashes; lock.sh resolves anew",
    "Dockerfile": "a stage a role",
    "docker-compose.yml": "the same processes as containers",
    "models/": "trained models that ship with the project, with their cards",
    "benchmarks/serving.py": "Generate beside the bare network and the bare model server, one table",
    "benchmarks/jobs.py": "jobs beside the bare loop; cost, memory, overhead, resuming and fairness",
    "benchmarks/training.py": "training steps beside the plain loop of a textbook, one table",
    "benchmarks/techniques.py": "what each technique of Salimans et al. 2016 is worth, one table",
    "docs/": "API, architecture, operations, reliability, results, training, dependencies",
    "tests/": "what the product promises; mirrors the source, with e2e/ (real processes) and faults/ (real kills)",
}
PACKAGES = [
    *("protos/mintage", "protos/mintage/v1"),
    *("service", "service/servicers", "service/jobs", "service/jobs/formats", "service/jobs/sources"),
    *("service/jobs/report", "service/processes", "service/cli"),
    *("handlers", "training", "training/recipes", "training/networks", "training/layers", "training/steps"),
    *("training/probe", "training/neurons", "training/data", "training/scores"),
]


def main() -> int:
    """Write the tree, or with --check only tell whether it is up to date."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(START)
    tree = "\n".join(lines())
    new = f"{before}{START}```\n{tree}\n```\n{END}{rest.split(END)[1]}"
    if "--check" in sys.argv:
        return int(new != text)
    readme.write_text(new, encoding="utf-8")
    return 0


def lines() -> Iterator[str]:
    """One line for each file that a person reads."""
    for name, meaning in TOP.items():
        yield f"{name:<28} {meaning}"
    for package in PACKAGES:
        folder = ROOT / package
        yield f"{package + '/':<28} {first_line(folder / '__init__.py')}"
        for path in sorted([*folder.glob("*.py"), *folder.glob("*.proto")]):
            if path.name != "__init__.py" and "_pb2" not in path.name:
                yield f"  {path.name:<26} {first_line(path)}"


def first_line(path: Path) -> str:
    """What a file says of itself."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".proto":
        comments = [line[3:] for line in text.splitlines() if line.startswith("// ")]
        return next(line for line in comments if "Service" in line).partition(". ")[0]
    return (ast.get_docstring(ast.parse(text)) or "").splitlines()[0]


if __name__ == "__main__":
    raise SystemExit(main())
