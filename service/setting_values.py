"""Values of settings: what a folder, an address, a URL or a key must look like, and what is said of any other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from service.addresses import read_address

_OUTPUT_URL = re.compile(r"s3://[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?", re.ASCII)
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._-]*)*", re.ASCII)
_REGION = re.compile(r"[A-Za-z0-9-]+", re.ASCII)
_KEY = re.compile(r"[!-~]*", re.ASCII)
_REDIS_SCHEMES = ("redis", "rediss")


def _checked_folder(folder: Path) -> Path:
    """Refuse what Java, Valkey or a line of a configuration file cannot hold."""
    text = str(folder)
    if not text.isprintable() or any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise ValueError(f"must be a path in UTF-8 without control characters, not {text!a}")
    return folder


def _checked_address(text: str) -> str:
    return str(read_address(text))


def _checked_listener(text: str) -> str:
    return str(read_address(text, lowest_port=0))


def _checked_output(value: str) -> str:
    if "://" in value and not _OUTPUT_URL.fullmatch(value):
        rule = "a folder or s3://bucket/prefix, with letters, digits and -_. in both"
        raise ValueError(f"must be {rule}, not {value!r}")
    return value


def _checked_redis(value: SecretStr) -> SecretStr:
    if not _is_redis(value.get_secret_value()):
        raise ValueError("must be redis://host:port/0 or rediss://:password@host:port/0")
    return value


def _checked_endpoint(value: str) -> str:
    if value and not (_ENDPOINT.fullmatch(value) and _has_host(value)):
        raise ValueError("must be https://host or https://host:port, without a user or a password")
    return value


def _checked_region(value: str) -> str:
    if not _REGION.fullmatch(value):
        raise ValueError(f"must be the name of a region, such as us-east-1, not {value!r}")
    return value


def _checked_key(value: SecretStr) -> SecretStr:
    if not _KEY.fullmatch(value.get_secret_value()):
        raise ValueError("holds a space, a line break or another character that no key has")
    return value


def _is_redis(url: str) -> bool:
    """Whether a URL names a Redis, and one of its databases if any."""
    try:
        parts = urlsplit(url)
        database = parts.path.removeprefix("/")
        return parts.scheme in _REDIS_SCHEMES and _has_host(url) and (not database or database.isdecimal())
    except ValueError:
        return False


def _has_host(url: str) -> bool:
    """Whether a URL names a host, and a port that there can be if it names one."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


Folder = Annotated[Path, AfterValidator(_checked_folder)]
Target = Annotated[str, AfterValidator(_checked_address)]  # host:port of a process
Listener = Annotated[str, AfterValidator(_checked_listener)]  # the same, where port 0 chooses a free one
OutputPlace = Annotated[str, AfterValidator(_checked_output)]  # a folder, or s3://bucket/prefix
RedisUrl = Annotated[SecretStr, AfterValidator(_checked_redis)]
Endpoint = Annotated[str, AfterValidator(_checked_endpoint)]  # http(s)://host:port
Region = Annotated[str, AfterValidator(_checked_region)]
Key = Annotated[SecretStr, AfterValidator(_checked_key)]
