"""One word for one thing: words that were given up do not come back. docs/glossary.md has those to use."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("protos", "service", "handlers", "training", "tests", "benchmarks", "docs")
RETIRED = re.compile(
    r"strik(?:e|ing)|struck"  # attempt, recompute, retry
    r"|\bwish(?:es|ed)?\b"  # intent, options, flags
    r"|\bkeeper\b|let_go"  # reconciler, release
    r"|signs? of life"  # heartbeat
    r"|patiently|unborn|hopeless"  # retry_transient, stale reservation, fail_fast
    r"|time_left|TimeLeft"  # eta
    r"|have not ended",  # unfinished
    re.IGNORECASE,
)


def test_no_retired_word_is_used() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in files()}
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if (match := RETIRED.search(line))
    ]
    assert len(texts) > 500 and found == []


def files() -> list[Path]:
    endings = {".py", ".proto", ".lua", ".md"}
    found = [ROOT / "README.md", *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
    return [path for path in found if path.suffix in endings and path != Path(__file__).resolve()]
