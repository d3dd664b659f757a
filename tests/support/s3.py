"""An S3 server for tests: moto in a process of its own, behind a proxy that can be told to fail."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]

from tests.support.valkey import free_port

BUCKET = "mint"
KEY, SECRET = "test-key", "test-secret-that-no-log-may-show"


@dataclass(slots=True)
class Faults:
    """What the proxy does to the next requests whose method is `method` (every one if it is empty)."""

    method: str = ""
    statuses: list[int] = field(default_factory=list)  # answered instead of passing the request on
    refused_status: int = 0  # answered to every one of them, with `code`, until it is 0 again
    code: str = "AccessDenied"
    lost_answers: int = 0  # passed on, but the answer never arrives
    halved: list[str] = field(default_factory=list)  # ends of keys of which the next put keeps half and is answered 200
    bytes_per_s: int = 0  # how fast it reads; 0 is at once
    down: bool = False  # connections are closed at once
    requests: list[str] = field(default_factory=list)
    refused: int = 0  # while it is down
    before: Callable[[], None] | None = None  # called once, before a request is passed on
    open: int = 0  # requests that are being answered
    most_open: int = 0  # of them at one time


class S3Server:
    """A bucket; `settings` are what a store needs to reach it through the proxy."""

    def __init__(self, port: int, proxy: ThreadingHTTPServer, faults: Faults) -> None:
        self.direct = f"http://127.0.0.1:{port}"
        self.endpoint = f"http://127.0.0.1:{proxy.server_address[1]}"
        self.faults = faults
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.direct,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )

    def settings(self, base: str = "") -> dict[str, str]:
        """Settings by name."""
        return {
            "output_dir": f"s3://{BUCKET}/{base}",
            "s3_endpoint": self.endpoint,
            "s3_access_key_id": KEY,
            "s3_secret_access_key": SECRET,
            "s3_allow_http": "true",
        }

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Every object whose key begins so."""
        return {key: self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in self.keys(prefix)}

    def keys(self, prefix: str = "") -> list[str]:
        """Every key that begins so."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def clear(self) -> None:
        """Empty the bucket and let everything pass."""
        self.faults.__init__()  # type: ignore[misc]
        with urllib.request.urlopen(urllib.request.Request(f"{self.direct}/moto-api/reset", method="POST")):
            pass
        self.client.create_bucket(Bucket=BUCKET)


class _Handler(BaseHTTPRequestHandler):
    """Passes a request on to the server."""

    protocol_version = "HTTP/1.1"
    faults: Faults
    target: int

    def handle_one_request(self) -> None:
        """Answer one request, or none."""
        if self.faults.down:
            self.faults.refused += 1
            self.close_connection = True
            return
        super().handle_one_request()

    def _counted(self) -> None:
        """Answer a request while it counts as open."""
        with _COUNTING:
            self.faults.open += 1
            self.faults.most_open = max(self.faults.most_open, self.faults.open)
        try:
            self._pass_on()
        finally:
            with _COUNTING:
                self.faults.open -= 1

    def _pass_on(self) -> None:
        body = b"".join(self._body())
        faults = self.faults
        faults.requests.append(f"{self.command} {self.path}")
        meant = faults.method in ("", self.command)
        if meant and faults.before:
            act, faults.before = faults.before, None
            act()
        if faults.down:
            faults.refused += 1
            self.close_connection = True
        elif meant and faults.refused_status:
            error = f"<Error><Code>{faults.code}</Code></Error>".encode()
            self._answer(faults.refused_status, error, {})
        elif meant and faults.statuses:
            self._answer(faults.statuses.pop(0), b"<Error><Code>Faulty</Code></Error>", {})
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.target)
            headers = dict(self.headers)
            for end in [each for each in faults.halved if self.command == "PUT" and self.path.endswith(each)]:
                faults.halved.remove(end)
                body = body[: len(body) // 2]
                headers["Content-Length"] = str(len(body))
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            data = response.read()
            connection.close()
            if meant and faults.lost_answers:
                faults.lost_answers -= 1
                self.close_connection = True
                return
            kept = {name: value for name, value in response.getheaders() if name.lower() not in _OWN}
            self._answer(response.status, data, kept, length=response.getheader("Content-Length"))

    def _body(self) -> Iterator[bytes]:
        """The request's body, as slowly as is read_intent."""
        left = int(self.headers.get("Content-Length", 0))
        while left:
            part = self.rfile.read(min(left, 1 << 20))
            left -= len(part)
            if self.faults.bytes_per_s:
                time.sleep(len(part) / self.faults.bytes_per_s)
            yield part

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _counted

    def _answer(self, status: int, data: bytes, headers: dict[str, str], length: str | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


_COUNTING = threading.Lock()
_OWN = {"content-length", "transfer-encoding", "connection"}


@contextlib.contextmanager
def running_s3(folder: Path) -> Iterator[S3Server]:
    """Run a server for the length of a block."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "s3.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    faults = Faults()
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"faults": faults, "target": port}))
    proxy.daemon_threads = True
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        _wait(port, process, folder / "s3.log")
        yield S3Server(port, proxy, faults)
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
        process.kill()
        process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/"):
            return
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
