"""Kombu's Redis transport, with one repair.

In kombu 5.7 a message whose acknowledgement fails because Redis has gone away counts as unacknowledged for ever. With
a prefetch of 1 such a worker has no slot for another message: it lives, sends heartbeats and never works again. Here
the slot is freed first. What stays in Redis is a hint, sent once more after the visibility timeout.
"""

from __future__ import annotations

from kombu.transport import redis, virtual


class QoS(redis.QoS):
    """Counts the messages that are not acknowledged yet."""

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message; it stops counting even if Redis does not answer."""
        virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]
        self._remove_from_indices(delivery_tag).execute()  # type: ignore[no-untyped-call]


class Channel(redis.Channel):
    """A channel with this QoS."""

    QoS = QoS


class Transport(redis.Transport):
    """A transport with this channel."""

    Channel = Channel
