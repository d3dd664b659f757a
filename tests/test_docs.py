"""The documentation says what is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_page_of_the_layout_is_that_of_the_files() -> None:
    check = subprocess.run([sys.executable, ROOT / "docs" / "tree.py", "--check"], check=False)

    assert check.returncode == 0, "run: python docs/tree.py"


def test_the_reference_of_the_api_is_that_of_the_contract() -> None:
    check = subprocess.run([sys.executable, ROOT / "docs" / "api.py", "--check"], check=False)

    assert check.returncode == 0, "run: python docs/api.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())

    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


def test_every_verb_named_in_the_docs_exists() -> None:
    from typer.main import get_command

    from service.cli import app

    verbs = set(get_command(app).commands)  # type: ignore[attr-defined]
    named = {verb for page in PAGES for verb in re.findall(r"(?:\./mint|`mintage) ([a-z]+)", page.read_text())}

    assert named - {"test"} <= verbs
