from __future__ import annotations

from pathlib import Path

import pytest
from kombu.message import Message

from service.jobs.messages.app import QUEUE_KEY, TASK, celery_app
from service.settings import Settings
from tests.support.valkey import running_valkey


def test_a_worker_whose_acknowledgement_was_lost_has_room_for_the_next_message(tmp_path: Path) -> None:
    with running_valkey(tmp_path) as valkey:
        app = celery_app(Settings.model_validate({"redis_url": valkey.url}))
        app.send_task(TASK, args=["job", 0])
        received: list[Message] = []
        with app.connection_for_read() as connection, app.amqp.TaskConsumer(connection) as consumer:
            consumer.qos(prefetch_count=1)
            consumer.on_message = received.append
            connection.drain_events(timeout=60)
            qos = consumer.channel.qos
            assert not qos.can_consume()
            valkey.kill()
            with pytest.raises(connection.connection_errors):
                received[0].ack()  # type: ignore[no-untyped-call]
            assert qos.can_consume()
            valkey.start()
        app.close()


def test_a_hint_is_json_and_waits_under_our_own_key(tmp_path: Path) -> None:
    with running_valkey(tmp_path) as valkey:
        app = celery_app(Settings.model_validate({"redis_url": valkey.url}))
        app.send_task(TASK, args=["job", 0])
        client = valkey.client()
        assert client.llen(QUEUE_KEY) == 1 and '"content-type": "application/json"' in str(client.lindex(QUEUE_KEY, 0))
        client.close()
        app.close()
