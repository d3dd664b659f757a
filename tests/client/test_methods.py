"""Both clients have the same methods, and each one says what it raises."""

from __future__ import annotations

import inspect
import re

import pytest
from mintage import errors
from mintage.client import AsyncClient, Client

METHODS = sorted(name for name in vars(Client) if not name.startswith("_") and name != "close")
RAISES = re.compile(r"^ +(\w+(?:, \w+)*): ", re.MULTILINE)


def test_both_clients_have_the_same_methods() -> None:
    assert len(METHODS) == 51
    assert sorted(name for name in vars(AsyncClient) if not name.startswith("_") and name != "close") == METHODS
    for name in METHODS:
        ours, theirs = getattr(Client, name), getattr(AsyncClient, name)
        assert (ours.__doc__, inspect.signature(ours)) == (theirs.__doc__, inspect.signature(theirs))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_lists_the_errors_that_it_raises(name: str) -> None:
    text = inspect.getdoc(getattr(Client, name)) or ""
    listed = RAISES.findall(text.partition("Raises:\n")[2])
    names = {error for line in listed for error in line.split(", ")}
    assert names and all(
        error == "OSError" or issubclass(getattr(errors, error), errors.ClientError) for error in names
    )


def test_a_method_shows_its_parameters() -> None:
    with Client("127.0.0.1:1") as client:
        assert (
            str(inspect.signature(client.classify))
            == "(model: 'str', images: 'Pictures', *, timeout_s: 'float | None' = None)"
        )
        assert client.classify.__name__ == "classify"
