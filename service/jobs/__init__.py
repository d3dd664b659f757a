"""The job engine. A Celery message is a hint, the ledger in Redis an index, the committed shard on disk the truth.

`plan` cuts a job into shards; `submit` makes it durable; `store` is where jobs write, `output` the folder of one of
them; `formats` and `png` write a shard and read it, `shards` publishes it and writes its marker; `ledger` (with `lua/`
and `views`) keeps states, leases and progress; `control` is what people ask of a job; `strike` (with `work`) takes one
shard from claim to commit; `broker`, `worker` and `presence` are Celery; `dispatcher` drives it all; `finalize` and
`score` sign a job off; `rebuild` finds what Redis forgot.
"""
