"""What is no message of a method, or of none, is told as bad input."""

from __future__ import annotations

import grpc
import pytest

from tests.support.intercepted import METHOD, nothing, served
from tests.support.world import failure_of, run


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b"\x0a\x02\xff\xfe", b"\x0a\x7f"])
def test_bytes_that_are_no_message_are_bad_input(raw: bytes) -> None:
    async def test() -> None:
        async with served(nothing) as at:
            call = at.channel.unary_unary(METHOD)
            failure = await failure_of(call(raw))
        assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
        assert failure.reason == "INVALID_FIELDS"

    run(test())


def test_an_unknown_method_is_unimplemented() -> None:
    async def test() -> None:
        async with served(nothing) as at:
            failure = await failure_of(at.channel.unary_unary("/mintage.v1.GenerationService/Nothing")(b""))
        assert failure.code is grpc.StatusCode.UNIMPLEMENTED

    run(test())
