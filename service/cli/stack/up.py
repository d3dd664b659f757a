"""`mintage up`: the whole stack on this machine until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import interrupts
from service.cli.console import FAILED, JsonOption, errors_console, fail, friendly_errors
from service.cli.json_lines import print_json
from service.cli.stack import shipped

if TYPE_CHECKING:
    from service.processes.stack import Stack

OF_THE_STACK = {
    *("state_dir", "archive_dir", "api_address", "redis_url", "load_models", "worker_name"),
    *("torchserve_inference", "torchserve_management", "stack_id"),
}
LOADING_S = 120.0  # longest wait for the shipped models


def up(
    state: Annotated[
        Path | None, typer.Option(help="Folder for models, outputs and logs. Default: ~/.local/state/mintage.")
    ] = None,
    address: Annotated[str, typer.Option(help="HOST:PORT of the API; port 0 chooses a free one.")] = "127.0.0.1:50051",
    workers: Annotated[
        int,
        typer.Option(min=0, max=64, help="Workers for bulk jobs; 0 chooses one more than there are cores, at most 8."),
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Run Valkey, TorchServe, the API, the dispatcher and the workers until Ctrl-C, with the shipped models.

    Example: mintage up --state var/mintage --workers 2
    """
    from service.addresses import read_address
    from service.processes.stack import Stack, default_workers
    from service.settings import Settings

    interrupts.install()
    with friendly_errors():
        try:
            read_address(address, lowest_port=0)
        except ValueError as error:
            fail(f"--address {error}")
        folder = state or Settings().state_dir
        try:
            own = inherited_settings()
            with Stack(folder, api_address=address, workers=workers or default_workers(), overrides=own) as stack:
                with coming_up():
                    stack.claim()  # before models are packed, which takes a while
                wanted = stack.overrides["MINTAGE_LOAD_MODELS"] = shipped.pack_missing(folder / "archives")
                bring_up(stack)
                wait_for_models(stack, {pair.partition("=")[0] for pair in wanted.split(",") if pair})
                wait_for_ctrl_c(stack, as_json=as_json)
        except KeyboardInterrupt:
            errors_console().print("stopped; nothing is left running")


@contextlib.contextmanager
def coming_up() -> Iterator[None]:
    """End the command if a process does not start, or cannot."""
    from service.processes.supervisor import ProcessFailedError

    try:
        yield
    except ProcessFailedError as error:
        typer.echo(str(error), err=True)
        fail("the stack did not come up", FAILED)


def inherited_settings() -> dict[str, str]:
    """Return the MINTAGE_* variables that apply to the stack: all but those that it chooses itself."""
    from service.settings import Settings

    names = {f"MINTAGE_{field.upper()}" for field in set(Settings.model_fields) - OF_THE_STACK}
    return {name: value for name, value in os.environ.items() if name in names}


def bring_up(stack: Stack) -> None:
    """Start the stack with one line or spinner per process; if one fails, the command ends with that process's log."""
    output = errors_console()
    with output.status("starting") as status:

        def step(name: str) -> None:
            interrupts.check()
            status.update(f"starting {name}")
            if not output.is_terminal:
                output.print(f"starting {name}")

        with coming_up():
            stack.start(step)
    for notice in stack.notices:
        output.print(notice, soft_wrap=True)


def wait_for_models(stack: Stack, names: set[str]) -> None:
    """Wait until the shipped models answer; one that takes too long is left to the API, which keeps trying."""
    from mintage.client import Client
    from mintage.v1 import models_pb2

    output = errors_console()
    deadline_s = time.monotonic() + LOADING_S
    with output.status("") as status, Client(stack.api_address) as client:
        missing = names
        while missing and time.monotonic() < deadline_s:
            status.update(f"loading {', '.join(sorted(missing))}")
            interrupts.check()
            time.sleep(0.2)
            ready = {model.name for model in client.models() if model.state == models_pb2.Model.STATE_READY}
            missing = {name for name in names if f"models/{name}" not in ready}
    if missing:
        output.print(f"not ready yet: {', '.join(sorted(missing))}; `mintage models ls` says more")


def wait_for_ctrl_c(stack: Stack, *, as_json: bool) -> None:
    """Print where things are, then wait until a signal raises KeyboardInterrupt."""
    if as_json:
        places = {"archives": str(stack.settings.archives), "outputs": stack.settings.outputs}
        print_json({"api": stack.api_address, **places, "logs": str(stack.state / "logs")})
        interrupts.wait()
    output = errors_console()
    output.print(f"[bold]Mintage is up[/bold]; gRPC API on {stack.api_address}, Ctrl-C stops everything")
    output.print(
        f"  archives  {stack.settings.archives}\n  outputs   {stack.settings.outputs}\n  logs      {stack.state}/logs"
    )
    if stack.api_address != "127.0.0.1:50051":
        output.print(f"  in other shells: export MINTAGE_API_ADDRESS={stack.api_address}")
    output.print("  next: mintage models ls")
    interrupts.wait()


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(up)
