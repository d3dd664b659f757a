"""The job engine. A Celery message is a hint, the ledger an index in Redis, the committed shard on disk the truth.

`plan` cuts a job into shards and `submission` makes it durable; `storage` is where jobs write; `shards` has the
formats, the markers and their publication; `ledger` keeps states, leases and progress; `workers` take one shard from
claim to commit; `dispatch` drives all of it, finishes jobs and finds those that Redis forgot; `scoring` adds up the
results of a score job; `verification` checks a finished job; `messages` is Celery.
"""
