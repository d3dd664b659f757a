"""`SHA256SUMS` of a job: the digest of every file of its folder, written last, for `sha256sum --check SHA256SUMS`.

Markers are not in it: they are Mintage's own notes, and what they say stands in the manifest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from service.jobs.manifest import MANIFEST_FILE, Manifest
from service.jobs.plan import PLAN_FILE, Plan
from service.jobs.shards.formats.choice import layout_of
from service.jobs.shards.formats.layout import replaced
from service.jobs.storage.output import Output

SUMS_FILE = "SHA256SUMS"


def write_sums(output: Output, plan: Plan, manifest: Manifest) -> None:
    """Write the digests of all files, as plan and manifest know them; repeating it writes the same bytes."""
    replaced(output, SUMS_FILE, sums(output, plan, manifest))


def sums(output: Output, plan: Plan, manifest: Manifest) -> Iterator[bytes]:
    """Yield the lines of the file."""
    data = output.read(MANIFEST_FILE) or b""
    known = {PLAN_FILE: plan.digest, MANIFEST_FILE: hashlib.sha256(data).hexdigest(), **manifest.files}
    for name, digest in sorted(known.items()):
        yield _line(name, digest)
    layout = layout_of(plan)
    for listed in manifest.shards:
        for name, digest in layout.digests(output, listed.shard, listed.digest):
            yield _line(name, digest)


def _line(name: str, digest: str) -> bytes:
    return f"{digest}  {name}\n".encode()
