"""Pages of lists: how many items, after which one they begin, and the opaque token of the next page."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from service.validation import Violations

T = TypeVar("T")

DEFAULT_PAGE, MAX_PAGE = 100, 1000  # items; the largest page bounds the work of one call and the size of its answer


def page_size(size: int, violations: Violations, *, default: int = DEFAULT_PAGE) -> int:
    """Return how many items a page holds at most; 0 chooses the default. Notes `page_size` if it is negative."""
    if size < 0:
        violations.add("page_size", f"must not be negative, as {size:,} is")
    return min(size or default, MAX_PAGE)


def page_token(name: str) -> str:
    """Return the token of the page that begins after a resource name."""
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def page_start(token: str, pattern: re.Pattern[str], violations: Violations) -> str:
    """Return where a page begins: the first group of `pattern` in the resource name that `page_token` was given.

    Returns '' for no token, which is the first page. Notes `page_token` if `page_token` did not make it.
    """
    if not token:
        return ""
    try:
        name = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
        match = pattern.fullmatch(name)
    except (binascii.Error, ValueError):  # ValueError: the token or the name is not text
        match = None
    if match is None:
        violations.add("page_token", "must be the next_page_token of an earlier answer")
        return ""
    return match[1]


def first_page(items: Sequence[T], size: int, name: Callable[[T], str]) -> tuple[Sequence[T], str]:
    """Cut the first page off a list; `name` gives an item's resource name.

    Returns: the items of the page, and the token of the next one, '' if this is the last.
    """
    page = items[:size]
    return page, page_token(name(page[-1])) if len(items) > size else ""
