"""Writing again what a job is known by: its plan, and the listing of the folder that it scores."""

from __future__ import annotations

from pathlib import Path

from service.errors import AlreadyExists, FailedPrecondition
from service.jobs.plan import PLAN_FILE, Plan, PlanError, read_plan
from service.jobs.sources.inputs import InputFolder, SourceError
from service.jobs.sources.listing import file_name, list_folder
from service.jobs.storage.failures import translated
from service.jobs.storage.output import Output, file_digest
from service.jobs.storage.store import Store


def restore_plan(store: Store, inputs: Path, plan: Plan) -> bool:
    """Write the plan of a finished job again if it is missing or damaged, and first the listing beside it; blocks.

    Args:
        store: where jobs write.
        inputs: the folder below which folders may be scored.
        plan: as the ledger has it.

    Returns: whether there was anything to write.

    Raises:
        AlreadyExists: if the folder belongs to another job by now.
        FailedPrecondition: if the folder cannot be written, or the listing is gone and what it listed has changed.
        ResourceExhausted: if the disk is full.
    """
    output = store.output(plan.prefix)
    with translated():
        found = output.read(PLAN_FILE)
        _check_owner(plan, found)
        listed = plan.scoring is None or not plan.scoring.source_listing or _is_listed(output, plan)
        if found == plan.to_json() and listed:
            return False
        if not listed:
            _write(output, _listing_name(plan), _listing(inputs, plan))
        _write(output, PLAN_FILE, plan.to_json())
        return True


def _check_owner(plan: Plan, found: bytes | None) -> None:
    try:
        owner = read_plan(found).job if found else plan.job
    except PlanError:
        owner = plan.job
    if owner != plan.job:
        text = f"the output folder {plan.prefix} now belongs to jobs/{owner}; move that job's folder away first"
        raise AlreadyExists(text, reason="PREFIX_TAKEN")


def _is_listed(output: Output, plan: Plan) -> bool:
    assert plan.scoring is not None  # noqa: S101 - only score jobs have a listing
    try:
        with output.open(_listing_name(plan)) as file:
            return file_digest(file) == plan.scoring.source_listing
    except FileNotFoundError:
        return False


def _listing(inputs: Path, plan: Plan) -> bytes:
    """List the folder again; it must be the same list."""
    assert plan.scoring is not None  # noqa: S101 - as above
    folder = plan.scoring.source_folder
    try:
        listing = list_folder(InputFolder(inputs, folder))
    except (FileNotFoundError, SourceError) as error:
        raise FailedPrecondition(f"{folder} cannot be listed again: {error}", reason="SOURCE_DAMAGED") from error
    if listing.digest != plan.scoring.source_listing:
        text = f"the list of what was scored is lost, and {folder} was changed since; create the job anew"
        raise FailedPrecondition(text, reason="SOURCE_DAMAGED")
    return listing.data


def _listing_name(plan: Plan) -> str:
    assert plan.scoring is not None  # noqa: S101 - as above
    return file_name(plan.scoring.source_listing)


def _write(output: Output, name: str, data: bytes) -> None:
    if not output.put(name, data):
        with output.temporary(name) as temporary:
            temporary.file.write(data)
            output.replace(temporary, name)
