"""`mintage push`, the command itself, against a stand-in of the hub's API."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.cli import app
from tests.support.command_line import CliRunner
from tests.support.hub import OWNER, READ_TOKEN, TOKEN, Hub, Stored, running_hub
from tests.support.runs import tiny_autoencoder, tiny_run
from training.export import export
from training.runs.checkpoint import load_run, run_digest

ROOT = Path(__file__).resolve().parents[4]
MODEL = f"hf:{OWNER}/tiny"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as running:
        yield running


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that can be trained further, with a picture and a path in its card."""
    folder = tiny_run(tmp_path_factory.mktemp("runs") / "tiny")
    (folder / "card.md").write_text(
        "# tiny\n\nA GAN.\n\n| | |\n| --- | --- |\n| Test accuracy | 91.50 % of 2000 test images, averaged |\n"
        "\n## Where it was made\n\nBy\n\n```\nmintage train tiny --run /home/anna/tiny\n```\n",
        encoding="utf-8",
    )
    (folder / "samples").mkdir()
    (folder / "samples" / "latest.png").write_bytes(b"\x89PNG\0 one")
    return folder


@pytest.fixture
def push(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run `mintage push` with a token."""
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path_factory.mktemp("home") / "token"))

    def run(*arguments: object, status: int = 0) -> Any:
        result = CliRunner().invoke(app, ["push", *map(str, arguments)])
        assert result.exit_code == status, result.output
        assert TOKEN not in result.output
        return result

    return run


def pushed_by_a_process(hub: Hub, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `mintage push` in a process of its own: the hub's library reads some settings only once."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().endswith("_PROXY") and not name.startswith("HF_")
    }
    return subprocess.run(
        [sys.executable, "-m", "service", "push", *map(str, arguments)],
        check=False,
        cwd=ROOT,
        env={**kept, "HF_ENDPOINT": hub.endpoint, **environment},
        capture_output=True,
        text=True,
    )


def test_a_run_becomes_a_private_model_that_is_a_run_again_when_downloaded(
    push: Any, hub: Hub, run: Path, tmp_path: Path
) -> None:
    said = json.loads(push(run, MODEL, "--license", "mit", "--json").stdout)

    stored = hub.model("anna/tiny")
    assert said == {
        "repository": "anna/tiny",
        "type": "model",
        "url": f"{hub.endpoint}/anna/tiny",
        "private": True,
        "created": True,
        "changed": True,
        "commit": stored.sha,
        "files": 5,
        "bytes": sum(len(content) for name, content in stored.files.items() if name != ".gitattributes"),
    }
    assert stored.private
    assert set(stored.files) - {".gitattributes"} == {
        "README.md",
        "card.md",
        "checkpoint.safetensors",
        "config.json",
        "samples/latest.png",
    }
    assert run_digest(load_run(hub.written("model", "anna/tiny", tmp_path / "down"))) == run_digest(load_run(run))
    assert not any(b"/home/anna" in content for content in stored.files.values() if isinstance(content, bytes))
    metadata = stored.metadata
    assert metadata["license"] == "mit" and metadata["library_name"] == "mintage"
    assert metadata["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.915


def test_equal_content_makes_no_commit_and_a_change_makes_one(push: Any, hub: Hub, run: Path, tmp_path: Path) -> None:
    folder = export(run, tmp_path / "tiny")
    push(folder, MODEL, "--license", "mit")

    again = json.loads(push(folder, MODEL, "--json").stdout)
    assert (again["created"], again["changed"], again["commit"]) == (False, False, hub.model("anna/tiny").sha)
    assert len(hub.model("anna/tiny").commits) == 2  # the hub's own, and ours
    from_run = json.loads(push(run, MODEL, "--json").stdout)
    assert not from_run["changed"]

    (folder / "samples" / "latest.png").write_bytes(b"\x89PNG\0 two")
    hub.requests.clear()
    changed = push(folder, MODEL)
    assert f"commit {hub.model('anna/tiny').sha[:12]}" in changed.stdout
    before, after = hub.model("anna/tiny").commits[-2:]
    assert {name for name in after if after[name] != before.get(name)} == {"samples/latest.png"}
    assert sum(request.startswith("PUT ") for request in hub.requests) == 1
    assert hub.model("anna/tiny").metadata["license"] == "mit"


def test_what_else_the_repository_holds_stays_as_does_its_visibility(push: Any, hub: Hub, run: Path) -> None:
    shown = push(run, MODEL, "--public")
    assert "everybody sees it" in shown.stdout
    hub.model("anna/tiny").commits.append(hub.model("anna/tiny").files | {"LICENSE": b"mine"})
    again = json.loads(push(run, MODEL, "--license", "apache-2.0", "--json").stdout)
    assert (again["private"], again["changed"]) == (False, True)
    assert hub.model("anna/tiny").files["LICENSE"] == b"mine"


def test_files_in_chunks_go_there_too_with_the_token_that_the_hubs_own_command_left(
    hub: Hub, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    done = pushed_by_a_process(hub, run, MODEL, HF_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert hub.chunks == 1
    assert hub.model("anna/tiny").files["samples/latest.png"] == hashlib.sha256(b"\x89PNG\0 one").hexdigest()


def test_an_autoencoder_brings_its_concepts(push: Any, hub: Hub, tmp_path: Path) -> None:
    push(tiny_autoencoder(tmp_path / "mind"), "hf:anna/mind")
    stored = hub.model("anna/mind")
    assert "concepts.json" in stored.files
    assert stored.metadata["pipeline_tag"] == "image-feature-extraction"
    assert stored.metadata["license"] == "unknown"


def test_a_job_becomes_a_data_set(push: Any, hub: Hub, tmp_path: Path) -> None:
    files = {
        "README.md": b"---\npretty_name: tiny\nlicense: unknown\ntags:\n- mintage\n---\n\n# 3 images\n",
        "plan.json": b"{}",
        "manifest.json": b"{}",
        "data/train-00000-of-00001.tar": b"\0shard",
        ".mintage/contact-sheet.png": b"\x89PNG\0",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)

    said = json.loads(push(tmp_path, "hf:anna/images", "--license", "mit", "--json").stdout)

    stored = hub.repositories["dataset", "anna/images"]
    assert (said["type"], said["url"]) == ("dataset", f"{hub.endpoint}/datasets/anna/images")
    assert set(stored.files) - {".gitattributes"} == set(files)
    assert stored.metadata["license"] == "mit"
    (tmp_path / "manifest.json").unlink()
    assert "only a sample job that has ended" in push(tmp_path, "hf:anna/images", status=2).stderr


@pytest.mark.parametrize(
    ("environment", "name", "status", "expected"),
    [
        ({"HF_TOKEN": ""}, MODEL, 2, "there is no token of the hub: log in with `hf auth login`, or set HF_TOKEN"),
        ({"HF_TOKEN": "hf_wrong"}, MODEL, 2, "the hub does not take the token: it is wrong, or has ended"),
        ({"HF_TOKEN": "hf_\x01wrong"}, MODEL, 2, "has characters that no token has"),
        ({"HF_TOKEN": READ_TOKEN}, MODEL, 2, "the token has no right to write to anna/tiny"),
        ({}, "hf:bob/tiny", 2, "it needs write access to what bob owns"),
        ({}, "anna/tiny", 2, "anna/tiny is not a name on the hub; expected hf:OWNER/NAME"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, MODEL, 1, "the hub at http://127.0.0.1:9 does not answer: "),
    ],
)
def test_what_is_wrong_is_one_line_in_a_users_words(
    environment: dict[str, str],
    name: str,
    status: int,
    expected: str,
    push: Any,
    hub: Hub,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    done = push(run, name, "--json", status=status)
    error = json.loads(done.stderr)["error"]
    assert expected in error
    assert (environment.get("HF_TOKEN") or TOKEN) not in error
    assert not done.stdout and not hub.repositories


@pytest.mark.parametrize(
    ("environment", "status", "expected"),
    [
        ({"HTTP_PROXY": "http://me:pass@127.0.0.1:9"}, 1, "does not answer, through the proxy that HTTP_PROXY names"),
        ({"HF_HUB_OFFLINE": "1"}, 2, "HF_HUB_OFFLINE forbids the network"),
    ],
)
def test_what_the_environment_forbids_is_named(
    environment: dict[str, str], status: int, expected: str, hub: Hub, run: Path
) -> None:
    done = pushed_by_a_process(hub, run, MODEL, HF_TOKEN=TOKEN, **environment)
    assert done.returncode == status and expected in done.stderr, done.stderr
    assert "me:pass" not in done.stderr and TOKEN not in done.stderr


@pytest.mark.parametrize(
    ("end", "answer", "status", "expected"),
    [
        ("/commit/main", (412, "A commit has happened since"), 1, "was changed by somebody else meanwhile; push again"),
        ("/repos/create", (409, "You already created this model repo"), 2, "the name anna/tiny is taken"),
        ("/repos/create", (429, "slow down"), 1, "the hub takes no more requests for a while"),
        ("/repos/create", (418, f"not with {TOKEN}"), 1, "the hub answered 418 (not with <token>)"),
    ],
)
def test_a_refusal_says_why(
    end: str, answer: tuple[int, str], status: int, expected: str, push: Any, hub: Hub, run: Path
) -> None:
    hub.refusals[end] = answer
    assert expected in push(run, MODEL, status=status).stderr


def test_a_push_that_was_cut_off_is_finished_by_the_next(push: Any, hub: Hub, run: Path) -> None:
    hub.refusals["/commit/main"] = (500, "out of order")
    push(run, MODEL, status=1)
    hub.refusals.clear()
    push(run, MODEL)
    assert "config.json" in hub.model("anna/tiny").files


def test_a_licence_that_the_hub_does_not_know_is_refused_in_its_words(push: Any, run: Path) -> None:
    assert '"license" must be one of' in push(run, MODEL, "--license", "mine", status=1).stderr


def test_a_repository_of_something_else_is_left_alone_unless_told(push: Any, hub: Hub, run: Path) -> None:
    hub.repositories["model", "anna/tiny"] = Stored(private=True)
    stored = hub.model("anna/tiny")
    stored.commits.append(stored.files | {"README.md": b"# Poems\n", "model.safetensors": b"\0"})

    assert "holds files that Mintage did not push" in push(run, MODEL, status=2).stderr
    push(run, MODEL, "--replace")
    assert stored.files["model.safetensors"] == b"\0"


def test_without_the_library_it_says_how_to_get_it(push: Any, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "needs the library of the hub; get it with" in push(run, MODEL, status=2).stderr
