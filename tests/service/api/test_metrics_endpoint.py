"""The HTTP endpoint of the metrics: connections that ask for nothing are few, and closed after a while."""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter

from service.addresses import free_port
from service.api import metrics_endpoint
from tests.handlers.serving.fakes import wait_until


def test_connections_that_ask_for_nothing_cost_few_threads_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_endpoint._Connection, "timeout", 0.5)
    collection, port = CollectorRegistry(), free_port()
    Counter("calls", "Of a test.", registry=collection)
    metrics_endpoint.expose(collection, "127.0.0.1", port)
    before = threading.active_count()
    with contextlib.ExitStack() as held:
        silent = [held.enter_context(socket.create_connection(("127.0.0.1", port), 60)) for _ in range(60)]
        for connection in silent:
            with contextlib.suppress(OSError):
                connection.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        assert threading.active_count() <= before + metrics_endpoint.READERS
        assert all(_is_closed(connection) for connection in silent)
        wait_until(lambda: b"calls_total 0.0" in _read(port))  # a place is free a moment after its connection is closed


def _read(port: int) -> bytes:
    """The metrics; nothing if every place is taken."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            content: bytes = answer.read()
            return content
    except OSError:
        return b""


def _is_closed(connection: socket.socket) -> bool:
    """Whether the other end closes a connection, within its time limit."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
