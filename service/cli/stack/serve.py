"""`mintage serve ...`: one process of the stack in the foreground. `mintage check ...`: whether that process works."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from service.cli.console import FAILED, fail, friendly_errors


class Role(StrEnum):
    """The processes of the product."""

    api = "api"
    torchserve = "torchserve"
    dispatcher = "dispatcher"
    worker = "worker"


def serve(role: Annotated[Role, typer.Argument(help="The process.")]) -> None:
    """Run one process until SIGTERM; its settings are MINTAGE_* variables (see `mintage settings`)."""
    from service.settings import settings

    with friendly_errors():
        if role is Role.api:
            from service.api import server

            server.run(settings())
        elif role is Role.torchserve:
            from service.processes import torchserve

            torchserve.run(settings())
        elif role is Role.dispatcher:
            from service.jobs.dispatch import dispatcher

            dispatcher.serve(settings())
        else:
            from service.jobs.workers import worker

            worker.run(settings())


def check(role: Annotated[Role, typer.Argument(help="The process.")]) -> None:
    """Check whether a process does its work; exit status 0 if so, 1 if not. For container health checks."""
    import asyncio

    from service.processes import checks
    from service.settings import settings

    with friendly_errors():
        problem = asyncio.run(checks.problem(role.value, settings()))
    if problem is not None:
        fail(f"{role.value}: {problem}", FAILED)
    typer.echo(f"{role.value}: ok")


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(serve)
    app.command()(check)
