-- Index a job whose plan is on disk; one that is known stays as it is. ARGV: job, plan, shards, created, request id,
-- digest of the request's parameters, priority, client.
local job = ARGV[1]
if redis.call('EXISTS', job_key(job)) == 1 then return answer({created = false}) end
redis.call('HSET', job_key(job), 'plan', ARGV[2], 'shards', ARGV[3], 'created', ARGV[4], 'state', 'QUEUED', 'rev', 1,
  'priority', ARGV[7], 'client', ARGV[8])
redis.call('ZADD', P .. 'jobs', 0, job)
redis.call('ZADD', P .. 'open', 0, job)
if ARGV[5] ~= '' then
  redis.call('SET', P .. 'request:' .. ARGV[5], cjson.encode({digest = ARGV[6], job = job}), 'NX')
end
wake()
return answer({created = true})
