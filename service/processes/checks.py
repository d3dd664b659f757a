"""Whether a process does its work, seen from outside: `mintage check`, container health checks, start-up.

Each check does what the process is for, with a deadline; a process that merely exists does not pass.
"""

from __future__ import annotations

import grpc
import redis.asyncio
import redis.exceptions
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mintage.torchserve import management_pb2, management_pb2_grpc

from service.addresses import NO_PROXY, read_address
from service.backend.torchserve import TorchServe
from service.errors import MintageError
from service.jobs.ledger import heartbeats
from service.settings import Settings

TIMEOUT_S = 5.0  # of one check: a process that takes longer does not do its work


async def problem(
    role: str, settings: Settings, *, worker: str | None = None, pid: int | None = None, service: str = ""
) -> str | None:
    """Return why a process does not do its work, or None if it does.

    Args:
        role: `valkey`, `torchserve`, `api`, `dispatcher` or `worker`.
        settings: Where things are.
        worker: Name of the worker; default is this host's.
        pid: Process id of the dispatcher or the worker; default is any.
        service: What of the API must serve, an entry of its health service; default is everything.
    """
    try:
        match role:
            case "torchserve":
                return await _torchserve_problem(settings)
            case "api":
                return await _api_problem(settings, service)
            case _:
                return await _redis_problem(role, settings, worker, pid)
    except (MintageError, redis.exceptions.RedisError, grpc.aio.AioRpcError, OSError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


async def _torchserve_problem(settings: Settings) -> str | None:
    """TorchServe lists its models and each of them makes a real forward pass."""
    server = TorchServe.from_settings(settings)
    try:
        for name in await server.list_models():
            await server.wait_until_ready(name, TIMEOUT_S)
    finally:
        await server.close()
    return None


def torchserve_answers(settings: Settings) -> bool:
    """Say whether TorchServe answers at all, whatever becomes of its models: it lists one."""
    address = str(read_address(settings.torchserve_management).reachable)
    with grpc.insecure_channel(address, options=[NO_PROXY]) as channel:
        stub = management_pb2_grpc.ManagementAPIsServiceStub(channel)
        try:
            stub.ListModels(management_pb2.ListModelsRequest(limit=1), timeout=TIMEOUT_S)
        except grpc.RpcError:
            return False
    return True


async def _api_problem(settings: Settings, service: str) -> str | None:
    """The API's own health service says that the entry serves, and that it is the API of the settings' stack."""
    address = str(read_address(settings.api_address).reachable)
    async with grpc.aio.insecure_channel(address, options=[NO_PROXY]) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        if settings.stack_entry:
            await check(health_pb2.HealthCheckRequest(service=settings.stack_entry), timeout=TIMEOUT_S)
        answer = await check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    return None if serving else health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


async def _redis_problem(role: str, settings: Settings, worker: str | None, pid: int | None) -> str | None:
    """Redis answers; the dispatcher or the worker has sent a heartbeat recently."""
    url = settings.redis_url.get_secret_value()
    async with redis.asyncio.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S) as client:
        if role == "valkey":
            return None if await client.ping() else "no PONG"
        return await heartbeats.problem(client, role, worker, pid)
