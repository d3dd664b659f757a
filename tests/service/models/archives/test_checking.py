"""A bad archive is refused with what is wrong with it, before the model server sees it."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from handlers.archive import pack
from service.errors import FailedPrecondition
from service.models.archives import checking
from tests.support.archives import members_of, write_archive, zipped
from tests.support.runs import tiny_run

Members = dict[str, bytes]


def refusal(path: Path) -> str:
    with pytest.raises(FailedPrecondition) as caught:
        checking.check(path)
    assert caught.value.reason == "ARCHIVE_UNFIT"
    assert path.name in caught.value.message
    return caught.value.message


def test_what_mintage_packs_is_fit(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run")
    checking.check(pack(run, "generator", tmp_path / "a.mar").path)
    checking.check(pack(run, "classifier", tmp_path / "b.mar").path)
    checking.check(write_archive(tmp_path / "c.mar", "generator"))


@pytest.mark.parametrize("content", [b"", b"no archive", bytes(100_000)])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mar").write_bytes(content)
    assert "no archive, or not a whole one" in refusal(tmp_path / "a.mar")


def test_a_truncated_archive_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    whole = write_archive(tmp_path / "whole.mar", "generator").read_bytes()
    for length in range(0, len(whole) - 1, 37):
        (tmp_path / "a.mar").write_bytes(whole[:length])
        refusal(tmp_path / "a.mar")


def test_a_byte_that_changed_is_found(tmp_path: Path) -> None:
    whole = bytearray(write_archive(tmp_path / "a.mar", "generator with a card to damage").read_bytes())
    whole[whole.index(b"damage")] ^= 1
    (tmp_path / "a.mar").write_bytes(whole)
    assert "card.md is damaged" in refusal(tmp_path / "a.mar")


def without(name: str) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        del members[name]

    return change


def holding(name: str, content: bytes) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        members[name] = content

    return change


def manifest(**values: object) -> bytes:
    model = {"handler": "generator.py", "serializedFile": "weights.safetensors", **values}
    return json.dumps({"model": model}).encode()


def safetensors(length: int, header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", length) + header + data


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (without("MAR-INF/MANIFEST.json"), "it lacks MAR-INF/MANIFEST.json"),
        (without("weights.safetensors"), "it lacks weights.safetensors"),
        (without("generator.py"), "it lacks generator.py"),
        (without("config.json"), "it lacks config.json"),
        (holding("MAR-INF/MANIFEST.json", b"{not json"), "MANIFEST.json is no JSON object"),
        (holding("MAR-INF/MANIFEST.json", b"[" * 100_000), "MANIFEST.json is no JSON object"),
        (holding("MAR-INF/MANIFEST.json", b"{}"), "names None as handler"),
        (holding("MAR-INF/MANIFEST.json", manifest(handler="../../evil.py")), "names '../../evil.py' as handler"),
        (holding("MAR-INF/MANIFEST.json", manifest(handler="image_classifier")), "as handler, not 'generator.py'"),
        (holding("MAR-INF/MANIFEST.json", manifest(configFile="model-config.yaml")), "settings or requirements"),
        (holding("config.json", b"1"), "config.json is no JSON object"),
        (holding("weights.safetensors", b"\x80\x04pickle"), "weights.safetensors is cut off"),
        (holding("weights.safetensors", safetensors(2**62, b"{}")), "weights.safetensors is cut off"),
        (holding("weights.safetensors", safetensors(2, b"{}")), "weights.safetensors is cut off"),
        (
            holding("weights.safetensors", safetensors(34, b'{"a": {"data_offsets": [0, 800]}}  ', bytes(4))),
            "weights.safetensors is cut off",
        ),
        (holding("../../escaped", b"x"), "leads out of it"),
        (holding("/tmp/escaped", b"x"), "leads out of it"),
        (holding("a\\..\\..\\b", b"x"), "leads out of it"),
        (lambda members: members.update({f"{n}.txt": b"" for n in range(100)}), "64 are the most"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: Callable[[Members], None], what: str) -> None:
    members = members_of("generator")
    change(members)
    (tmp_path / "a.mar").write_bytes(zipped(members))
    assert what in refusal(tmp_path / "a.mar")


def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path: Path) -> None:
    members = {**members_of("generator"), "big.bin": bytes(50_000_000)}
    (tmp_path / "a.mar").write_bytes(zipped(members, zipfile.ZIP_DEFLATED))
    assert "bytes hold 50," in refusal(tmp_path / "a.mar")


def test_a_link_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.mar", "w") as archive:
        for name, content in members_of("generator").items():
            archive.writestr(name, content)
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert "'link' leads out of it" in refusal(tmp_path / "a.mar")


def test_an_archive_of_another_version_says_so(tmp_path: Path) -> None:
    members = {**members_of("generator"), "serving.json": b'{"format": 1, "kind": "generator"}'}
    (tmp_path / "a.mar").write_bytes(zipped(members))
    with pytest.raises(FailedPrecondition, match="packed by another version"):
        checking.check(tmp_path / "a.mar")
