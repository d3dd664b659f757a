"""How the functions that say what is asked become the methods of both clients."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


def method(make: Callable[P, Asked], ask: Callable[[Any, Asked], Answer]) -> Callable[Concatenate[Any, P], Answer]:
    """Make a method with the signature and docstring of `make`.

    Args:
        make: Says what is asked, from the arguments of the method.
        ask: How a connection asks it.
    """

    def call(client: Any, /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return ask(client.connection, make(*args, **kwargs))

    client = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    parameters = inspect.signature(make).parameters.values()
    call.__name__, call.__doc__ = make.__name__, make.__doc__
    vars(call)["__signature__"] = inspect.Signature([client, *parameters])
    return call
