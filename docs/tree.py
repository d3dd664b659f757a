"""Write docs/layout.md, the tree with one line per file taken from the file itself: python docs/tree.py [--check]."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "layout.md"
HEAD = """# The tree

One line per folder and file, taken from its own first line by `python docs/tree.py`. Imports run downwards: `service`
imports the contract, `handlers` import `training`, and `training` and the contract import nothing of the project.
"""
PACKAGES = ("protos/mintage", "service", "handlers", "training")


def main() -> int:
    """Write the page, or with --check only tell whether it is up to date."""
    sections = ("\n".join(section(ROOT / package, 0)) for package in PACKAGES)
    new = HEAD + "".join(f"\n```\n{text}\n```\n" for text in sections)
    if "--check" in sys.argv:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != new)
    PAGE.write_text(new, encoding="utf-8")
    return 0


def section(folder: Path, depth: int) -> Iterator[str]:
    """One line for a package, then for each of its files, then the packages inside it."""
    name = str(folder.relative_to(ROOT)) if depth == 0 else folder.name
    yield line(f"{name}/", depth, first_line(folder / "__init__.py"))
    for path in sorted([*folder.glob("*.py"), *folder.glob("*.proto")]):
        if path.name != "__init__.py" and "_pb2" not in path.name:
            yield line(path.name, depth + 1, first_line(path))
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        yield from section(inner, depth + 1)


def line(name: str, depth: int, meaning: str) -> str:
    """A name and what it is, in two columns."""
    return f"{'  ' * depth + name:<34} {meaning}"


def first_line(path: Path) -> str:
    """What a file says of itself."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".proto":
        comments = [row[3:] for row in text.splitlines() if row.startswith("// ")]
        return next((row for row in comments if "Service" in row), comments[0]).partition(". ")[0]
    return (ast.get_docstring(ast.parse(text)) or "").splitlines()[0]


if __name__ == "__main__":
    raise SystemExit(main())
