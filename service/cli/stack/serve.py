"""`mintage serve ...`: one process of the stack in the foreground. `mintage check ...`: whether that process works."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from service.cli import interrupts
from service.cli.console import FAILED, JsonOption, fail, friendly_errors
from service.cli.json_lines import print_json

JsonLogOption = Annotated[bool, typer.Option("--json", help="Print one JSON object per line: log as JSON.")]


class Role(StrEnum):
    """The processes of the product."""

    api = "api"
    torchserve = "torchserve"
    dispatcher = "dispatcher"
    worker = "worker"


def serve(role: Annotated[Role, typer.Argument(help="The process.")], as_json: JsonLogOption = False) -> None:
    """Run one process until SIGTERM; its settings are MINTAGE_* variables (see `mintage settings`).

    Example: mintage serve api
    """
    from service.settings import settings

    interrupts.leave_sigterm()
    with friendly_errors():
        if as_json:
            os.environ["MINTAGE_LOG_FORMAT"] = "json"
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


def check(role: Annotated[Role, typer.Argument(help="The process.")], as_json: JsonOption = False) -> None:
    """Check whether a process does its work; exit status 0 if so, 1 if not. For container health checks.

    Example: mintage check worker
    """
    import asyncio

    from service.processes import checks
    from service.settings import settings

    with friendly_errors():
        problem = asyncio.run(checks.problem(role.value, settings()))
    if problem is not None:
        fail(f"{role.value}: {problem}", FAILED)
    if as_json:
        print_json({"process": role.value, "ok": True})
    else:
        typer.echo(f"{role.value}: ok")


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(serve)
    app.command()(check)
