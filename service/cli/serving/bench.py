"""`mintage bench`: how many images a second a loaded model answers with, and how fast.

mintage bench digits-generator                                       # closed loop: 8 clients ask for 16 images each
mintage bench digits-generator --clients 32 --images 1               # many callers of one image
mintage bench digits-generator --images 1 --rate 200                 # open loop: 200 calls a second at random moments
mintage bench digits-generator --images 1 --saturate                 # what it can do, then latency at half of that
mintage bench digits-classifier --encoding png --duration 30 --json  # a classifier that is sent PNG files
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service.cli.console import (
    DEFAULT_API,
    FAILED,
    ApiOption,
    JsonOption,
    connect,
    console,
    errors_console,
    fail,
    friendly_errors,
    table,
)
from service.cli.described import described
from service.cli.json_lines import print_json

if TYPE_CHECKING:
    from mintage.v1.models_pb2 import Model

    from service.cli.load.api_target import ApiTarget
    from service.cli.load.loops import Load
    from service.cli.load.measurement import Measurement

CLIENTS, CLIENTS_OF_A_RATE = 8, 64
CLIENTS_PER_PROCESS = 32
BUSY = 0.8  # cores that a process of clients may use before it may be the limit: Python has one lock per process

KindOption = Annotated[
    Literal["generate", "classify", "detect"] | None,
    typer.Option(help="What to ask. Default: what a model of its kind is for.", show_default=False),
]
ClientsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1024,
        help=f"Calls at once, each on a connection of its own. Default: {CLIENTS}; with --rate at most "
        f"{CLIENTS_OF_A_RATE}.",
        show_default=False,
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=100_000,
        help="Open loop: calls per second, at the random moments of a Poisson process. Latency then counts from the "
        "intended start. Default: closed loop, in which every client calls again as soon as it has its answer.",
        show_default=False,
    ),
]
ProcessesOption = Annotated[
    int,
    typer.Option(
        min=0, max=64, help=f"Processes that share the clients; 0 chooses one per {CLIENTS_PER_PROCESS} clients."
    ),
]


def bench(
    model: Annotated[str, typer.Argument(help="Name of a loaded model.")],
    *,
    kind: KindOption = None,
    images: Annotated[int, typer.Option(min=1, max=1024, help="Images per call.")] = 16,
    encoding: Annotated[
        Literal["raw", "png", "jpeg"], typer.Option(help="Of the images that are answered, or sent.")
    ] = "raw",
    clients: ClientsOption = None,
    rate: RateOption = None,
    saturate: Annotated[
        bool, typer.Option("--saturate", help="Double the clients until that gains nothing; then an open loop at half.")
    ] = False,
    duration: Annotated[float, typer.Option(min=0.1, max=86_400, help="Seconds that count, per load.")] = 10.0,
    warm_up: Annotated[float, typer.Option(min=0, max=3600, help="Seconds before them that do not.")] = 2.0,
    timeout: Annotated[float, typer.Option(min=0.001, max=60, help="Seconds of one call at most.")] = 30.0,
    processes: ProcessesOption = 0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of samples, sent images and random moments.")] = 0,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Put a load on a loaded model, and show images per second, latencies and errors.

    Nothing is tried again: every error counts. If the server runs on this machine, the load takes cores from it; the
    table says how many. Exit status 1 if no call succeeds.

    Example: mintage bench digits-generator --images 1 --saturate
    """
    from service.cli.load import processor
    from service.cli.load.clients import Clients
    from service.cli.load.loops import Load

    if rate and saturate:
        fail("--rate and --saturate exclude each other: --saturate chooses the rate itself")
    at_once = clients or (CLIENTS_OF_A_RATE if rate or saturate else CLIENTS)
    if processes > at_once:
        fail(f"--processes {processes} is more than there are clients, {at_once}")
    with friendly_errors():
        with connect(api) as client:
            target = _target(described(client, model), kind, api)
        target = replace(target, images=images, encoding=encoding, seed=seed, timeout_s=timeout)
        load = Load(clients=at_once, rate=rate or 0.0, warm_up_s=warm_up, seconds=duration, seed=seed)
        parts = processes or -(-at_once // CLIENTS_PER_PROCESS)
        meter: processor.Meter = processor.of_mintage if _is_local(api) else dict
        with Clients(parts) as ours:

            def run(each: Load) -> Measurement:
                with errors_console().status(_load_text(each)):
                    return ours.run(target, each, meter)

            found = _saturated(run, load) if saturate else [run(load)]
    if as_json:
        print_json(_as_dict(target, parts, found))
    else:
        _print_table(target, found)
        _print_notes(found, parts)
    if not any(one.calls for one in found):
        raise typer.Exit(FAILED)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(bench)


def _target(model: Model, kind: Literal["generate", "classify", "detect"] | None, api: str) -> ApiTarget:
    from service.cli.load.api_target import ApiTarget

    fits = {"KIND_GENERATOR": "generate", "KIND_CLASSIFIER": "classify", "KIND_NEURONS": "detect"}
    own: Any = fits.get(type(model).Kind.Name(model.kind))
    if own is None or (kind or own) != own:
        is_a = type(model).Kind.Name(model.kind).removeprefix("KIND_").lower()
        fail(f"{model.name} is of kind {is_a}, which cannot {kind or 'be asked before it is ready'}")
    return ApiTarget(
        address=api,
        model=model.name.removeprefix("models/"),
        kind=own,
        images=1,
        encoding="raw",
        shape=(model.shape.height, model.shape.width, model.shape.channels),
        client=os.environ.get("MINTAGE_CLIENT", ""),
    )


def _saturated(run: Callable[[Load], Measurement], load: Load) -> list[Measurement]:
    """Find saturation, then measure at half of it."""
    from service.cli.load.saturation import best_of, saturate

    found = saturate(run, load)
    half = best_of(found).calls_per_second / 2
    return [*found, run(replace(load, rate=half))] if half else found


def _load_text(load: Load) -> str:
    return f"{load.rate:,.1f} calls/s" if load.rate else f"{load.clients} clients"


def _is_local(api: str) -> bool:
    return api.rpartition(":")[0].strip("[]") in ("127.0.0.1", "localhost", "::1", "")


def _as_dict(target: ApiTarget, processes: int, found: Sequence[Measurement]) -> dict[str, Any]:
    asked = {"model": target.model, "kind": target.kind, "images": target.images, "encoding": target.encoding}
    return asked | {"processes": processes, "cores": os.cpu_count(), "loads": [one.to_dict() for one in found]}


def _print_table(target: ApiTarget, found: Sequence[Measurement]) -> None:
    numbers = ("images/s", "calls/s", "p50", "p90", "p99", "max", "calls", "errors")
    rows = [
        (
            _load_text(one.load),
            f"{one.images_per_second:,.0f}",
            f"{one.calls_per_second:,.1f}",
            *(f"{value:,.1f}" for value in (one.p50_ms, one.p90_ms, one.p99_ms, one.max_ms)),
            f"{one.calls:,}",
            f"{sum(one.errors.values()):,}",
        )
        for one in found
    ]
    title = f"{target.kind} {target.model}, {target.images} images per call, {target.encoding}; latencies in ms"
    console().print(title)
    console().print(table(("load", *numbers), rows, right=numbers))


def _print_notes(found: Sequence[Measurement], processes: int) -> None:
    """Say which errors came, who used the processor, and whether the clients may have been the limit."""
    last = found[-1]
    for code, count in sorted(last.errors.items()):
        console().print(f"{count:,} x {code}: {last.messages.get(code, '')}", markup=False)
    used = ", ".join(f"{role} {cores:.2f}" for role, cores in last.cores.items())
    console().print(f"cores in use during the last load, of {os.cpu_count()}: {used}")
    if max(one.cores["client"] for one in found) > BUSY * processes:
        console().print("the clients may have been the limit: give them more --processes")
