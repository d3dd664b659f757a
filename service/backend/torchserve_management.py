"""TorchServe's management calls, none of which waits long for a TorchServe that has stopped answering.

A call that starts workers may take minutes. So TorchServe is asked meanwhile, every second, for a list of models,
which it has at once while it works: if that does not come either, it hangs, and so the call is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import grpc
from mintage.torchserve import management_pb2, management_pb2_grpc

from service.backend.model_server import is_silence, silence
from service.backend.torchserve_errors import management_error
from service.errors import Unavailable

T = TypeVar("T")

MANAGEMENT_TIMEOUT_S = 10.0  # for calls that change nothing in a worker, and on top of the time that workers need
ASK_S = 1.0  # between two looks whether it still answers


class Management:
    """The management service at the other end of a channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = management_pb2_grpc.ManagementAPIsServiceStub(channel)

    async def call(
        self, method: str, request: object, backend_name: str, *, timeout_s: float = MANAGEMENT_TIMEOUT_S
    ) -> str:
        """Make one call and return its message.

        Raises:
            MintageError: what `management_error` makes of its failure.
        """
        try:
            return await self.attempt(method, request, timeout_s=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise management_error(error, backend_name) from error

    async def attempt(self, method: str, request: object, *, timeout_s: float) -> str:
        """As `call`, but with TorchServe's own errors.

        Raises:
            AioRpcError: if TorchServe answers with an error, or a short call not in time.
            Unavailable: if it stops answering altogether, or answers other calls while a long one takes too long.
        """
        made = getattr(self._stub, method)(request, timeout=timeout_s)
        if timeout_s <= MANAGEMENT_TIMEOUT_S:
            return str((await made).msg)
        try:
            return str((await self.while_answering(made)).msg)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
            text = f"the model server has not started what was asked for within {timeout_s:g} s"
            raise Unavailable(text, reason="MODEL_NOT_STARTED") from error

    async def while_answering(self, work: Awaitable[T]) -> T:
        """Wait for something that TorchServe does, as long as it answers at all.

        Raises:
            Unavailable: if it stops answering.
        """
        working, listening = asyncio.ensure_future(_awaited(work)), asyncio.create_task(self._silent())
        try:
            await asyncio.wait((working, listening), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise silence()
            return await working
        finally:
            working.cancel()
            listening.cancel()
            await asyncio.gather(working, listening, return_exceptions=True)

    async def _silent(self) -> None:
        """Return once TorchServe does not answer."""
        while True:
            await asyncio.sleep(ASK_S)
            try:
                await self._stub.ListModels(management_pb2.ListModelsRequest(limit=1), timeout=MANAGEMENT_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if is_silence(management_error(error, "")):
                    return


async def _awaited(work: Awaitable[T]) -> T:
    return await work
