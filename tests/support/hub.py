"""A stand-in of the Hugging Face hub: the part of its HTTP API that its library uses to push, in a thread.

Small text files travel inside a commit, others by git LFS first, as on the hub. Files
in chunks (Xet) it takes too, as far as an upload goes: every block is new to it, and it keeps none.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

TOKEN, READ_TOKEN = "hf_ThatNoMessageMayShow", "hf_ThatMayOnlyRead"
OWNER = "anna"
LICENSES = {"mit", "apache-2.0", "unknown", "other"}


@dataclass(slots=True)
class Stored:
    """A repository: every commit's files, by path; of an LFS file sent as chunks only the digest is known."""

    private: bool
    commits: list[dict[str, bytes | str]] = field(default_factory=lambda: [{".gitattributes": b"*.png binary\n"}])

    @property
    def files(self) -> dict[str, bytes | str]:
        """Files of the newest commit."""
        return self.commits[-1]

    @property
    def sha(self) -> str:
        """Name of the newest commit."""
        return hashlib.sha1(f"{id(self)} {len(self.commits)}".encode()).hexdigest()

    @property
    def metadata(self) -> dict[str, Any]:
        """What the card says."""
        card = self.files.get("README.md", b"")
        assert isinstance(card, bytes)
        return metadata_of(card.decode())


@dataclass(slots=True)
class Hub:
    """The hub: repositories by kind and name, objects by digest, and every request that came."""

    endpoint: str = ""
    repositories: dict[tuple[str, str], Stored] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)  # by the end of a path
    chunks: int = 0  # blocks of chunks that came

    def model(self, name: str) -> Stored:
        """A model's repository."""
        return self.repositories["model", name]

    def written(self, kind: str, name: str, folder: Path) -> Path:
        """Write a repository's files into a folder, as a download does."""
        for path, content in self.repositories[kind, name].files.items():
            assert isinstance(content, bytes)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return folder


def metadata_of(card: str) -> dict[str, Any]:
    """Return the metadata at the head of a card."""
    head = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    return yaml.safe_load(head[1]) if head else {}


@contextlib.contextmanager
def running_hub() -> Iterator[Hub]:
    """Run a hub for the length of a block."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Refused(Exception):
    """Raised when the hub says no."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(self.path.partition("?")[0])
        self.hub.requests.append(f"{self.command} {path}")
        try:
            for end, (status, message) in self.hub.refusals.items():
                if path.endswith(end):
                    raise _Refused(status, message)
            answer, headers = self._routed(path, body), {}
            if isinstance(answer, tuple):
                answer, headers = answer
            self._send(200, answer, headers)
        except _Refused as error:
            headers = {"X-Error-Message": str(error), **({"X-Error-Code": error.code} if error.code else {})}
            self._send(error.status, {"error": str(error), "errors": [{"message": str(error)}]}, headers)

    do_GET = do_POST = do_PUT = do_HEAD = _answer

    def _send(self, status: int, answer: Any, headers: dict[str, str]) -> None:
        data = json.dumps(answer).encode()
        self.send_response_only(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _routed(self, path: str, body: bytes) -> Any:
        if path == "/api/validate-yaml":
            return self._validated(json.loads(body)["content"])
        if stored := re.fullmatch(r"/objects/(\w+)", path):
            assert hashlib.sha256(body).hexdigest() == stored[1]
            self.hub.objects[stored[1]] = body
            return {}
        if path.startswith("/chunks/"):
            return self._chunks(path)
        self._known()
        if path == "/api/repos/create":
            return self._created(json.loads(body))
        if batch := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            self._found("dataset" if batch[1] else "model", batch[2], write=True)
            return self._batch(json.loads(body))
        if call := re.fullmatch(r"/api/(model|dataset)s/([^/]+/[^/]+)(?:/([\w-]+)/main)?", path):
            kind, name, verb = call.groups()
            if verb in (None, "revision"):
                return self._info(name, self._found(kind, name))
            repository = self._found(kind, name, write=True)
            if verb == "preupload":
                return self._modes(repository, json.loads(body))
            if verb == "commit":
                return self._committed(name, repository, [json.loads(line) for line in body.splitlines()])
            if verb == "xet-write-token":
                access = {
                    "accessToken": "chunks",
                    "exp": int(time.time()) + 600,
                    "casUrl": f"{self.hub.endpoint}/chunks",
                }
                names = ("X-Xet-Access-Token", "X-Xet-Token-Expiration", "X-Xet-Cas-Url")
                return access, dict(zip(names, map(str, access.values()), strict=True))
        raise _Refused(404, f"the stand-in has no {self.command} {path}")

    def _known(self) -> None:
        if self.headers.get("Authorization") not in (f"Bearer {TOKEN}", f"Bearer {READ_TOKEN}"):
            raise _Refused(401, "Invalid credentials in Authorization header")

    def _writes(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise _Refused(403, "you must use a write token to access to a write API")

    def _found(self, kind: str, name: str, *, write: bool = False) -> Stored:
        found = self.hub.repositories.get((kind, name))
        if found is None:
            raise _Refused(404, "Repository not found", "RepoNotFound")
        if write:
            self._writes()
        return found

    def _created(self, asked: dict[str, Any]) -> Any:
        owner, name = asked["organization"] or OWNER, asked["name"]
        self._writes()
        if owner != OWNER:
            raise _Refused(403, f'You don\'t have the rights to create a model under the namespace "{owner}"')
        key = (asked.get("type", "model"), f"{owner}/{name}")
        if key in self.hub.repositories:
            raise _Refused(409, "You already created this model repo")
        self.hub.repositories[key] = Stored(asked.get("visibility") == "private" or asked.get("private") is True)
        return {"url": f"{self.hub.endpoint}/{'datasets/' if key[0] == 'dataset' else ''}{key[1]}"}

    def _info(self, name: str, repository: Stored) -> Any:
        metadata = repository.metadata
        library = [metadata["library_name"]] if "library_name" in metadata else []
        return {
            "_id": "1",
            "id": name,
            "sha": repository.sha,
            "private": repository.private,
            "tags": [*metadata.get("tags", ()), *library],
            "siblings": [{"rfilename": path} for path in repository.files],
            "downloads": 0,
            "likes": 0,
            **({"cardData": metadata} if metadata else {}),
        }

    def _validated(self, content: str) -> Any:
        try:
            metadata = metadata_of(content)
        except yaml.YAMLError as error:
            raise _Refused(400, f"the metadata are no YAML: {error}") from None
        if metadata.get("license") not in LICENSES:
            raise _Refused(400, '"license" must be one of [apache-2.0, mit, other, unknown]')
        return {"errors": [], "warnings": []}

    def _modes(self, repository: Stored, asked: dict[str, Any]) -> Any:
        answers = []
        for file in asked["files"]:
            sample, old = base64.b64decode(file["sample"]), repository.files.get(file["path"])
            mode = "lfs" if b"\0" in sample or file["size"] > 2**20 else "regular"
            answers.append(
                {
                    "path": file["path"],
                    "uploadMode": mode,
                    "shouldIgnore": False,
                    **({} if old is None else {"oid": _oid(old, mode)}),
                }
            )
        return {"files": answers}

    def _batch(self, asked: dict[str, Any]) -> Any:
        assert asked["operation"] == "upload" and asked["hash_algo"] == "sha256"
        objects = []
        for each in asked["objects"]:
            upload = {"upload": {"href": f"{self.hub.endpoint}/objects/{each['oid']}"}}
            objects.append(each | ({} if each["oid"] in self.hub.objects else {"actions": upload}))
        return {"transfer": "basic", "objects": objects}

    def _chunks(self, path: str) -> Any:
        if "/v1/xorbs/" in path:
            self.hub.chunks += 1
            return {"was_inserted": True}
        if path.endswith("/v1/shards"):
            return {"result": 1}
        raise _Refused(404, f"the stand-in has no {path}")

    def _committed(self, name: str, repository: Stored, lines: list[dict[str, Any]]) -> Any:
        header, *operations = lines
        if header["value"].get("parentCommit") not in (None, repository.sha):
            raise _Refused(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repository.files)
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                assert operation["key"] == "lfsFile"
                files[value["path"]] = self.hub.objects.get(value["oid"], value["oid"])
        repository.commits.append(files)
        return {"success": True, "commitOid": repository.sha, "commitUrl": f"{self.hub.endpoint}/{name}"}


def _oid(content: bytes | str, mode: str) -> str:
    """What the hub calls a content: SHA-256 of an LFS file, git's name of another."""
    if isinstance(content, str):
        return content
    if mode == "lfs":
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
