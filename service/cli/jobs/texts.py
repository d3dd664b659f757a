"""What a verification and a repair say, as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mintage.v1.verification_pb2 import Finding, VerificationProgress


def finding_text(finding: Finding) -> str:
    """A finding as one line: what is wrong, where, and what was expected."""
    from mintage.v1 import verification_pb2

    kind = verification_pb2.Finding.Kind.Name(finding.kind).removeprefix("KIND_")
    where = [f"shard {finding.shard}"] if finding.HasField("shard") else []
    where += [f"image {finding.index}"] if finding.HasField("index") else []
    digests = [f"expected {finding.expected}"] if finding.expected else []
    digests += [f"found {finding.found}"] if finding.found else []
    return ": ".join([kind, *([", ".join(where)] if where else []), "; ".join([finding.detail, *digests])])


def progress_text(progress: VerificationProgress) -> str:
    """The progress in words."""
    text = f"{progress.shards_checked:,}/{progress.shards_total:,} shards hashed"
    if not progress.samples_total:
        return text
    return f"{text}, {progress.samples_recomputed:,}/{progress.samples_total:,} samples recomputed"
