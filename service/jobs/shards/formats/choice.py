"""Choosing the format of a plan; `open_images` reads the images of any shard."""

from __future__ import annotations

from contextlib import AbstractContextManager

from service.errors import FailedPrecondition
from service.jobs.plan import Plan
from service.jobs.shards.formats.folder import FolderLayout
from service.jobs.shards.formats.layout import ImageLayout, ImageReader, Layout
from service.jobs.shards.formats.npz import NpzLayout
from service.jobs.shards.formats.parquet import ParquetLayout
from service.jobs.shards.formats.scores import TensorLayout
from service.jobs.shards.formats.tar import TarLayout
from service.jobs.storage.output import Output, OutputError

_IMAGES: dict[str, type[ImageLayout]] = {
    "webdataset-png": TarLayout,
    "png-folder": FolderLayout,
    "parquet": ParquetLayout,
    "npz": NpzLayout,
}


def layout_of(plan: Plan) -> Layout:
    """Return how the shards of a job are laid out."""
    return image_layout_of(plan) if plan.sampling else TensorLayout(plan)


def image_layout_of(plan: Plan) -> ImageLayout:
    """Return how the shards of a sample job are laid out.

    Raises:
        OutputError: if it is not a sample job.
    """
    layout = _IMAGES.get(plan.format)
    if plan.sampling is None or layout is None:
        raise OutputError(f"jobs/{plan.job} has no images")
    return layout(plan)


def encoder_of(form: str) -> str:
    """Return what encodes the images of a format here; a plan keeps it, because shards are compared byte by byte."""
    return _IMAGES[form].encoder


def check_encoder(plan: Plan) -> None:
    """Refuse to write a plan's images with another encoder than the plan's; reading needs no particular one.

    Raises:
        FailedPrecondition: if this process has another one.
    """
    if plan.sampling is None or plan.sampling.encoder == (found := encoder_of(plan.format)):
        return
    text = (
        f"the images of jobs/{plan.job} are encoded by {plan.sampling.encoder}, but this process has {found}: run it "
        f"with Mintage {plan.mintage_version} and its locked dependencies, or create the job anew"
    )
    raise FailedPrecondition(text, reason="ENCODER_CHANGED", metadata={"expected": plan.sampling.encoder})


def open_images(output: Output, plan: Plan, shard: int) -> AbstractContextManager[ImageReader]:
    """Open a shard of a sample job, in any format, for reading its images.

    Its bytes are not compared with its digest here (`layout_of(plan).digest` does that), but nothing is returned that
    the format's writer would not have written.

    Args:
        output: the job's folder.
        plan: the job's plan.
        shard: number of the shard.

    Raises:
        FileNotFoundError: if the shard is not there.
        OutputError: if it is not as it must be, also while it is read.
    """
    return image_layout_of(plan).images(output, shard)
