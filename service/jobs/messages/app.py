"""The Celery app: how hints travel from the dispatcher to the workers.

A message only says "try shard k of job j"; it may be lost, doubled or late without harm. So none of Celery's own
bookkeeping is used: no results, no retries, no countdowns, no remote control. The broker is the ledger's Redis, under
keys of its own. Write access to that Redis is enough to stop workers (garbage in the queue ends a worker's main
process; the supervisor restarts it): keep it on a private network and behind its password.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.loaders.app import AppLoader
from kombu.entity import Queue

from service.settings import Settings

TASK = "mintage.run_shard"
QUEUE = "mintage.shards"
KEY_PREFIX = "mintage:broker:"
QUEUE_KEY = KEY_PREFIX + QUEUE
VISIBILITY_TIMEOUT_S = 12 * 3600  # longer than any attempt; the lease tells that a worker died, not the broker


class OwnCodeLoader(AppLoader):  # type: ignore[misc]
    """Imports from where our code is; Celery's own looks into the current folder first."""

    def import_from_cwd(self, module: str, imp: Any = None, package: str | None = None) -> Any:
        """Import a module, despite its name not from the current folder."""
        return (imp or self.import_module)(module, package=package)


def celery_app(settings: Settings) -> Celery:
    """Build the app; it connects when it is used."""
    app = Celery("mintage", broker=settings.redis_url.get_secret_value(), set_as_current=False, loader=OwnCodeLoader)
    app.conf.update(_CONFIGURATION)
    app.conf.worker_concurrency = settings.worker_processes
    return app


_TRANSPORT: dict[str, Any] = {
    "global_keyprefix": KEY_PREFIX,
    "visibility_timeout": VISIBILITY_TIMEOUT_S,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    "socket_timeout": 5,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 5,  # a connection that died silently is given up after twice this
}

_CONFIGURATION: dict[str, Any] = {
    "include": ["service.jobs.workers.worker"],
    "task_default_queue": QUEUE,
    "task_queues": [Queue(QUEUE)],  # type: ignore[no-untyped-call]
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_ignore_result": True,
    "task_acks_late": True,
    "task_reject_on_worker_lost": False,
    "worker_prefetch_multiplier": 1,
    "worker_pool": "prefork",
    "worker_pool_start_method": "spawn",
    "worker_proc_alive_timeout": 60,
    "worker_max_memory_per_child": 1 << 20,  # KiB
    "worker_soft_shutdown_timeout": 30,
    "worker_enable_remote_control": False,
    "worker_send_task_events": False,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "worker_cancel_long_running_tasks_on_connection_loss": False,  # they are fenced, and their bytes the same
    "broker_transport": "service.jobs.messages.transport:Transport",
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_transport_options": _TRANSPORT,
    "visibility_timeout": VISIBILITY_TIMEOUT_S,
    "result_backend_transport_options": {"visibility_timeout": VISIBILITY_TIMEOUT_S},
}
