"""`mintage health`: whether the API works, for people and for health checks.

mintage health                                  # everything
mintage health --service mintage.v1.JobService  # one service
mintage health --service models/digits          # one model
"""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.console import DEFAULT_API, FAILED, ApiOption, JsonOption, connect, friendly_errors
from service.cli.json_lines import print_json


def health(
    service: Annotated[str, typer.Option(help="Full name of a service, or models/NAME. Default: everything.")] = "",
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds to wait at most.")] = 5.0,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Check whether the API works: exit status 0 if so, 1 if not, 2 if it does not know that service.

    Example: mintage health
    mintage health --service models/digits-generator
    """
    with friendly_errors(), connect(api) as client:
        serving = client.health(service, timeout_s=timeout)
    status = "SERVING" if serving else "NOT_SERVING"
    if as_json:
        print_json({"service": service, "status": status})
    else:
        typer.echo(status)
    raise typer.Exit(0 if serving else FAILED)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(health)
