"""The metrics over HTTP, from a few threads: connections that ask for nothing cost the API no more than these."""

from __future__ import annotations

import socket
import sys
import threading
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

READERS = 16  # connections at a time; Prometheus makes one
SILENCE_S = 10.0  # of a connection, after which it is closed

log = structlog.get_logger("mintage.api")


def expose(collection: CollectorRegistry, host: str, port: int) -> None:
    """Serve metrics from a thread until the process ends.

    Raises:
        OSError: if the address is taken or not one of this machine.
    """
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    kind = type("_Server", (_Server,), {"address_family": family})
    server: WSGIServer = make_server(host, port, make_wsgi_app(collection), kind, _Connection)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection, of which there are a few at most; further ones are closed at once."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any) -> None:
        self._free = threading.BoundedSemaphore(READERS)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a reader of metrics is gone", error=repr(sys.exception()))


class _Connection(WSGIRequestHandler):
    """Waits only so long for a request, and logs none."""

    timeout = SILENCE_S

    def log_message(self, *_: Any) -> None:
        """Log nothing."""
