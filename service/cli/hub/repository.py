"""A repository of the Hugging Face hub, by the hub's own library: created if missing, changed by one commit a push.

Token, endpoint and proxies are found where every tool of the hub looks for them: HF_TOKEN, `hf auth login`,
HF_ENDPOINT, HTTPS_PROXY. The token is in no message.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from service.cli.console import BAD_INPUT, FAILED, fail
from service.cli.hub.contents import CARD, Contents

EXTRA = "hub"  # of pyproject.toml, with the library
OURS = "mintage"  # the tag that every card of ours has
TIMEOUTS_S = (10.0, 120.0, 120.0, 10.0)  # to connect, of a read, of a write, for a free connection
GIVEN = {CARD, ".gitattributes"}  # files that a new repository may have by itself
PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Remote:
    """What the hub has under a name.

    Attributes:
        commit: Its newest commit.
        private: Whether only its owner sees it.
        license_id: The licence that its card names, None if none.
        is_ours: Whether it is empty, or its card is one of ours.
    """

    commit: str
    private: bool
    license_id: str | None
    is_ours: bool


class Repository:
    """One repository: `owner/name`, of a kind."""

    def __init__(self, name: str, kind: Literal["model", "dataset"], *, progress: bool) -> None:
        """Connect to nothing yet; end the command if the library or a token is missing."""
        self.name, self.kind = name, kind
        self._library = _library()
        self._errors = importlib.import_module("huggingface_hub.errors")
        logging = importlib.import_module("huggingface_hub.utils.logging")
        logging.set_verbosity(logging.CRITICAL)  # what matters is in the answers and errors
        utils = importlib.import_module("huggingface_hub.utils")
        show = utils.enable_progress_bars if progress and sys.stderr.isatty() else utils.disable_progress_bars
        show()
        self._token = ""
        with self._explained():
            self._token = self._library.get_token() or ""
            self._library.get_session().timeout = TIMEOUTS_S
            self._api = self._library.HfApi(os.environ.get("HF_ENDPOINT"), token=self._token, library_name=OURS)
        if not self._token:
            fail(
                "there is no token of the hub: log in with `hf auth login`, or set HF_TOKEN to one that may write, "
                f"from {self.endpoint}/settings/tokens"
            )
        if not TOKEN.fullmatch(self._token):
            fail("the token of the hub, in HF_TOKEN or as `hf auth login` left it, has characters that no token has")

    @property
    def endpoint(self) -> str:
        """URL of the hub."""
        return re.sub(r"//[^/@]*@", "//", str(self._api.endpoint))

    @property
    def url(self) -> str:
        """Where a browser finds the repository."""
        return f"{self.endpoint}/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"

    def found(self) -> Remote | None:
        """Return what the hub has under the name, None for nothing that the token's owner may see."""
        with self._explained():
            try:
                info = self._api.repo_info(self.name, repo_type=self.kind)
            except self._errors.RepositoryNotFoundError as error:
                if isinstance(error, self._errors.GatedRepoError):
                    raise
                return None
        names = {file.rfilename for file in info.siblings or ()}
        card = info.card_data
        return Remote(
            commit=info.sha,
            private=bool(info.private),
            license_id=card.get("license") if card else None,
            is_ours=OURS in (info.tags or ()) or names <= GIVEN,
        )

    def create(self, *, private: bool) -> None:
        """Make an empty repository."""
        with self._explained():
            self._api.create_repo(self.name, repo_type=self.kind, private=private)

    def commit(self, contents: Contents, *, message: str, parent: str | None) -> str:
        """Send what is new or different, in one commit; none if nothing is.

        Args:
            contents: what the repository shall hold; what else it has stays.
            message: of the commit.
            parent: the commit that the hub had; the push is refused if it has another one meanwhile.

        Returns: the repository's newest commit.
        """
        add = self._library.CommitOperationAdd
        operations = [add(path_in_repo=CARD, path_or_fileobj=contents.card.encode())]
        operations += [add(path_in_repo=name, path_or_fileobj=path) for name, path in contents.files.items()]
        with self._explained():
            made = self._api.create_commit(
                self.name, operations, commit_message=message, repo_type=self.kind, parent_commit=parent
            )
        return str(made.oid)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """End the command with one line for whatever the library raises."""
        try:
            with warnings.catch_warnings(action="ignore"):  # they are for who wrote the library
                yield
        except Exception as error:
            wrapped = isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception)
            text, status = self._words(error.__cause__ if wrapped else error)  # of one file's upload
            fail(text.replace(self._token, "<token>") if self._token else text, status)

    def _words(self, error: BaseException | None) -> tuple[str, int]:
        """Return what an error of the library means, and the exit status."""
        response = getattr(error, "response", None)
        if response is not None:
            return self._refusal(response.status_code, str(getattr(error, "server_message", None) or "").strip())
        if isinstance(error, self._errors.OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE forbids the network; unset it to push", BAD_INPUT
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, self._errors.HTTPError | OSError):
            proxy = next((name for name in PROXIES if os.environ.get(name)), None)
            through = f", through the proxy that {proxy} names" if proxy else ""
            return f"the hub at {self.endpoint} does not answer{through}: {reason}", FAILED
        return f"{self.name} cannot be pushed: {reason}", FAILED

    def _refusal(self, status: int, said: str) -> tuple[str, int]:
        """Return what an answer of the hub means, and the exit status."""
        owner = self.name.partition("/")[0]
        said = f" ({said})" if said else ""
        if status == 401:
            return f"the hub does not take the token: it is wrong, or has ended{said}; `hf auth login` sets another", (
                BAD_INPUT
            )
        if status in (402, 403, 404):
            return (
                f"the token has no right to write to {self.name}{said}; it needs write access to what {owner} owns",
                BAD_INPUT,
            )
        if status == 409:
            return f"the name {self.name} is taken{said}; choose another", BAD_INPUT
        if status == 412:
            return f"{self.name} was changed by somebody else meanwhile; push again", FAILED
        if status == 429:
            return f"the hub takes no more requests for a while{said}; push again later", FAILED
        return f"the hub answered {status}{said}", FAILED


def _library() -> Any:
    """Import the library, or end the command with how to get it. It sends no telemetry unless that is asked for."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        fail(f"`mintage push` needs the library of the hub; get it with: ./mint extra {EXTRA}")
