"""The Celery app of the comparison, for Redis and for RabbitMQ, and the times that all three systems share.

As Celery's documentation advises for tasks that must not be lost: late acknowledgement, a requeue when the process that
works is lost, a prefetch of one; on Redis a visibility timeout that is looked at every second (every 100 s by default);
on RabbitMQ a quorum queue with a delivery limit, and confirmed publishing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue

RECOVERY_S = 10  # visibility timeout, RabbitMQ's consumer timeout, and the lease of Mintage
DELIVERIES = 3  # after which RabbitMQ drops a message, a retried task fails, and Mintage gives a shard up
QUEUE = "units"


def build(broker: str, backend: str = "", queues: Sequence[str] = (QUEUE,), *, retry: bool = False) -> Celery:
    """Build the app.

    Args:
        broker: URL, of Redis or AMQP.
        backend: URL of what keeps results; without it there are none.
        queues: Names of the queues that workers read.
        retry: When the process that works is lost, retry the task a bounded number of times, by
            `task_retry_on_worker_lost`, rather than give the message back.
    """
    app = Celery("peer", broker=broker, backend=backend or None)
    redis = broker.startswith("redis:")
    arguments = {} if redis else {"x-queue-type": "quorum", "x-delivery-limit": DELIVERIES - 1}
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=not retry,
        task_retry_on_worker_lost=retry,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_default_queue=queues[0],
        task_queues=[Queue(name, Exchange(name), routing_key=name, queue_arguments=arguments) for name in queues],  # type: ignore[no-untyped-call]
        broker_transport_options=_REDIS if redis else {"confirm_publish": True},
        visibility_timeout=RECOVERY_S,
        result_backend_transport_options={"visibility_timeout": RECOVERY_S} if redis else {},
        task_ignore_result=not backend,
    )
    return app


_REDIS: dict[str, Any] = {
    "visibility_timeout": RECOVERY_S,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
    "socket_timeout": 5,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 5,
}
