"""Logs: one event a line, whatever a value holds."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from service import logs
from service.settings import Settings

FORGED = 'x\n{"event": "forged"}\r\x1b[31mred\x00\u2028'


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Give the root logger and structlog back as they were."""
    root, configured = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configured)


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.split("\n") if line]


def test_json_is_one_object_a_line_whatever_a_value_holds(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format="json"))
    structlog.get_logger("a").info("call", model=FORGED)
    logging.getLogger("library").warning("says %s", FORGED)
    first, second = map(json.loads, lines_of(capsys))
    assert (first["event"], first["model"], first["level"]) == ("call", FORGED, "info")
    assert second["event"] == f"says {FORGED}"


def test_text_is_one_line_an_event_whatever_a_value_holds(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format="console"))
    structlog.get_logger("a").info("call", model=FORGED)
    logging.getLogger("library").warning("says %s", FORGED)
    lines = lines_of(capsys)
    assert len(lines) == 2
    assert all("\\n" in line and "\\x1b" in line for line in lines)
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_is_kept(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    logs.configure(Settings(log_format=log_format))
    try:
        raise RuntimeError("the reason")
    except RuntimeError as error:
        structlog.get_logger("a").error("internal error", exc_info=error)
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert "the reason" in text


def test_events_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_level="warning"))
    structlog.get_logger("a").info("quiet")
    logging.getLogger("library").info("quiet")
    structlog.get_logger("a").warning("loud")
    assert [json.loads(line)["event"] for line in lines_of(capsys)] == ["loud"]
