"""The benchmark of serving measures and compares rightly; the servers themselves are started by the benchmark alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from benchmarks import serving_report as report
from benchmarks import serving_results
from benchmarks.peers.http_target import HttpTarget
from benchmarks.peers.network import FORMS, Module, write_run
from benchmarks.peers.protocol import IMAGE_BYTES, PASS, read_request
from service.cli.load.loops import Load
from service.cli.load.measurement import Measurement
from service.cli.load.target import CallFailedError


class Answers(BaseHTTPRequestHandler):
    """Images whose pixels are all their index; count 9 fails, count 8 is one image short, count 7 is cut off."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        _, first, count = read_request(self.rfile.read(int(self.headers["Content-Length"])))
        if count == 9:
            self.send_error(503, "too much")
            return
        pixels = b"".join(bytes([first + row]) * IMAGE_BYTES for row in range(count - (count == 8)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(pixels)))
        self.end_headers()
        self.wfile.write(pixels[:10] if count == 7 else pixels)
        self.close_connection = count == 7

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_an_http_client_reads_whole_answers_on_one_connection(port: int) -> None:
    connection = HttpTarget(port, "/generate", images=5).connect()
    for first in (0, 100):
        expected = np.repeat(np.arange(first, first + 5, dtype=np.uint8), IMAGE_BYTES)
        assert (np.frombuffer(connection.ask(first), np.uint8) == expected).all()
    connection.call(1)
    connection.close()


@pytest.mark.parametrize(("images", "code"), [(9, "HTTP_503"), (8, "WRONG_ANSWER"), (7, "IncompleteRead")])
def test_an_http_client_counts_what_is_no_answer(port: int, images: int, code: str) -> None:
    connection = HttpTarget(port, "/generate", images).connect()
    with pytest.raises(CallFailedError) as caught:
        connection.call(0)
    assert caught.value.code == code
    connection.close()


def test_a_server_that_is_not_there_is_an_error_by_name() -> None:
    with pytest.raises(CallFailedError, match="ConnectionRefusedError"):
        HttpTarget(1, "/", 1).connect().call(0)


def test_every_form_of_the_frozen_network_makes_the_same_images(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    requests = [(1, 5, 3), (2, 0, PASS), (1, 6, 2)]  # more than one pass, and two samples twice
    images = {}
    for form in FORMS:
        answers = [np.frombuffer(one, np.uint8) for one in Module(run, form, threads=1).images(requests)]
        assert [one.size for one in answers] == [count * IMAGE_BYTES for _, _, count in requests]
        images[form] = np.concatenate(answers).astype(np.int16)
        assert np.abs(answers[0][IMAGE_BYTES:].astype(np.int16) - answers[2]).max() <= 2
    assert images["built"].std() > 40, "images must not be all grey, or everything would equal everything"
    for form in FORMS:
        assert np.abs(images[form] - images["built"]).mean() < 1


def cell(name: str, case: str, *measured: tuple[float, float], form: str = "ours") -> serving_results.Cell:
    """A cell with (images per second, ms) per round."""
    rounds = [
        Measurement(Load(clients=1, seconds=1.0), 1, round(rate), ms, ms, ms, ms, cores={"client": 0.1, "API": 0.2})
        for rate, ms in measured
    ]
    return serving_results.Cell(name, form, serving_results.Case(case, 1, 1), rounds)


def test_ratios_are_those_of_a_round_and_against_the_best_peer_of_that_round() -> None:
    full = serving_results.SATURATED[0]
    found = serving_results.Cells(
        [
            cell("in process", full, (1000, 1), (500, 1)),
            cell("mosec", full, (800, 1), (100, 1)),
            cell("LitServe", full, (600, 1), (400, 1)),
            cell("LitServe", full, (9000, 1), (9000, 1), form="built"),
            cell("Mintage", full, (900, 1), (450, 1)),
        ]
    )
    by_measure = {one.measure: one for one in serving_results.ratios(found)}
    assert by_measure["images/s, 64 x 2, against in process"].mean == pytest.approx(0.9)
    best = by_measure[f"images/s, {full}, against the best peer"]
    assert best.least == best.greatest == pytest.approx(450 / 400)


def test_the_markdown_is_a_whole_table(capsys: pytest.CaptureFixture[str]) -> None:
    cells = [cell("mosec", serving_results.SATURATED[2], (800, 1)), cell("Mintage", serving_results.ALONE, (9, 2.25))]
    report.print_markdown(report.facts(2, None, rounds=1, seconds=1.0), cells)
    text = capsys.readouterr().out
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert "| mosec | ours | - | - | 800 | - |" in text
    assert "| Mintage | ours | - | - | - | 2.2 |" in text
    assert "mosec 0.9.8" in text
