"""Creating jobs: a request is checked, its plan cut, and the job submitted or only rehearsed."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import time
from collections.abc import Awaitable, Callable
from typing import Any

from mintage.v1 import jobs_pb2

from service.api.requests.clients import client_of
from service.api.servicers.jobs.creating import sample_requests, score_requests
from service.api.servicers.jobs.creating.score_plans import folder_draft, list_source, score_plan
from service.api.servicers.jobs.messages import job_message, unmade_job_message
from service.api.servicers.jobs.requests import RESERVED_PREFIX, Creation, job_options
from service.errors import Unavailable
from service.jobs.ledger.ledger import Ledger
from service.jobs.plan import Plan, request_digest
from service.jobs.storage.store import Store
from service.jobs.submission.reservations import Quotas, Reservations
from service.jobs.submission.submit import Draft, rehearse, submit
from service.models.directions.store import SavedDirections
from service.models.records import ModelRecord
from service.models.registry import Registry
from service.settings import Settings


class JobCreation:
    """Creates sample and score jobs."""

    def __init__(self, settings: Settings, ledger: Ledger, store: Store, registry: Registry) -> None:
        self._inputs = settings.inputs
        self._default_ttl_ms = round(settings.job_ttl_s * 1000)
        self._ledger = ledger
        self._store = store
        self._registry = registry
        self._directions = SavedDirections(registry.archives)
        self._reservations = Reservations(ledger, Quotas.from_settings(settings))

    async def create_sample_job(
        self, request: jobs_pb2.CreateSampleJobRequest, context: Any
    ) -> jobs_pb2.CreateSampleJobResponse:
        """Accept a sample job."""
        model = sample_requests.checked_sample(request)
        digest = request_digest(sample_requests.parameters(request, model))

        async def make_draft(job: str) -> Draft:
            record = self._registry.find(model, "generator")
            identity = _identity(request, job, digest, record)
            return Draft(sample_requests.sample_plan(request, identity, record, self._directions))

        return jobs_pb2.CreateSampleJobResponse(job=await self._submit(make_draft, request, digest, context))

    async def create_score_job(
        self, request: jobs_pb2.CreateScoreJobRequest, context: Any
    ) -> jobs_pb2.CreateScoreJobResponse:
        """Accept a score job."""
        named = score_requests.checked_score(request)
        digest = request_digest(score_requests.parameters(request, named))

        async def make_draft(job: str) -> Draft:
            record = self._registry.find(named.model)
            reference = await self._ledger.job(named.reference) if named.reference else None
            identity = _identity(request, job, digest, record)
            if named.folder:
                timeout_s = context.time_remaining() if context else None
                listing = await list_source(self._inputs, named.folder, timeout_s=timeout_s)
                return folder_draft(request, identity, record, listing, reference)
            source = await self._ledger.job(named.source)
            return Draft(score_plan(request, identity, record, source, reference))

        return jobs_pb2.CreateScoreJobResponse(job=await self._submit(make_draft, request, digest, context))

    async def _submit(
        self,
        make_draft: Callable[[str], Awaitable[Draft]],
        request: Creation,
        digest: str,
        context: Any,
    ) -> jobs_pb2.Job:
        """Create the job, or with `validate_only` find out what it would be."""

        async def signed(job: str) -> Draft:
            draft = await make_draft(job)
            ttl_ms = draft.plan.ttl_ms or self._default_ttl_ms
            plan = dataclasses.replace(draft.plan, client=client_of(context), ttl_ms=ttl_ms)
            return dataclasses.replace(draft, plan=plan)

        parts = (self._ledger, self._reservations, self._store, signed)
        if request.validate_only:
            view = await rehearse(*parts, request_id=request.request_id, digest=digest)
        else:
            view = await submit(*parts, request_id=request.request_id, digest=digest, confirm=self._confirm)
        return job_message(view, self._store) if view.revision else unmade_job_message(view, self._store)

    def _confirm(self, plan: Plan) -> None:
        """Refuse a plan whose model was replaced before the plan pinned it.

        Raises:
            Unavailable: if it was; the same request may be made again at once.
        """
        if self._registry.find(plan.model).digest != plan.model_digest:
            raise Unavailable(f"models/{plan.model} was just replaced; try again", reason="MODEL_REPLACED")


def _identity(request: Creation, job: str, digest: str, record: ModelRecord) -> dict[str, Any]:
    """What plans of both kinds say about the job and its model."""
    return {
        "job": job,
        "prefix": request.output_prefix or f"{RESERVED_PREFIX}/{job}",
        "create_time_ms": time.time_ns() // 1_000_000,
        "request_id": request.request_id,
        "request_digest": digest,
        "model": record.name,
        "model_digest": record.digest,
        "backend_name": record.backend_name,
        "device_class": record.device_class,
        "torch_version": record.torch_version,
        "numerics": record.numerics,
        "precision": record.precision,
        "rows_free": bool(record.batch_sizes),
        "mintage_version": importlib.metadata.version("mintage"),
        "micro_batch": record.micro_batch,
        **job_options(request),
    }
