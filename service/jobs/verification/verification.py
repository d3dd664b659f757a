"""Verifying a finished job: every shard is hashed, some samples are recomputed; nothing is changed.

The ledger says what was committed; for a finished shard whose commit never reached the ledger, the manifest does. Each
shard's file and marker, the manifest and the root digest must agree with that.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Container, Iterator
from dataclasses import dataclass

from service.errors import FailedPrecondition
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import JobView
from service.jobs.manifest import Manifest
from service.jobs.storage.store import Store
from service.jobs.verification.findings import (
    Finding,
    file_findings,
    manifest_findings,
    manifest_or_finding,
    plan_findings,
    shard_findings,
    sums_findings,
)
from service.jobs.verification.recompute import Recomputation

PAGE = 1000  # records of shards that one script reads


@dataclass(slots=True)
class Progress:
    """Progress of a verification."""

    shards_checked: int = 0
    shards_total: int = 0
    samples_recomputed: int = 0
    samples_total: int = 0


class Verification:
    """One verification of one job; `progress` grows while `run` runs.

    Args:
        ledger: Knows what was committed.
        store: Where jobs write.
        view: The job as it was when this began.
        recomputation: Recomputes samples; None recomputes none.
        slots: Bounds how many verifications hash at a time, so that threads are left for other calls.
        shards: Which shards are hashed; None hashes all.

    Raises:
        FailedPrecondition: if the job is unfinished.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        view: JobView,
        *,
        recomputation: Recomputation | None,
        slots: asyncio.Semaphore,
        shards: Container[int] | None = None,
    ) -> None:
        if not view.terminal:
            text = f"jobs/{view.plan.job} is {view.state}; only a finished job can be verified"
            raise FailedPrecondition(text, reason="WRONG_JOB_STATE", metadata={"state": view.state})
        self.progress = Progress()
        self._ledger, self._view, self._plan = ledger, view, view.plan
        self._recomputation, self._slots, self._only = recomputation, slots, shards
        self._output = store.output(view.plan.prefix, existing=True)
        self._listed: dict[int, str] | None = None
        self._files: dict[str, str] = {}
        self._manifest: Manifest | None = None
        self._committed: list[int] = []

    async def run(self) -> AsyncIterator[list[Finding]]:
        """Yield what each step found, often nothing. Hashes in threads; other calls go on.

        Raises:
            FailedPrecondition: if the job was retried meanwhile.
            NotFound: if it was deleted meanwhile.
        """
        sound = True
        async for findings in self._files_and_root():
            sound = sound and not findings
            yield findings
        if sound and self._manifest is not None:
            yield await asyncio.to_thread(self._check_sums, self._manifest)
        async for findings in self._recompute_samples():
            yield findings
        await self._check_unchanged()

    async def _files_and_root(self) -> AsyncIterator[list[Finding]]:
        yield await asyncio.to_thread(self._begin)
        root = hashlib.sha256()
        async for shard, digest in self._shards():
            root.update(digest.encode() + b"\n")
            if self._only is not None and shard not in self._only:
                continue
            async with self._slots:
                found = await asyncio.to_thread(self._check, shard, digest)
            yield found
        self.progress.shards_total = self.progress.shards_checked
        yield list(self._root_findings(root.hexdigest()))
        for name, digest in self._files.items():
            async with self._slots:
                found = await asyncio.to_thread(self._check_file, name, digest)
            yield found

    def _begin(self) -> list[Finding]:
        """Read the plan and the manifest."""
        manifest = manifest_or_finding(self._output)
        found = list(plan_findings(self._output, self._plan))
        if isinstance(manifest, Manifest):
            found += manifest_findings(self._view, manifest)
            self._manifest, self._listed = manifest, manifest.digests
            self._files = manifest.files
        else:
            found.append(manifest)
        self.progress.shards_total = max(self._view.shards_done, len(self._listed or {}))
        return found

    async def _shards(self) -> AsyncIterator[tuple[int, str]]:
        """Every finished shard in order, with the digest that it must have."""
        listed = self._listed or {}
        for first in range(0, self._plan.shards, PAGE):
            for shard in await self._ledger.shards(self._plan.job, first=first, limit=PAGE):
                digest = (shard.digest if shard.state == "DONE" else shard.recorded) or listed.get(shard.index, "")
                if digest:
                    self._committed.append(shard.index)
                    yield shard.index, digest

    def _check(self, shard: int, digest: str) -> list[Finding]:
        found = list(shard_findings(self._output, self._plan, shard, digest))
        self.progress.shards_checked += 1
        self.progress.shards_total = max(self.progress.shards_total, self.progress.shards_checked)
        if self._signed and (listed := (self._listed or {}).get(shard, "")) != digest:
            detail = "manifest.json has another digest" if listed else "manifest.json does not list the shard"
            found.append(Finding("WRONG_MANIFEST", shard, digest, listed, detail))
        return found

    def _check_file(self, name: str, digest: str) -> list[Finding]:
        return list(file_findings(self._output, name, digest))

    def _check_sums(self, manifest: Manifest) -> list[Finding]:
        return list(sums_findings(self._output, self._plan, manifest))

    @property
    def _signed(self) -> bool:
        """Whether there is a manifest that must list every shard: that of a job whose output was damaged lists none."""
        return self._listed is not None and bool(self._view.root_digest)

    def _root_findings(self, digest: str) -> Iterator[Finding]:
        expected = self._view.root_digest
        if expected and digest != expected:
            detail = "the digests of the shards do not give the root digest"
            yield Finding("WRONG_MANIFEST", None, expected, digest, detail)

    async def _recompute_samples(self) -> AsyncIterator[list[Finding]]:
        if self._recomputation is None:
            return
        pieces = self._recomputation.draw(self._committed)
        self.progress.samples_total = sum(len(piece.indices) for piece in pieces)
        for piece in pieces:
            found = await self._recomputation.recompute(self._output, piece)
            self.progress.samples_recomputed += len(piece.indices)
            yield found

    async def _check_unchanged(self) -> None:
        now = await self._ledger.job(self._plan.job)
        if (now.state, now.round) != (self._view.state, self._view.round):
            text = f"jobs/{self._plan.job} is {now.state}: it was retried or deleted meanwhile; verify it after its end"
            raise FailedPrecondition(text, reason="WRONG_JOB_STATE", metadata={"state": now.state})
