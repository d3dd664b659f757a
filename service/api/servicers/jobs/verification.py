"""Verifying a job for a caller: the steps of `Verification` as a stream of messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

from mintage.v1 import verification_pb2

from service.jobs.ledger.ledger import Ledger
from service.jobs.plan import Plan
from service.jobs.storage.store import Store
from service.jobs.verification.findings import Finding
from service.jobs.verification.recompute import Recomputation, find_model
from service.jobs.verification.verification import Progress, Verification
from service.models.asking.inference import ImageGenerator
from service.models.registry import Registry
from service.validation import Violations

MAX_RECOMPUTED = 10_000  # samples; a fault in one of 2,000 escapes so many with a probability below 1 %
HASHING_AT_ONCE = 2  # verifications that hash at a time, so that threads are left for other calls
PROGRESS_S = 0.2  # between two messages of progress: smooth to the eye, and few


class JobVerification:
    """Verifies jobs.

    Args:
        ledger: Knows what was committed.
        store: Where jobs write.
        registry: Knows which models are loaded.
        generator: Recomputes samples.
        timeout_s: Longest time of one call to a model, in seconds.
        retry_budget_s: How long a model that does not answer is tried again, in seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        registry: Registry,
        generator: ImageGenerator,
        *,
        timeout_s: float,
        retry_budget_s: float,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._registry = registry
        self._generator = generator
        self._timeout_s = timeout_s
        self._retry_budget_s = retry_budget_s
        self._slots = asyncio.Semaphore(HASHING_AT_ONCE)

    async def verify(
        self, request: verification_pb2.VerifyJobRequest
    ) -> AsyncIterator[verification_pb2.VerifyJobResponse]:
        """Verify a finished job: yields findings and progress, at the end the verdict."""
        view = await self._ledger.job(_checked(request))
        recomputation = self._recomputation(request, view.plan) if view.terminal and request.recompute_count else None
        verification = Verification(self._ledger, self._store, view, recomputation=recomputation, slots=self._slots)
        count, shown_at = 0, 0.0
        async with aclosing(verification.run()) as steps:  # type: ignore[type-var]
            async for findings in steps:
                count += len(findings)
                for finding in findings:
                    yield verification_pb2.VerifyJobResponse(finding=finding_message(finding))
                if time.monotonic() >= shown_at + PROGRESS_S:
                    shown_at = time.monotonic()
                    yield verification_pb2.VerifyJobResponse(progress=progress_message(verification.progress))
        verdict = verification_pb2.Verdict(
            sound=count == 0,
            findings=count,
            progress=progress_message(verification.progress),
            root_digest=view.root_digest,
        )
        yield verification_pb2.VerifyJobResponse(verdict=verdict)

    def _recomputation(self, request: verification_pb2.VerifyJobRequest, plan: Plan) -> Recomputation:
        return Recomputation(
            plan=plan,
            record=find_model(self._registry, plan),
            generator=self._generator,
            count=request.recompute_count,
            seed=request.recompute_seed,
            timeout_s=self._timeout_s,
            retry_budget_s=self._retry_budget_s,
        )


def _checked(request: verification_pb2.VerifyJobRequest) -> str:
    """Check every field; returns the job's id."""
    violations = Violations()
    job = violations.job_name("name", request.name)
    violations.in_range("recompute_count", request.recompute_count, 0, MAX_RECOMPUTED)
    violations.check()
    return job


def finding_message(finding: Finding) -> verification_pb2.Finding:
    """Show a finding."""
    return verification_pb2.Finding(
        kind=verification_pb2.Finding.Kind.Value(f"KIND_{finding.kind}"),
        shard=finding.shard,
        index=finding.index,
        expected=finding.expected,
        found=finding.found,
        detail=finding.detail,
        file_name=finding.name,
    )


def progress_message(progress: Progress) -> verification_pb2.VerificationProgress:
    """Show progress."""
    return verification_pb2.VerificationProgress(
        shards_checked=progress.shards_checked,
        shards_total=progress.shards_total,
        samples_recomputed=progress.samples_recomputed,
        samples_total=progress.samples_total,
    )
