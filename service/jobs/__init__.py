"""The job engine. A Celery message is a hint, the ledger in Redis an index, the committed shard on disk the truth.

`plan` cuts a job into shards and `submission` makes it durable; `storage` is where jobs write; `shards` has the
formats, the markers and their publication; `ledger` keeps states, leases and progress; `workers` take one shard from
claim to commit; `dispatch` drives it all, signs a job off and finds what Redis forgot; `scoring` adds up what a score
job found; `verification` checks a finished job; `messages` is Celery.
"""
