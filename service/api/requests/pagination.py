"""Pages of lists that are in order of their names."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from service.validation import Violations

T = TypeVar("T")

DEFAULT_PAGE, LARGEST_PAGE = 100, 1000


def begin(page_size: int, page_token: str, pattern: re.Pattern[str], violations: Violations) -> str:
    """Check what a page is asked by.

    Args:
        page_size: at most so many items; 0 leaves it to us.
        page_token: what `page` gave; empty for the first page.
        pattern: of the resource names that tokens hold; its first group is the name.
        violations: where wrong fields are noted.

    Returns: the name after which the page begins, empty for the first one.
    """
    if page_size < 0:
        violations.add("page_size", f"must not be negative, as {page_size:,} is")
    if not page_token:
        return ""
    try:
        match = pattern.fullmatch(base64.b64decode(page_token.encode(), altchars=b"-_", validate=True).decode())
    except (binascii.Error, UnicodeError):
        match = None
    if match is None:
        violations.add("page_token", "is not one that this server gave")
        return ""
    return match[1]


def page(items: Sequence[T], page_size: int, resource: Callable[[T], str]) -> tuple[Sequence[T], str]:
    """Cut the first page off what comes after a token; `resource` gives an item's resource name.

    Returns: the items of the page, and the token of the next one, empty if it is the last.
    """
    size = min(page_size or DEFAULT_PAGE, LARGEST_PAGE)
    first = items[:size]
    if len(items) <= size:
        return first, ""
    return first, base64.urlsafe_b64encode(resource(first[-1]).encode()).decode()


_TOKENS = {"job": re.compile(r"job:([a-z0-9]{1,40})"), "shard": re.compile(r"shard:([0-9]{1,9})")}


def page_token(kind: str, value: str) -> str:
    """Return an opaque token for where a page ends."""
    return base64.urlsafe_b64encode(f"{kind}:{value}".encode()).decode().rstrip("=")


def token_value(kind: str, token: str, violations: Violations) -> str:
    """Return what `page_token` was given; '' for no token; notes `page_token` if it is none of ours."""
    if not token:
        return ""
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars="-_", validate=True).decode("ascii")
        match = _TOKENS[kind].fullmatch(text)
    except (binascii.Error, ValueError):
        match = None
    if match is None:
        violations.add("page_token", "must be the next_page_token of an earlier answer")
        return ""
    return match[1]
